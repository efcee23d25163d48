"""Nearest neighbours and distance matrices in blocks: 10,000 against 10,000 images stay far below 2 GB.

Squared distances come from one matrix product per block, which is fast but loses digits where two vectors are almost
equal, exactly where a copy would be. The distances that are returned are therefore computed again from the differences.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

BLOCK_BYTES = 128 * 2**20


def one_thread(function):
    """Run with one BLAS thread: these matrices are small, and on a busy machine threads that wait cost more than they give.

    Seen on two cores shared with other work: the test of the controls took 36 s with one thread, 149 s with two.
    """

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        from threadpoolctl import threadpool_limits  # comes with scikit-learn

        with threadpool_limits(1):
            return function(*arguments, **named)

    return wrapped


def blocks(n: int, row_bytes: int, limit: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices that cover range(n), each with at most `limit` bytes of rows."""
    step = max(1, limit // max(1, row_bytes))
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (len(a), len(b)), float32, never negative. For one block, or small sets."""
    centre = b.mean(axis=0)  # distances do not change, but fewer digits cancel
    a, b = a - centre, b - centre
    d = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :]
    d -= 2 * (a @ b.T)
    return np.maximum(d, 0, out=d)


def nearest_k(
    a: np.ndarray, b: np.ndarray, k: int = 1, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of b for every row of a.

    Args:
        a: (n, features). b: (m, features).
        exclude_self: a is b, and no row is its own neighbour.

    Returns:
        distances (n, k) float32 ascending, exact to float32 even at zero; indices (n, k) into b.
    """
    k = min(k, len(b) - bool(exclude_self))
    take = min(
        len(b) - bool(exclude_self), k + 4
    )  # a few spare: their order is settled by the exact distances
    distances, indices = np.empty((len(a), k), np.float32), np.empty((len(a), k), np.int64)
    for rows in blocks(len(a), len(b) * 16):
        d = squared(a[rows], b)
        if exclude_self:
            d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = np.inf
        near = (
            np.argpartition(d, take - 1, axis=1)[:, :take]
            if take < len(b)
            else np.argsort(d, axis=1)[:, :take]
        )
        exact = np.empty(near.shape, np.float32)
        for j in range(take):
            exact[:, j] = np.sqrt(((a[rows] - b[near[:, j]]) ** 2).sum(axis=1))
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        distances[rows] = np.take_along_axis(exact, order, axis=1)
        indices[rows] = np.take_along_axis(near, order, axis=1)
    return distances, indices


def nearest(images: np.ndarray, bank: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest images of `bank` for every image, in pooled linear intensity.

    Args:
        images: (n, h, w) SUV. bank: (m, h', w') SUV, for example the training exams.

    Returns:
        indices (n, k) and distances (n, k): root-mean-square SUV difference per pooled pixel.
    """
    from radiogan_lib.evaluation.features import check_images, common

    a, b = common(check_images(images, "given"), check_images(bank, "bank"))
    distances, indices = nearest_k(a, b, k)
    return indices, distances


def distinct(features: np.ndarray, radius: float) -> np.ndarray:
    """Indices of rows that are further than `radius` from every earlier kept row: repeats are counted once.

    A collapsed generator draws the same few images again and again; a test that took each draw for new evidence
    would be far too sure of itself.
    """
    kept = np.empty((0, features.shape[1]), np.float32)
    indices: list[int] = []
    for rows in blocks(len(features), 4 * len(features) + 8, BLOCK_BYTES // 8):
        block = features[rows]
        new = np.arange(rows.start, rows.stop)
        if len(kept):
            far = nearest_k(block, kept)[0][:, 0] > radius
            block, new = block[far], new[far]
        if not len(new):
            continue
        within = squared(block, block) <= radius**2
        alive = np.ones(len(new), bool)
        for i in range(len(new)):
            if alive[i]:
                alive[i + 1 :] &= ~within[i, i + 1 :]
        kept = np.concatenate([kept, block[alive]])
        indices += new[alive].tolist()
    return np.asarray(indices, np.int64)
