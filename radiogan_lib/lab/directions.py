"""Directions of z that change the pictures of one class, named by what is seen to change between their two ends.

Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radiogan_lib.lab.seen import what_changes

REACH = 2.0  # standard deviations: the two ends at which a direction is looked at


@dataclass(frozen=True)
class Direction:
    """A way to change z: `vector` (noise_dim,), one step of it is one standard deviation of the response."""

    name: str
    vector: np.ndarray


def find(
    draw, label_vector: np.ndarray, noise_dim: int, count: int = 5, samples: int = 192
) -> tuple[Direction, ...]:
    """The directions of z along which the pictures of one class change most, strongest first.

    Principal components of the response: images are drawn at random z, their main ways to differ are found, and each
    is led back to z by least squares (the idea of GANSpace, Härkönen et al., NeurIPS 2020, on images instead of features).

    Args:
        draw: (z, e) to SUV pictures (n, h, w).
        label_vector: embedding of the class.
    """
    rng = np.random.default_rng(0)
    z = rng.standard_normal((samples, noise_dim)).astype(np.float32)
    e = np.tile(label_vector, (samples, 1))
    pictures = np.concatenate([draw(z[i : i + 32], e[i : i + 32]) for i in range(0, samples, 32)])
    flat = np.sqrt(np.maximum(pictures, 0)).reshape(
        samples, -1
    )  # the square root keeps the bladder from deciding everything
    flat -= flat.mean(axis=0)
    left, size, _ = np.linalg.svd(flat, full_matrices=False)
    found, names = [], set()
    ridge = 0.1 * samples * np.eye(noise_dim)
    for k in range(min(count, int((size > 1e-6 * max(size[0], 1e-12)).sum()))):
        score = left[:, k] * np.sqrt(samples)  # unit variance
        vector = np.linalg.solve(z.T @ z + ridge, z.T @ score)
        vector = (vector / max(np.linalg.norm(vector), 1e-12)).astype(np.float32)
        low, high = draw(np.stack([-REACH * vector, REACH * vector]), e[:2])
        if (high - low).sum() < 0:
            vector, low, high = -vector, high, low
        name = what_changes(low, high)
        while name in names:
            name += " (another way)"
        names.add(name)
        found.append(Direction(f"{k + 1}: {name}", vector))
    return tuple(found)
