"""The other GAN of Fig. 4: a fully connected conditional GAN (Mirza & Osindero 2014) on few exams.

On a few dozen exams it learns them by heart: the positive control of the memorisation tests. A
plain CGAN draws one speckled mean per class; a discriminator that starts nearly flat, a penalty on
its slope at the exams (R1; Mescheder et al., ICML 2018) and averaged weights let it settle on
single exams. Explained in notebooks/06_walks.ipynb.
"""

import keras
import numpy as np
from keras import layers, ops

from radiogan_lib.config import FIELDS, Config
from radiogan_lib.gan.networks import SuvImage
from radiogan_lib.gan.radiogan import RadioGAN, compile_model

HIDDEN = 256  # units of the joint layer; fewer where the output layer had 20 million weights
R1 = 0.001  # weight of the squared slope, per pixel
BATCH, STEPS = 40, 50  # images per step, and steps that count as one epoch of the run
# Whatever a recipe turns on is off here.
SETTINGS = dict(ema=0.99, beta_1=0.0, learning_rate=1e-3, noise_dim=10, intensity="sqrt")


def _start(sd: float):
    return keras.initializers.RandomNormal(stddev=sd)


def _embedding(cfg: Config, n_classes: int):
    given = {"embeddings_initializer": _start(1.0), "name": "label_embedding"}
    return layers.Embedding(n_classes, cfg.embedding_dim, **given)


def build_generator(cfg: Config, n_classes: int = 5, suv_max: float | None = None) -> keras.Model:
    """z and label each to a layer of their own, a joint layer, every pixel: → (b, h, w, 1)."""
    h, w = cfg.canvas
    z = keras.Input((cfg.noise_dim,), name="z")
    label = keras.Input((), dtype="int32", name="label")
    from_z = layers.Dense(200, "relu", name="noise_dense")(z)
    from_label = layers.Dense(200, "relu", name="label_dense")(_embedding(cfg, n_classes)(label))
    x = layers.Concatenate(name="joined")([from_z, from_label])
    x = layers.Dense(_hidden(h * w), "relu", name="joint")(x)
    x = layers.Dense(h * w, kernel_initializer=_start(0.015), name="to_pixels")(x)
    x = layers.Reshape((h, w, 1), name="pixels")(x)
    image = SuvImage(cfg.intensity, cfg.suv_max if suv_max is None else suv_max, name="suv")(x)
    return keras.Model([z, label], image, name="cgan_generator")


def build_discriminator(cfg: Config, n_classes: int = 5) -> keras.Model:
    """All pixels and the label's vector through two hidden layers: → logit (b, 1)."""
    h, w = cfg.canvas
    image = keras.Input((h, w, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    air = layers.Rescaling(1.0, 1.0, name="air_is_zero")(layers.Flatten(name="flat")(image))
    x = layers.Concatenate(name="joined")([air, _embedding(cfg, n_classes)(label)])
    for k, start in ((1, _start(0.002)), (2, "glorot_uniform")):
        x = layers.Dense(_hidden(h * w) // 2, kernel_initializer=start, name=f"hidden{k}")(x)
        x = layers.LeakyReLU(cfg.leaky_slope, name=f"hidden{k}_leaky")(x)
    return keras.Model([image, label], layers.Dense(1, name="logit")(x), name="cgan_discriminator")


def _hidden(pixels: int) -> int:
    return int(max(32, min(HIDDEN, 20_000_000 // pixels)))


def squared_slope(discriminator: keras.Model, image, label):
    """Squared length (b,) of the discriminator's gradient in each image.

    It is written down (the weights of the units that are on): nothing is differentiated twice.
    """
    layer = discriminator.get_layer
    x = layer("joined")(
        [layer("air_is_zero")(layer("flat")(image)), layer("label_embedding")(label)]
    )
    first = layer("hidden1")(x)  # (b, units) before LeakyReLU
    second = layer("hidden2")(layer("hidden1_leaky")(first))
    on = [ops.where(a > 0, 1.0, layer("hidden1_leaky").negative_slope) for a in (first, second)]
    back = on[0] * ops.matmul(
        on[1] * ops.transpose(layer("logit").kernel), ops.transpose(layer("hidden2").kernel)
    )
    pixels = layer("hidden1").kernel[: -layer("label_embedding").output_dim]  # (h·w, units)
    return ops.sum(ops.matmul(back, ops.matmul(ops.transpose(pixels), pixels)) * back, axis=-1)


class Memoriser(RadioGAN):
    """The paper's losses, and R1: the discriminator may not be steep at the exams."""

    def call(self, inputs, training=False):
        logits = super().call(inputs, training=training)
        if training:
            image, label = (ops.convert_to_tensor(v) for v in inputs)
            logits["slope"] = squared_slope(self.discriminator, image, ops.reshape(label, (-1,)))
        return logits

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss, (h, w) = super().compute_loss(x, y, y_pred, sample_weight, training), self.cfg.canvas
        if "slope" in y_pred:
            # The squared distance between exams grows with their pixels: what tells them apart is
            # less steep.
            loss = loss + R1 * h * w / 2 * ops.mean(y_pred["slope"])
        return loss


def build_model(cfg: Config, n_classes: int, suv_max: float | None = None) -> RadioGAN:
    """These two networks with RadioGAN's losses and R1, ready for `fit`."""

    def build():
        return build_generator(cfg, n_classes, suv_max), build_discriminator(cfg, n_classes)

    return compile_model(cfg, build, Memoriser)


def settings(cfg: Config, n_exams: int) -> Config:
    """The run's settings: `SETTINGS`, long enough for `baseline_epochs` passes over the exams."""
    epochs = max(1, round(cfg.baseline_epochs * n_exams / BATCH / STEPS))
    kept = {name: getattr(cfg, name) for name in FIELDS if FIELDS[name].metadata["stage"] != "gan"}
    kept |= {name: getattr(cfg, name) for name in ("seed", "embedding_dim", "leaky_slope")}
    length = dict(epochs=epochs, samples_every=max(1, epochs // 4), batch_size=BATCH)
    return Config(**kept | SETTINGS | length, recipe="paper")


def train_baseline(cfg: Config, mips, run_dir):
    """Train the CGAN that memorises on a few exams; continues or returns at once like `gan.train`.

    Args:
        cfg: `baseline_epochs`, canvas and seed are used.
        mips: the few exams, e.g. `train.first_per_class(cfg.baseline_exams)`.
        run_dir: a folder of its own.

    Returns:
        A `Run`; its generator works with `gan.sample` and `evaluation.walk`.
    """
    from radiogan_lib.gan.training import train

    many = mips.subset(np.resize(np.arange(len(mips)), BATCH * STEPS))
    return train(settings(cfg, len(mips)), many, run_dir, build=build_model)
