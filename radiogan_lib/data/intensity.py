"""SUV to grey values and back.

The paper clips SUV to [0, 30] and maps it to [0, 1] (§3.1) while the generator ends in tanh (§3.2). We train on
[-1, 1] by default; `value_range="unit"` is the literal reading. Datasets always hold linear SUV, so a curve can be
undone. Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.config import ConfigError

CURVES = ("linear", "sqrt")
RANGES = ("symmetric", "unit")


def _check(curve: str, suv_max: float, value_range: str) -> None:
    for name, value, known in (("curve", curve, CURVES), ("value_range", value_range, RANGES)):
        if value not in known:
            raise ConfigError(f"{name} = {value!r}; choose one of {', '.join(known)}.")
    if not suv_max > 0:
        raise ConfigError(f"suv_max = {suv_max!r}; it must be above 0.")


def encode(
    suv: np.ndarray, curve: str = "linear", suv_max: float = 30.0, value_range: str = "symmetric"
) -> np.ndarray:
    """Turn SUV into the grey values that the networks see.

    Args:
        suv: (n, h, w) linear SUV; values outside [0, suv_max] are clipped.
        curve: "linear" (paper) or "sqrt", which gives the dim tissue, where most pixels lie, more of the range.
        suv_max: SUV that becomes the brightest grey value (paper: 30).
        value_range: "symmetric" = [-1, 1], "unit" = [0, 1].

    Returns:
        (n, h, w, 1) float32.

    Raises:
        ConfigError: an unknown curve or range.
    """
    _check(curve, suv_max, value_range)
    grey = np.asarray(suv, dtype=np.float32) / np.float32(suv_max)
    np.clip(grey, 0, 1, out=grey)
    if curve == "sqrt":
        np.sqrt(grey, out=grey)
    if value_range == "symmetric":
        grey *= 2
        grey -= 1
    return grey[..., None]


def decode(
    images: np.ndarray, curve: str = "linear", suv_max: float = 30.0, value_range: str = "symmetric"
) -> np.ndarray:
    """Turn grey values back into SUV: the inverse of `encode`, for values outside the range as if they were at its end.

    Args:
        images: (n, h, w, 1) grey values.
        curve, suv_max, value_range: as they were given to `encode`.

    Returns:
        (n, h, w) float32 linear SUV in [0, suv_max].
    """
    _check(curve, suv_max, value_range)
    images = np.asarray(images, dtype=np.float32)
    if images.ndim < 3 or images.shape[-1] != 1:
        raise ValueError(f"grey images have shape (n, h, w, 1); these have {images.shape}.")
    grey = images[..., 0] if value_range == "unit" else (images[..., 0] + 1) / 2
    grey = np.clip(grey, 0, 1)
    if curve == "sqrt":
        grey = grey * grey
    return (grey * np.float32(suv_max)).astype(np.float32)
