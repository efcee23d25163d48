"""From images to vectors, in ways that do not depend on the training set.

A feature space fitted on the training exams sees them a little more sharply than held-out ones, and a memorisation test
in it is biased before the generator has drawn anything. The tests of this package therefore use pooled *linear*
intensities: linear, because a blend of two exams is a straight line only there.
Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.config import RadioganError

POOLED_SIDE = 40  # pixels on the longer side: 80 × 48 becomes 40 × 24, 640 × 384 too


class EvaluationError(RadioganError, ValueError):
    """Images or labels that cannot be judged, and why."""


def check_images(images, name: str) -> np.ndarray:
    """Return images as float32 (n, h, w), or say what is wrong with them.

    Raises:
        EvaluationError: not three axes (a trailing channel of 1 is dropped), empty, or not finite.
    """
    try:
        images = np.asarray(images, dtype=np.float32)
    except (TypeError, ValueError):
        raise EvaluationError(
            f"the {name} images are not one array of numbers; give float (n, rows, columns)."
        ) from None
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim != 3 or 0 in images.shape:
        raise EvaluationError(
            f"the {name} images have shape {images.shape}; give (n, rows, columns) with n ≥ 1."
        )
    if not np.isfinite(images).all():
        bad = int((~np.isfinite(images).all(axis=(1, 2))).sum())
        raise EvaluationError(
            f"{bad} of the {name} images hold NaN or infinite values; mend or drop them first."
        )
    return images


def check_labels(labels, n: int, name: str) -> np.ndarray:
    """Return labels as int (n,), or say what is wrong with them."""
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise EvaluationError(
            f"the {name} labels have shape {labels.shape} and type {labels.dtype}; "
            f"give {n} integers, one per image."
        )
    return labels.astype(np.int64)


def check_groups(groups, n: int, name: str) -> np.ndarray | None:
    """Patients as numbers (n,), or None where every exam is a patient of its own; or say what is wrong with them."""
    if groups is None:
        return None
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    if len(codes) != n:
        raise EvaluationError(
            f"the {name} groups have {len(codes)} entries; give {n}, one per image."
        )
    return codes if codes.max() + 1 < n else None


def _overlap(n_in: int, n_out: int) -> np.ndarray:
    """Rows average the input cells that each output cell covers, weighted by the covered length: (n_out, n_in)."""
    edges_in, edges_out = np.arange(n_in + 1), np.linspace(0, n_in, n_out + 1)
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    return (np.clip(high - low, 0, None) * n_out / n_in).astype(np.float32)


def area_average(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize (n, h, w) to (n, *shape) by averaging the area each new pixel covers; the mean intensity is kept.

    Any size goes to any size, fractions of pixels included; enlarging repeats pixels.
    """
    rows, columns = _overlap(images.shape[1], shape[0]), _overlap(images.shape[2], shape[1])
    return np.matmul(np.matmul(rows, images), columns.T)


def pooled_shape(shape: tuple[int, int], side: int = POOLED_SIDE) -> tuple[int, int]:
    """The small shape that images of `shape` are compared at: longer side `side`, never enlarged."""
    scale = min(1.0, side / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def pooled(images: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Area-averaged linear intensity, flattened: the space of every memorisation and blend test (F0).

    Args:
        images: (n, h, w), linear units (SUV).
        shape: the common small shape; default `pooled_shape` of these images.

    Returns:
        float32 (n, features). One unit of distance is one unit of root-mean-square intensity per pixel.
    """
    shape = shape or pooled_shape(images.shape[1:])
    flat = area_average(images, shape).reshape(len(images), -1)
    return flat / np.float32(np.sqrt(flat.shape[1]))


def common_shape(*shapes: tuple[int, int]) -> tuple[int, int]:
    """The small shape at which images of these shapes are compared: the smallest one's, at most `POOLED_SIDE` long."""
    return pooled_shape(min(shapes, key=lambda s: s[0] * s[1]))


def common(*sets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pool several image sets (n, h, w) to one small shape, `common_shape`."""
    shape = common_shape(*(s.shape[1:] for s in sets))
    return tuple(pooled(s, shape) for s in sets)


def check_sets(
    train, holdout, generated, train_labels=None, holdout_labels=None, generated_labels=None
) -> tuple[list, list]:
    """The three image sets of every report, checked, and their labels: all three, or three times None.

    Raises:
        EvaluationError: what is wrong with which set.
    """
    names = ("training", "held-out", "generated")
    images = [check_images(x, n) for x, n in zip((train, holdout, generated), names, strict=True)]
    labels = [
        None if y is None else check_labels(y, len(x), n)
        for x, y, n in zip(
            images, (train_labels, holdout_labels, generated_labels), names, strict=True
        )
    ]
    return images, labels if all(y is not None for y in labels) else [None, None, None]


class PCA:
    """Principal components of one set, applied to others; deterministic signs. For plots and the FLD gap (F1)."""

    def __init__(self, features: np.ndarray, components: int = 64):
        self.mean = features.mean(axis=0)
        centred = (features - self.mean).astype(np.float64)
        k = min(components, *centred.shape)
        if centred.shape[0] > centred.shape[1]:
            values, vectors = np.linalg.eigh(centred.T @ centred)
            axes = vectors[:, ::-1][:, :k]
        else:
            values, vectors = np.linalg.eigh(centred @ centred.T)
            keep = vectors[:, ::-1][:, :k]
            axes = centred.T @ keep
            axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        self.axes = axes * np.where(signs == 0, 1, signs)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Project (n, features) to (n, components), float32."""
        return ((features - self.mean) @ self.axes).astype(np.float32)


def spectrum(images: np.ndarray, bands: int = 8) -> np.ndarray:
    """Log power per ring of spatial frequency, image by image: (n, bands), from coarse to fine.

    Rings are equal steps of frequency up to Nyquist of the shorter side. The rim of the image is tapered (Hann), so
    that a body cut by the border does not look like fine detail.
    """
    n, h, w = images.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[None, 1:-1]
    power = np.abs(np.fft.rfft2((images - images.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    ring = np.minimum(
        (radius / 0.5 * bands).astype(int), bands
    )  # the corners beyond Nyquist are left out
    sums = np.stack(
        [
            power[:, ring == b].mean(axis=1) if (ring == b).any() else np.zeros(n)
            for b in range(bands)
        ],
        1,
    )
    return np.log(sums + 1e-12)
