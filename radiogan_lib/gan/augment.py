"""DiffAugment for PET projections (Zhao et al., NeurIPS 2020): the same random shifts and holes for real and fake images.

Differentiable, so that the generator learns through them. No flips, ever: the liver is on the right. No brightness: SUV
is a measurement. Shifts are two small matrix products, which every engine does fast and exactly.
Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

import keras
from keras import ops

from radiogan_lib.config import ConfigError

KINDS = ("translation", "cutout")


class DiffAugment:
    """Callable on grey values (b, h, w, 1); does nothing outside training or with an empty policy.

    Args:
        policy: comma-separated list of `translation` (up to ± an eighth of each side) and `cutout` (a hole of half of each side).
        fill: the grey value of air, which shifts and holes reveal: 0 SUV, not mid-grey.
        seed: of the random draws; their state is part of the model's variables.
        share: how many of the images are changed. Below 1 the discriminator sees where a body really lies, and the generator
            cannot draw it somewhere else unnoticed: augmentation of every image leaks (Karras et al., NeurIPS 2020, §2.2).
        setting: the setting that the policy comes from, for messages.
    """

    def __init__(
        self, policy: str, fill: float, seed: int, share: float = 1.0, setting: str = "diffaugment"
    ):
        self.kinds = [k.strip() for k in policy.split(",") if k.strip()]
        unknown = [k for k in self.kinds if k not in KINDS]
        if unknown:
            raise ConfigError(
                f"settings: {setting} = {policy!r} names {unknown[0]!r}; it is a comma list of {', '.join(KINDS)} "
                "(flips are left out on purpose: anatomy has sides)."
            )
        self.fill, self.share = fill, share
        self.seed = keras.random.SeedGenerator(seed)

    def __call__(self, x, training=True):
        if not training or not self.kinds or not self.share:
            return x
        x = before = x - self.fill
        if "translation" in self.kinds:
            x = self._shift(x)
        if "cutout" in self.kinds:
            x = self._cut(x)
        if self.share < 1:
            x = ops.where(self._chosen(x), x, before)
        return x + self.fill

    def _chosen(self, x):
        """Which images are changed: (b, 1, 1, 1)."""
        return keras.random.uniform((ops.shape(x)[0], 1, 1, 1), seed=self.seed) < self.share

    def _whole(self, x, low: int, high: int):
        """One random whole number per image in [low, high], as (b, 1, 1)."""
        u = keras.random.uniform((ops.shape(x)[0], 1, 1), seed=self.seed)
        return ops.floor(low + u * (high - low + 1))

    def _shift(self, x):
        h, w = x.shape[1:3]
        rows = self._moved(h, self._whole(x, -(h // 8), h // 8), x.dtype)  # (b, h, h)
        columns = self._moved(w, self._whole(x, -(w // 8), w // 8), x.dtype)  # (b, w, w)
        image = ops.matmul(rows, ops.squeeze(x, -1))
        return ops.expand_dims(ops.matmul(image, ops.transpose(columns, (0, 2, 1))), -1)

    @staticmethod
    def _moved(n: int, step, dtype):
        """Matrices (b, n, n) that move n samples by `step` and drop what leaves: a shifted diagonal."""
        i = ops.arange(n, dtype="float32")
        return ops.cast(ops.equal(i[None, None, :] + step, i[None, :, None]), dtype)

    def _cut(self, x):
        h, w = x.shape[1:3]
        inside = [
            ops.cast(
                ops.abs(ops.arange(n, dtype="float32")[None, None] - self._whole(x, 0, n - 1))
                < n / 4,
                x.dtype,
            )
            for n in (h, w)
        ]  # each (b, 1, n)
        hole = ops.transpose(inside[0], (0, 2, 1)) * inside[1]  # (b, h, w)
        return x * (1 - ops.expand_dims(hole, -1))
