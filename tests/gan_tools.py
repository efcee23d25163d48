"""What the tests of the GAN room share: small settings, and exams made of a body and one blob per
class."""

from __future__ import annotations

import dataclasses

import numpy as np

from radiogan_lib.config import Config

SMALL = dict(
    doublings=3,
    generator_channels=16,
    discriminator_channels=4,
    noise_dim=8,
    embedding_dim=6,
    batch_size=8,
    epochs=2,
)
EVERYTHING = dict(
    label_init=1.0,
    intensity="sqrt",
    spectral_matching=0.1,
    ema=0.9,
    diffaugment="translation",
    lecam=0.1,
    balanced=True,
    generator_kernel=4,
    auxiliary=0.2,
    batch_spread=True,
    cooldown=0.5,
    diffaugment_share=0.5,
    auxiliary_augment="translation",
)
# `make test` sets both to 1; what a process holds in memory depends on them.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def small(**settings) -> Config:
    return dataclasses.replace(Config(), **(SMALL | settings))


class Exams:
    """Stands in for a `data.MipDataset`."""

    suv_max, sha256 = 30.0, "0" * 64

    def __init__(self, suv, labels, class_names):
        self.suv, self.labels, self.class_names = suv, labels, class_names

    def __len__(self):
        return len(self.labels)

    def subset(self, indices):
        return Exams(self.suv[indices], self.labels[indices], self.class_names)


def blobs(cfg: Config, per_class: int = 12, n_classes: int = 3, seed: int = 0) -> Exams:
    """A bright band for the body and one hot spot, whose height tells the class."""
    rng, (h, w) = np.random.default_rng(seed), cfg.canvas
    y, x = np.mgrid[:h, :w]
    labels = np.repeat(np.arange(n_classes), per_class).astype("int32")
    suv = []
    for c in labels:
        body = rng.uniform(0.5, 1.5) * (np.abs(x - w / 2) < w * rng.uniform(0.25, 0.35))
        row, column = h * (c + 0.5) / n_classes + rng.normal(0, 1), w * rng.uniform(0.4, 0.6)
        suv.append(body + rng.uniform(5, 12) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4))
    return Exams(np.asarray(suv, "float32"), labels, [f"class {c}" for c in range(n_classes)])
