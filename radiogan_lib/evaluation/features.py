"""Sets of images, and what they are compared by: pooled linear intensities and near neighbours.

Features fitted on the training exams would make these look nearer than held-out ones, and a blend
of two exams is a straight line only in linear intensity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from radiogan_lib.config import RadioganError

POOLED_SIDE = 40  # pixels on the longer side: 80 × 48 becomes 40 × 24, 640 × 384 too
MOVED_SIDE = 32  # the same where small shifts are searched
CANDIDATES = 24  # images that the search over shifts looks at closely
REGISTERED = 3  # of these, the ones that are registered
BLOCK_BYTES = 64 * 2**20
NAMES = ("training", "held-out", "generated")


class EvaluationError(RadioganError, ValueError):
    """Images or labels that cannot be evaluated, and why."""


@dataclass(frozen=True)
class ImageSet:
    """Images (n, h, w) in linear intensity (SUV); labels (n,) int and patients (n,), or None."""

    images: np.ndarray
    labels: np.ndarray | None = None
    patients: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> np.ndarray:
        """The labels, or all 0 where they are not known."""
        return np.zeros(len(self), int) if self.labels is None else self.labels

    def take(self, index) -> ImageSet:
        """The images at these indices, with their labels and patients."""
        rest = (None if v is None else np.asarray(v)[index] for v in (self.labels, self.patients))
        return ImageSet(np.asarray(self.images)[index], *rest)


def as_set(given, name: str = "given") -> ImageSet:
    """Check a set: an `ImageSet`, a dataset of `radiogan_lib.data`, or bare images (n, h, w).

    Returns:
        ImageSet: images float32, labels int64, patients as numbers (None where all differ).

    Raises:
        EvaluationError: what is wrong with which set.
    """
    if hasattr(given, "suv"):
        given = ImageSet(given.suv, given.labels, given.patient_ids)
    if not isinstance(given, ImageSet):
        given = ImageSet(given)
    images, labels, patients = check_images(given.images, name), given.labels, given.patients
    n = len(images)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            fault = f"the {name} labels have shape {labels.shape} and type {labels.dtype}"
            raise EvaluationError(f"{fault}; give {n} integers, one per image.")
        labels = labels.astype(np.int64)
    if patients is not None:
        patients = np.unique(np.asarray(patients), return_inverse=True)[1].ravel()
        if len(patients) != n:
            fault = f"the {name} patients have {len(patients)} entries"
            raise EvaluationError(f"{fault}; give {n}, one per image.")
        patients = None if patients.max() + 1 == n else patients
    return ImageSet(images, labels, patients)


def one_each(given: ImageSet, seed: int = 0) -> np.ndarray:
    """Indices of one exam of each patient, at random: two are no independent evidence."""
    if given.patients is None:
        return np.arange(len(given))
    order = np.random.default_rng(seed).permutation(len(given))
    return np.sort(order[np.unique(np.asarray(given.patients)[order], return_index=True)[1]])


def subsample(given: ImageSet, most: int, seed: int) -> np.ndarray:
    """Indices of at most `most` images, at random, in their order."""
    if len(given) <= most:
        return np.arange(len(given))
    return np.sort(np.random.default_rng(seed).choice(len(given), most, replace=False))


def check_images(images, name: str) -> np.ndarray:
    """Return images as float32 (n, h, w), without a trailing channel of 1.

    Raises:
        EvaluationError: not three axes, empty, not finite, or beyond ordinary units.
    """
    try:
        images = np.asarray(images).astype(np.float32, copy=False)
    except (TypeError, ValueError):
        fault = f"the {name} images are not one array of numbers"
        raise EvaluationError(f"{fault}; give float (n, rows, columns).") from None
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim != 3 or 0 in images.shape:
        fault = f"the {name} images have shape {images.shape}"
        raise EvaluationError(f"{fault}; give (n, rows, columns) with n ≥ 1.")
    ends = np.stack([images.min(axis=(1, 2)), images.max(axis=(1, 2))])
    if bad := int((~np.isfinite(ends)).any(axis=0).sum()):
        fault = f"{bad} of the {name} images hold NaN or infinite values"
        raise EvaluationError(f"{fault}; mend or drop them first.")
    if (peak := np.abs(ends).max()) > 1e15:
        raise EvaluationError(f"the {name} images reach {peak:.0e}; bring them to ordinary units.")
    return images


def check_sets(train, holdout, generated) -> tuple[ImageSet, ...]:
    """The three sets, checked; labels stay only where all three have them."""
    sets = tuple(map(as_set, (train, holdout, generated), NAMES))
    if any(s.labels is None for s in sets):
        return tuple(replace(s, labels=None) for s in sets)
    for s, name in zip(sets[1:], NAMES[1:], strict=True):
        if not np.isin(s.labels, sets[0].labels).any():
            fault = f"no label of the {name} images occurs among the training labels"
            raise EvaluationError(f"{fault}; number the classes alike in all sets.")
    return sets


@contextlib.contextmanager
def one_thread():
    """One BLAS thread, also as a decorator: several cost more than they give on small matrices."""
    with threadpool_limits(1):
        yield


def blocks(n: int, row_bytes: int, limit: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices that cover range(n), each with at most `limit` bytes of rows."""
    step = max(1, limit // max(1, row_bytes))
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def _overlap(n_in: int, n_out: int) -> np.ndarray:
    """(n_out, n_in): each row averages the input cells that an output cell covers, by length."""
    edges_in, edges_out = np.arange(n_in + 1), np.linspace(0, n_in, n_out + 1)
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    return (np.clip(high - low, 0, None) * n_out / n_in).astype(np.float32)


def area_average(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize (n, h, w) to (n, *shape) by averaging the area that each new pixel covers."""
    images = np.asarray(images, np.float32)
    if images.shape[1:] == tuple(shape):
        return images
    rows, columns = _overlap(images.shape[1], shape[0]), _overlap(images.shape[2], shape[1])
    return np.matmul(np.matmul(rows, images), columns.T)


def pooled_shape(shape: tuple[int, int], side: int = POOLED_SIDE) -> tuple[int, int]:
    """`shape` made smaller, with the longer side `side`; never larger."""
    scale = min(1.0, side / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def common_shape(*shapes: tuple[int, int]) -> tuple[int, int]:
    """The shape at which images of these shapes are compared: the smallest one's, pooled."""
    return pooled_shape(min(shapes, key=lambda s: s[0] * s[1]))


def pooled(images: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Area-averaged intensity, flattened: float32 (n, features); distances are RMS per pixel."""
    flat = area_average(images, shape or pooled_shape(images.shape[1:])).reshape(len(images), -1)
    return flat / np.float32(np.sqrt(flat.shape[1]))


def common(*sets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pool several image arrays (n, h, w) to one small shape, `common_shape`."""
    shape = common_shape(*(s.shape[1:] for s in sets))
    return tuple(pooled(s, shape) for s in sets)


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (len(a), len(b)), float32, never negative."""
    centre = b.mean(axis=0)  # distances do not change, but fewer digits cancel
    a, b = a - centre, b - centre
    d = a @ b.T
    d *= -2
    d += (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :]
    return np.maximum(d, 0, out=d)


def nearest_k(
    a: np.ndarray, b: np.ndarray, k: int = 1, apart=None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of b (m, d) for every row of a (n, d), exact to float32, also at zero.

    `apart`: group numbers (n,), (m,); rows of one group are no neighbours (same patient, or the row
    itself). Returns distances (n, k) ascending, inf where there are fewer, and indices (n, k).
    """
    k = min(k, len(b))
    take = min(len(b), k + 4)  # a few spare: their order is settled by the exact distances
    distances, indices = np.empty((len(a), k), np.float32), np.empty((len(a), k), np.int64)
    for rows in blocks(len(a), len(b) * 16):
        d = squared(a[rows], b)
        if apart is not None:
            d[apart[0][rows, None] == apart[1][None, :]] = np.inf
        near = np.argpartition(d, take - 1, axis=1)[:, :take]
        exact = np.empty(near.shape, np.float32)
        for j in range(take):
            exact[:, j] = np.sqrt(((a[rows] - b[near[:, j]]) ** 2).sum(axis=1))
        exact[np.isinf(np.take_along_axis(d, near, axis=1))] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        distances[rows] = np.take_along_axis(exact, order, axis=1)
        indices[rows] = np.take_along_axis(near, order, axis=1)
    return distances, indices


def nearest(images, bank, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest images of `bank`: indices (n, k), distances (n, k) in RMS SUV per pixel."""
    a, b = common(check_images(images, "given"), check_images(bank, "bank"))
    distances, indices = nearest_k(a, b, k)
    return indices, distances


def distinct(features: np.ndarray, radius: float) -> np.ndarray:
    """For every row the index of the row that it repeats, within `radius`; else its own."""
    stands, own = np.arange(len(features)), np.arange(len(features))
    near = nearest_k(features, features, 1, (own, own))[0][:, 0]
    rest = np.flatnonzero(near <= radius)
    while len(rest):
        first, rest = rest[0], rest[1:]
        same = ((features[rest] - features[first]) ** 2).sum(axis=1) <= radius**2
        stands[rest[same]] = first
        rest = rest[~same]
    return stands


class Moved:
    """Images for comparison up to a small shift, mirroring, gain, offset and inversion.

    The distance of two images is √(2 − 2r) with r the largest absolute correlation of one's middle
    with any window of the other or its mirror image, both slightly smoothed. Windows are searched
    for the `CANDIDATES` exams most alike after strong smoothing.
    """

    def __init__(self, images: np.ndarray, shape: tuple[int, int]):
        h, w = shape = pooled_shape(shape, MOVED_SIDE)
        self.reach = r = max(0, min(max(2, round(max(shape) / 10)), (min(shape) - 1) // 3))
        small = area_average(images, shape)
        self.small = ndimage.gaussian_filter(small, (0, 0.6, 0.6)) if r > 1 else small
        self.coarse = _unit(ndimage.gaussian_filter(small, (0, r, r)))
        self.mirror = _unit(ndimage.gaussian_filter(small[:, :, ::-1], (0, r, r)))
        self.middle = _unit(self.small[:, r : h - r, r : w - r])
        self.flipped = _unit(self.small[:, r : h - r, r : w - r][:, :, ::-1])

    def nearest(self, bank: Moved, k: int = 1, apart=None) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest_k`: distances (n, k) and indices (n, k) into the bank."""
        n, m = len(self.small), len(bank.small)
        windows, norm = bank._windows()
        size = windows.shape[-1] * windows.shape[-2]
        # small images blur into each other, and more of them cost no more
        k, take = min(k, m), min(m, max(CANDIDATES * max(1, 256 // size), k))
        distances, indices = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
        for rows in blocks(n, m * 12):
            likeness = np.abs(self.coarse[rows] @ bank.coarse.T)
            np.maximum(likeness, np.abs(self.mirror[rows] @ bank.coarse.T), out=likeness)
            if apart is not None:
                likeness[apart[0][rows, None] == apart[1][None, :]] = -1
            near = np.argpartition(-likeness, take - 1, axis=1)[:, :take]
            for i, candidates in zip(range(rows.start, rows.stop), near, strict=True):
                r = self._correlation(i, windows[candidates], norm[candidates])
                d = np.sqrt(np.maximum(2 - 2 * r.max(axis=1), 0))
                d[likeness[i - rows.start, candidates] < 0] = np.inf
                order = np.argsort(d, kind="stable")[:k]
                distances[i], indices[i] = d[order], candidates[order]
        return distances, indices

    def registered(self, bank: Moved, d: np.ndarray, i: np.ndarray):
        """Distance to the nearest exam after registration, and its index, (n,) each.

        One step of least squares turns and zooms the best window, and shifts it by parts of a
        pixel: R is the multiple correlation with the window and its derivatives, the distance
        √(2 − 2R). `d`, `i`: what `nearest` found; its first `REGISTERED` exams are registered.
        """
        d, i, r = d[:, :REGISTERED].copy(), i[:, :REGISTERED], bank.reach
        h, w = (n - 2 * r for n in bank.small.shape[1:])
        if h * w >= 16:  # else five numbers would explain anything
            windows, norm = bank._windows()
            smooth = (0, *[min(1.2, min(h + 2 * r, w + 2 * r) / 10)] * 2)
            own, fine = (ndimage.gaussian_filter(m.small, smooth) for m in (self, bank))
            own = own[:, r : r + h, r : r + w]
            targets = np.stack([_unit(own), _unit(own[:, :, ::-1])], axis=1)
            row, column = np.mgrid[:h, :w].reshape(2, -1) - np.array([[h - 1], [w - 1]]) / 2
            for n, near in enumerate(i):
                best = self._correlation(n, windows[near], norm[near]).argmax(axis=1)
                for j in np.flatnonzero(np.isfinite(d[n])):
                    y, x = divmod(best[j] // 2, 2 * r + 1)
                    image = fine[near[j]]
                    both = (image, *np.gradient(image))
                    a, down, right = (v[y : y + h, x : x + w].ravel() for v in both)
                    turn, zoom = down * column - right * row, down * row + right * column
                    basis = np.stack([a, down, right, turn, zoom], axis=1)
                    q = np.linalg.qr(basis - basis.mean(axis=0))[0]
                    r2 = min(((targets[n, best[j] % 2] @ q) ** 2).sum(), 1)
                    d[n, j] = np.sqrt(2 - 2 * np.sqrt(r2))
        best = d.argmin(axis=1)[:, None]
        return np.take_along_axis(d, best, 1)[:, 0], np.take_along_axis(i, best, 1)[:, 0]

    def _correlation(self, i: int, windows: np.ndarray, norm: np.ndarray) -> np.ndarray:
        """|r| of image i's middle, and its mirror image, with windows: (candidates, 2 shifts)."""
        middles = np.stack([self.middle[i], self.flipped[i]], axis=1)
        r = np.abs(windows.reshape(-1, len(middles)) @ middles).reshape(len(windows), -1, 2)
        return (r / norm[..., None]).reshape(len(windows), -1)

    def _windows(self):
        """Every window of every image, and its norm without the mean: (n, shifts)."""
        r = self.reach
        h, w = self.small.shape[1] - 2 * r, self.small.shape[2] - 2 * r
        both = (v.astype(np.float64) for v in (self.small, self.small**2))
        sums = [_box(v, h, w).reshape(len(v), -1) for v in both]
        norm = np.sqrt(np.maximum(sums[1] - sums[0] ** 2 / (h * w), 0))
        floor = 1e-3 * np.sqrt(h * w) * max(float(self.small.std()), 1e-12)
        windows = np.lib.stride_tricks.sliding_window_view(self.small, (h, w), axis=(1, 2))
        return windows, np.maximum(norm, floor).astype(np.float32)


def _box(x: np.ndarray, h: int, w: int) -> np.ndarray:
    """Sums over all windows of h × w pixels: (n, rows − h + 1, columns − w + 1)."""
    c = np.pad(x.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    return c[:, h:, w:] - c[:, :-h, w:] - c[:, h:, :-w] + c[:, :-h, :-w]


def _unit(images: np.ndarray) -> np.ndarray:
    """Flattened images without their mean, each of length 1; constant images stay 0."""
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    floor = 1e-3 * np.sqrt(flat.shape[1]) * max(float(images.std()), 1e-12)
    return (flat / np.maximum(length, floor)).astype(np.float32)


def spectrum(images: np.ndarray, bands: int = 8) -> np.ndarray:
    """Log power per ring of spatial frequency up to Nyquist, coarse to fine: (n, bands)."""
    n, h, w = images.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[None, 1:-1]
    power = np.abs(np.fft.rfft2((images - images.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    ring = (radius / 0.5 * bands).astype(int)  # corners beyond Nyquist lie in none
    inside = [ring == b for b in range(bands)]
    sums = [power[:, r].mean(axis=1) if r.any() else np.zeros(n) for r in inside]
    return np.log(np.stack(sums, 1) + 1e-12)


def fine_amplitude(images: np.ndarray) -> np.ndarray:
    """Mean log amplitude of the upper half of spatial frequencies: (n,)."""
    bands = spectrum(images)
    return bands[:, bands.shape[1] // 2 :].mean(axis=1) / 2
