"""The other GAN of Fig. 4: a standard, fully connected conditional GAN (Mirza & Osindero 2014), trained on few exams.

With no convolutions, no dropout and a few dozen exams it learns them by heart: a walk from one class to another then
is a cross-fade of two stored exams, which is what the paper's Fig. 4 shows. It is the positive control of the
memorisation tests. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from radiogan_lib.config import Config, Config as _Defaults
from radiogan_lib.gan.networks import SuvImage
from radiogan_lib.gan.radiogan import RadioGAN, compile_game

HIDDEN = 256  # units of the joint layer; fewer on a large canvas, so that the output layer stays below 20 million weights
ROUNDS = 10  # passes over the few exams that count as one epoch of the run
SWITCHES = ("loss", "gradient_penalty", "projection", "ema", "diffaugment", "lecam", "label_smoothing", "transitional",
            "balanced", "label_init", "precision", "guide", "generator_kernel")  # everything that a recipe may turn on is off here


def build_generator(cfg: Config, n_classes: int = 5, suv_max: float | None = None) -> keras.Model:
    """z and label each to a layer of their own, then one joint layer, then every pixel: (z, label) → (b, h, w, 1)."""
    h, w = cfg.canvas
    z = keras.Input((cfg.noise_dim,), name="z")
    label = keras.Input((), dtype="int32", name="label")
    e = layers.Embedding(n_classes, cfg.embedding_dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
                         name="label_embedding")(label)
    x = layers.Concatenate(name="joined")([layers.Dense(200, "relu", name="noise_dense")(z),
                                           layers.Dense(200, "relu", name="label_dense")(e)])
    x = layers.BatchNormalization(momentum=cfg.bn_momentum, name="joined_norm")(x)
    x = layers.Dense(_hidden(h * w), name="joint")(x)
    x = layers.ReLU(name="joint_relu")(layers.BatchNormalization(momentum=cfg.bn_momentum, name="joint_norm")(x))
    x = layers.Reshape((h, w, 1), name="pixels")(layers.Dense(h * w, name="to_pixels")(x))
    image = SuvImage(cfg.intensity, cfg.suv_max if suv_max is None else suv_max, cfg.value_range, name="suv")(x)
    return keras.Model([z, label], image, name="cgan_generator")


def build_discriminator(cfg: Config, n_classes: int = 5) -> keras.Model:
    """All pixels and the label's vector to one hidden layer and another: (image, label) → logit (b, 1)."""
    h, w = cfg.canvas
    image = keras.Input((h, w, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    e = layers.Embedding(n_classes, cfg.embedding_dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
                         name="label_embedding")(label)
    x = layers.Concatenate(name="joined")([layers.Flatten(name="flat")(image), e])
    for k in (1, 2):
        x = layers.LeakyReLU(cfg.leaky_slope, name=f"hidden{k}_leaky")(layers.Dense(_hidden(h * w) // 2, name=f"hidden{k}")(x))
        x = layers.Dropout(0.4, name=f"hidden{k}_dropout")(x)
    return keras.Model([image, label], layers.Dense(1, name="logit")(x), name="cgan_discriminator")


def _hidden(pixels: int) -> int:
    return int(max(32, min(HIDDEN, 20_000_000 // pixels)))


def game(cfg: Config, n_classes: int, suv_max: float | None = None) -> RadioGAN:
    """The same game as RadioGAN's, between these two networks."""
    return compile_game(cfg, lambda: (build_generator(cfg, n_classes, suv_max), build_discriminator(cfg, n_classes)))


def settings(cfg: Config, n_exams: int) -> Config:
    """The run's settings: the paper's plain game, `baseline_epochs` passes over the exams."""
    plain = {name: getattr(_Defaults(), name) for name in SWITCHES}
    epochs = max(1, round(cfg.baseline_epochs / ROUNDS))
    return dataclasses.replace(cfg, **plain, recipe="paper", epochs=epochs, samples_every=max(1, epochs // 5),
                               batch_size=max(2, min(10, n_exams)), learning_rate=1e-3, intensity='sqrt')


def train_baseline(cfg: Config, mips, run_dir):
    """Train the CGAN that memorises on a few exams; continues or returns at once like `gan.train`.

    Args:
        cfg: `baseline_epochs`, canvas, intensity curve and seed are used.
        mips: the few exams, e.g. `train.first_per_class(cfg.baseline_exams)`.
        run_dir: a folder of its own.

    Returns:
        A `Run`; its generator works with `gan.sample` and `evaluation.walk`.
    """
    from radiogan_lib.gan.training import train
    many = mips.subset(np.tile(np.arange(len(mips)), ROUNDS))
    return train(settings(cfg, len(mips)), many, run_dir, build=game)
