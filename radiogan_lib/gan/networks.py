"""The two networks of the paper (§3.2, Fig. 3) as plain functional Keras models.

Canvas 5·2^d × 3·2^d: the generator doubles 5 × 3 `d` times, the discriminator halves the canvas `d`
times and ends in a Dense layer. At d = 7 (640 × 384) it has the paper's eight layers. Explained in
notebooks/02_networks.ipynb.
"""

import contextlib

import keras
from keras import layers, ops

from radiogan_lib.config import Config
from radiogan_lib.gan import engine

PACKAGE = "radiogan"
GRID = (5, 3)  # where the generator starts and the discriminator ends


@keras.saving.register_keras_serializable(PACKAGE)
class SuvImage(layers.Layer):
    """tanh, and the scale that turns grey values into SUV: a saved generator knows its own units.

    Args:
        curve: "linear" or "sqrt", from SUV to grey value.
        suv_max: SUV at the upper end of the scale.
    """

    def __init__(self, curve="linear", suv_max=30.0, **kwargs):
        # Never half precision: SUV needs the digits.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.curve, self.suv_max = curve, float(suv_max)

    def call(self, x):
        return ops.tanh(x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def to_suv(self, images):
        """Grey values (n, h, w, 1) to SUV (n, h, w), float32 in [0, suv_max]."""
        from radiogan_lib.data import decode

        return decode(images, self.curve, self.suv_max)

    def get_config(self):
        return super().get_config() | {"curve": self.curve, "suv_max": self.suv_max}

    @classmethod
    def from_config(cls, config):
        # Networks of an earlier version name a range; all that are left have this one.
        if config.pop("value_range", "symmetric") != "symmetric":
            raise ValueError("its grey values are not in [-1, 1]")
        return cls(**config)


@keras.saving.register_keras_serializable(PACKAGE)
class BatchSpread(layers.Layer):
    """Appends a channel that says how much a batch's images differ: (b, h, w, c) → (…, c + 1).

    A discriminator that sees one image at a time cannot tell that all fakes are alike (minibatch
    standard deviation, Karras et al., ICLR 2018).
    """

    def call(self, x):
        if engine.replicas() > 1:  # of the whole batch, however many devices share it
            variance = ops.moments(x, axes=[0], synchronized=True)[1]
        else:
            variance = ops.var(x, axis=0)
        spread = ops.mean(ops.sqrt(variance + 1e-8))
        channel = ops.broadcast_to(ops.cast(spread, x.dtype), ops.shape(x[..., :1]))
        return ops.concatenate([x, channel], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


def label_embedding(cfg: Config, n_classes: int) -> layers.Embedding:
    """The class → vector table. Keras starts it at ±0.05, much weaker than what it is joined to;
    `label_init` > 0 draws it from N(0, label_init²) instead."""
    start = keras.initializers.RandomNormal(stddev=cfg.label_init) if cfg.label_init else "uniform"
    name = "label_embedding"
    return layers.Embedding(n_classes, cfg.embedding_dim, embeddings_initializer=start, name=name)


def generator_widths(cfg: Config) -> list[int]:
    """Output channels of each transposed convolution: halved, never below `generator_least`."""
    wide = min(cfg.generator_channels, cfg.max_channels)
    return [max(cfg.generator_least, wide // 2**k) for k in range(1, cfg.doublings + 1)]


def discriminator_widths(cfg: Config) -> list[int]:
    """Output channels of each convolution: doubled, at most `max_channels`."""
    return [min(cfg.max_channels, cfg.discriminator_channels * 2**k) for k in range(cfg.doublings)]


def build_generator(cfg: Config, n_classes: int = 5, suv_max: float | None = None) -> keras.Model:
    """The generator: (z (b, noise_dim), label (b,) or (b, 1)) → grey values (b, h, w, 1), ±1.

    noise → Dense → 5 × 3 × C → BatchNorm; label → Embedding → Dense(15) → 5 × 3 × 1, joined as a
    channel; then d × [transposed convolution of stride 2, BatchNorm, ReLU] and a convolution with
    one channel and tanh (paper §3.2). Its layer `label_embedding` holds the classes' vectors, its
    last layer (`SuvImage`) the scale of its pixels.
    """
    rows, columns = GRID
    wide = min(cfg.generator_channels, cfg.max_channels)
    with _arithmetic(cfg.precision):
        z = keras.Input((cfg.noise_dim,), name="z")
        label = keras.Input((), dtype="int32", name="label")
        x = layers.Dense(rows * columns * wide, use_bias=False, name="noise_dense")(z)
        x = layers.Reshape((rows, columns, wide), name="noise_map")(x)
        # (b, 5, 3, C)
        x = engine.BatchNormalization(momentum=cfg.bn_momentum, name="noise_norm")(x)
        e = label_embedding(cfg, n_classes)(label)
        e = layers.Dense(rows * columns, name="label_dense")(e)
        e = layers.Reshape((rows, columns, 1), name="label_map")(e)
        x = layers.Concatenate(name="joined")([x, e])  # (b, 5, 3, C + 1)
        for k, width in enumerate(generator_widths(cfg), 1):
            x = engine.Conv2DTranspose(
                width, cfg.generator_kernel, 2, "same", use_bias=False, name=f"up{k}"
            )(x)
            x = engine.BatchNormalization(momentum=cfg.bn_momentum, name=f"up{k}_norm")(x)
            x = layers.ReLU(name=f"up{k}_relu")(x)  # (b, 5·2^k, 3·2^k, width)
        # A transposed convolution of stride 1 is a convolution.
        x = layers.Conv2DTranspose(1, 3, 1, "same", name="to_image", dtype="float32")(x)
        image = SuvImage(cfg.intensity, cfg.suv_max if suv_max is None else suv_max, name="suv")(x)
    return keras.Model([z, label], image, name="generator")


def build_discriminator(cfg: Config, n_classes: int = 5) -> keras.Model:
    """The discriminator: (grey values (b, h, w, 1), label (b,) or (b, 1)) → logit (b, 1).

    label → Embedding → Dense(h·w) → h × w × 1, joined as a channel; then d × [3 × 3 convolution of
    stride 2, BatchNorm (not in the first and the two last layers, Dense counted), LeakyReLU,
    Dropout] and Dense(1) (paper §3.2).
    """
    h, w = cfg.canvas
    widths = discriminator_widths(cfg)
    with _arithmetic(cfg.precision):
        image = keras.Input((h, w, 1), name="image")
        label = keras.Input((), dtype="int32", name="label")
        e = label_embedding(cfg, n_classes)(label)
        e = layers.Dense(h * w, name="label_dense")(e)
        e = layers.Reshape((h, w, 1), name="label_map")(e)
        x = layers.Concatenate(name="joined")([image, e])  # (b, h, w, 2)
        for k, width in enumerate(widths, 1):
            normed = 1 < k < len(widths)
            x = layers.Conv2D(width, 3, 2, "same", use_bias=not normed, name=f"down{k}")(x)
            if normed:
                x = engine.BatchNormalization(momentum=cfg.bn_momentum, name=f"down{k}_norm")(x)
            x = layers.LeakyReLU(cfg.leaky_slope, name=f"down{k}_leaky")(x)
            x = engine.Dropout(cfg.dropout, name=f"down{k}_dropout")(x)
            # (b, h / 2^k, w / 2^k, width)
        x = BatchSpread(name="batch_spread")(x) if cfg.batch_spread else x
        x = layers.Flatten(name="flat")(x)
        # float32: the loss needs the digits.
        logit = layers.Dense(1, name="logit", dtype="float32")(x)
    return keras.Model([image, label], logit, name="discriminator")


def embedding_generator(generator: keras.Model) -> keras.Model:
    """The same generator (shared weights) from a label's vector: [z, e (b, embedding_dim)] → image.

    A walk between classes moves `e` on a straight line between two rows of `label_embedding`.
    """
    inputs = [generator.inputs[0], generator.get_layer("label_embedding").output]
    return keras.Model(inputs, generator.outputs[0], name="generator_from_embedding")


@contextlib.contextmanager
def _arithmetic(precision: str):
    """Layers made inside this block use the given precision; then the former policy is back."""
    engine.prepare()
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
