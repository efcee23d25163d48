"""Additions to the paper's recipe: DiffAugment, an auxiliary classifier and spectral matching.

Explained in notebooks/03_training.ipynb.
"""

import keras
import numpy as np
from keras import layers, ops

from radiogan_lib.config import Config, ConfigError
from radiogan_lib.gan import engine

KINDS = ("translation",)
AIR = -1.0  # its grey value, which shifts reveal
WIDTHS = (16, 32, 64, 96)  # channels of the auxiliary classifier
SMOOTHING = 0.1  # of its targets: a classifier that is never quite sure keeps giving gradients
LARGEST = 4  # doublings of the largest image that it looks at: 80 x 48
LEAST_VARIANCE = 0.01  # of a band's log amplitude; exams that are more alike would divide roundings


class DiffAugment:
    """The same random shifts of real and fake images in training (Zhao et al., NeurIPS 2020).

    Callable on grey values (b, h, w, 1), and differentiable, so that the generator learns through
    it. It never flips, because the liver is on the right, and never changes brightness, because SUV
    is a measurement.

    Args:
        policy: `translation` (up to ± an eighth of each side), or nothing.
        seed: of the random draws; their state is one of the model's variables.
        share: of the images that is changed. Augmentation of every image leaks into the generated
            ones (Karras et al., NeurIPS 2020, §2.2).
        setting: name of the setting that holds the policy, for messages.

    Raises:
        ConfigError: the policy names something else.
    """

    def __init__(self, policy: str, seed: int, share: float = 1.0, setting: str = "diffaugment"):
        kinds = [k.strip() for k in policy.split(",") if k.strip()]
        if unknown := [k for k in kinds if k not in KINDS]:
            raise ConfigError(
                f"settings: {setting} = {policy!r} names {unknown[0]!r}; it is {', '.join(KINDS)} "
                "or empty (no flips: anatomy has sides)."
            )
        self.share = share if kinds else 0
        self.seed = keras.random.SeedGenerator(seed)

    def __call__(self, x, training=True):
        if not training or not self.share:
            return x
        before = x - AIR
        h, w = x.shape[1:3]
        # two small matrix products, which every backend computes fast and exactly
        rows, columns = (self._shift(before, n) for n in (h, w))  # (b, h, h), (b, w, w)
        image = ops.matmul(rows, ops.squeeze(before, -1))
        moved = ops.expand_dims(ops.matmul(image, ops.transpose(columns, (0, 2, 1))), -1)
        if self.share < 1:
            moved = ops.where(self._uniform(x, 4) < self.share, moved, before)
        return moved + AIR

    def _uniform(self, x, rank: int):
        """One random number in [0, 1) per image: (b, 1, …)."""
        return keras.random.uniform((ops.shape(x)[0], *[1] * (rank - 1)), seed=self.seed)

    def _shift(self, x, n: int):
        """Matrices (b, n, n) that move n samples by at most n / 8 and drop what leaves."""
        step = ops.floor(-(n // 8) + self._uniform(x, 3) * (2 * (n // 8) + 1))
        i = ops.arange(n, dtype="float32")
        return ops.cast(ops.equal(i[None, None, :] + step, i[None, :, None]), x.dtype)


def build_auxiliary(cfg: Config, n_classes: int) -> keras.Model:
    """The auxiliary classifier (AC-GAN, Odena et al., ICML 2017): (b, h, w, 1) → (b, n_classes).

    It learns the classes from real exams only, and tells the generator which class its image looks
    like. Large images are averaged down to 80 × 48 first: the generator otherwise satisfies it with
    a fine pattern in one place instead of a lesion.
    """
    x = image = keras.Input((*cfg.canvas, 1), name="image")
    coarser = max(0, cfg.doublings - LARGEST)
    if coarser:
        x = layers.AveragePooling2D(2**coarser, name="auxiliary_average")(x)
    for k in range(cfg.doublings - coarser):
        width = WIDTHS[min(k, len(WIDTHS) - 1)]
        x = layers.Conv2D(width, 3, 2, "same", name=f"auxiliary{k + 1}")(x)
        x = layers.LeakyReLU(cfg.leaky_slope, name=f"auxiliary{k + 1}_leaky")(x)
    x = layers.Flatten(name="auxiliary_flat")(x)
    x = layers.Dropout(0.3, name="auxiliary_dropout")(x)
    logits = layers.Dense(n_classes, dtype="float32", name="auxiliary_logits")(x)
    return keras.Model(image, logits, name="auxiliary")


def auxiliary_logits(auxiliary: keras.Model, real, fake, training) -> tuple:
    """Its logits (b, n_classes) for real images, and for generated ones with constant weights."""
    weights = [ops.stop_gradient(v) for v in auxiliary.trainable_variables]
    state = [ops.convert_to_tensor(v) for v in auxiliary.non_trainable_variables]
    on_real = auxiliary(real, training=training)
    return on_real, auxiliary.stateless_call(weights, state, fake, training=training)[0]


def cross_entropy(logits, label):
    """Mean cross-entropy of logits (b, n) against labels (b,), with a smoothed target."""
    n = logits.shape[-1]
    target = (1 - SMOOTHING) * ops.one_hot(label, n) + SMOOTHING / n
    return ops.mean(keras.losses.categorical_crossentropy(target, logits, from_logits=True))


def excess(on_fake, on_real):
    """What the generator pays: the fakes' cross-entropy over the real images' (scalars).

    Its images must be as typical of their class as real exams are, and no more.
    """
    # The mean over all devices comes first, because relu is not linear.
    return ops.relu(engine.mean_over_devices(on_fake - ops.stop_gradient(on_real)))


def accuracy(logits, label):
    """Share of images (b, n) whose class the classifier tells as their label (b,)."""
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.mean(ops.cast(ops.equal(predicted, ops.cast(label, "int32")), "float32"))


class SpectralMatching(layers.Layer):
    """What the generator pays for too much or too little power in a band of spatial frequencies.

    A discriminator of strided convolutions hardly sees a wrong texture. Here mean and variance of
    every band's log power are compared, as running means over the last batches (Durall et al., CVPR
    2020, match the spectrum; Salimans et al., NeurIPS 2016, match means of features).

    Its `bands` are of equal width, from constant to the finest frequency.
    """

    MOMENTUM = 0.95

    def __init__(self, cfg: Config, bands: int = 24):
        super().__init__(name="spectral_matching", dtype="float32")
        self.curve = cfg.intensity
        h, w = cfg.canvas
        self.rows, self.columns = cosines(h), cosines(w)
        frequency = np.hypot(np.arange(h)[:, None] / h, np.arange(w)[None] / w).ravel()
        band = np.minimum((frequency * bands).astype(int), bands - 1)  # 1 = Nyquist
        self.share = (np.eye(bands)[band] / np.bincount(band, minlength=bands)).astype("float32")
        constant = dict(initializer="zeros", trainable=False, aggregation="mean")
        names = ("real_mean", "real_square", "fake_mean", "fake_square")
        self.moments = {n: self.add_weight(name=n, shape=(bands,), **constant) for n in names}
        self.steps = self.add_weight(name="steps", shape=(), **constant)
        self.built = True

    def log_power(self, x):
        """Grey values (b, h, w, 1) → log power per band (b, bands), on a linear scale of SUV."""
        x = ops.cast(x, "float32")[..., 0]
        if self.curve == "sqrt":
            x = 2 * ops.square((x + 1) / 2) - 1
        power = ops.square(ops.matmul(ops.matmul(self.rows, x), self.columns.T))
        return ops.log(ops.matmul(ops.reshape(power, (-1, len(self.share))), self.share) + 1e-5) / 2

    def call(self, real, fake):
        """Grey values (b, h, w, 1) → a scalar whose gradient moves the fakes' moments to the real.

        Its value says nothing.
        """
        real, fake = self.log_power(real), self.log_power(fake)
        self.steps.assign(self.steps + 1)
        first = 1 - ops.power(self.MOMENTUM, self.steps)  # as Adam corrects its first steps
        now = {}
        for name, x in (("real", real), ("fake", ops.stop_gradient(fake))):
            for moment, values in (("mean", x), ("square", ops.square(x))):
                running = self.moments[f"{name}_{moment}"]
                batch = ops.mean(values, axis=0)
                running.assign(self.MOMENTUM * running + (1 - self.MOMENTUM) * batch)
                now[f"{name}_{moment}"] = running / first
        variance = {
            s: ops.maximum(now[f"{s}_square"] - ops.square(now[f"{s}_mean"]), LEAST_VARIANCE)
            for s in ("real", "fake")
        }
        spread = ops.sqrt(variance["real"])
        too_high = ops.clip((now["fake_mean"] - now["real_mean"]) / spread, -3, 3)
        too_varied = ops.clip(variance["fake"] / variance["real"] - 1, -1, 3)
        z = (fake - now["fake_mean"]) / spread  # (b, bands)
        return ops.mean(too_high * z + too_varied / 2 * ops.square(z))


def cosines(n: int) -> np.ndarray:
    """The orthonormal cosine transform of n samples, (n, n) float32."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    c = np.cos(np.pi * (i + 0.5) * k / n) * np.sqrt(2 / n)
    c[0] /= np.sqrt(2)
    return c.astype("float32")
