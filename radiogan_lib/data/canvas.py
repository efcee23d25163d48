"""From a projection of any size to the fixed canvas that the GAN sees.

The paper gives no image size; our reading is 5·2^d × 3·2^d pixels over a field of view fixed in millimetres.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math

import numpy as np

from radiogan_lib.config import ConfigError


def _overlaps(n_source: int, n_canvas: int, field_px: float, offset_px: int) -> np.ndarray:
    """Weights (n_canvas, n_source): which share of canvas pixel i is covered by source pixel j.

    All lengths are in source pixels; canvas pixel i covers [i, i + 1] · field_px / n_canvas of the field of view and
    source pixel j covers [j, j + 1] + offset_px. A canvas pixel that nothing covers has a row of zeros.
    """
    step = field_px / n_canvas
    low = np.arange(n_canvas)[:, None] * step
    source = np.arange(n_source)[None, :] + offset_px
    shared = np.minimum(low + step, source + 1.0) - np.maximum(low, source)
    return np.clip(shared, 0.0, None) / step


def fit_to_canvas(
    mip: np.ndarray,
    canvas: tuple[int, int],
    field_of_view_mm: tuple[float, float],
    spacing_mm: float | tuple[float, float] = 2.0,
) -> np.ndarray:
    """Place a projection in the field of view and average it down to the canvas.

    The field of view starts at the top row (the head), is centred left to right to the nearest whole pixel, and is
    empty (SUV 0) where the exam does not reach. The value of a canvas pixel is the mean over its area, with fractional
    pixels weighed by the share that lies inside, so the mean over the field of view is kept. Where a canvas pixel is
    exactly a source pixel (d = 7: 640 × 384 over 1280 × 768 mm at 2 mm) the result equals the input bit for bit.

    Args:
        mip: (rows, cols) SUV, head up.
        canvas: (height, width) in pixels, e.g. `cfg.canvas`.
        field_of_view_mm: (height, width) in mm.
        spacing_mm: size of a pixel of `mip`, mm; height and width where they differ.

    Returns:
        (height, width) float32 SUV.

    Raises:
        ConfigError: the field of view is not two positive lengths.
        ValueError: `mip` is not a picture.

    Source: our reading of paper §3.1 and §3.2. Explained in notebooks/01_data_preparation.ipynb.
    """
    mip = np.asarray(mip)
    if mip.ndim != 2 or 0 in mip.shape:
        raise ValueError(
            f"a projection has two dimensions with pixels in them; this one has shape {mip.shape}."
        )
    fov = tuple(field_of_view_mm)
    if len(fov) != 2 or not all(math.isfinite(v) and v > 0 for v in fov):
        raise ConfigError(
            f"field_of_view_mm = {list(fov)!r}; give height and width in mm, such as [900, 540]."
        )
    row_mm, column_mm = (spacing_mm, spacing_mm) if np.isscalar(spacing_mm) else spacing_mm
    height_px, width_px = fov[0] / row_mm, fov[1] / column_mm
    left = math.floor((width_px - mip.shape[1]) / 2)
    down = _overlaps(mip.shape[0], canvas[0], height_px, 0)
    across = _overlaps(mip.shape[1], canvas[1], width_px, left)
    return (down @ mip.astype(np.float64) @ across.T).astype(np.float32)  # (height, width)
