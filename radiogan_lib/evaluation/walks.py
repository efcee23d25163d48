"""Walks through the latent space.

The paper judges its GAN by a walk from lung cancer to lymphoma (Fig. 5) and a memorising one by a walk that passes a
blend of two patients (Fig. 4). A cross-fade, a jump and a morph can look alike in ten small pictures; walk_numbers.py
tells them apart. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radiogan_lib.evaluation.blending import segment_residual
from radiogan_lib.evaluation.features import EvaluationError

KINDS = ("slerp", "lerp", "label", "paper")


@dataclass(frozen=True)
class Walk:
    """Frames of one walk. `frames` (steps, h, w) SUV; `start`, `end` (class index, seed); `weights` (steps,)."""

    frames: np.ndarray
    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


def slerp(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spherical interpolation (steps, d): turns the direction and blends the length, so that z stays where z is drawn.

    Gaussian noise of 100 dimensions lies near a sphere; a straight line would cut through its empty inside
    (White, Sampling generative networks, 2016). Parallel vectors fall back to the straight line.
    """
    weights = np.asarray(weights, float)[:, None]
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    cosine = np.clip(a @ b / max(norm_a * norm_b, 1e-12), -1, 1)
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-4:
        return (1 - weights) * a + weights * b
    direction = (
        np.sin((1 - weights) * angle) * a / norm_a + np.sin(weights * angle) * b / norm_b
    ) / np.sin(angle)
    return direction * ((1 - weights) * norm_a + weights * norm_b)


def noise(seed: int, noise_dim: int) -> np.ndarray:
    """The z of one seed: (noise_dim,) standard normal. Same seed, same z, on every machine."""
    return np.random.default_rng(seed).standard_normal(noise_dim)


def path(kind: str, start, end, steps: int, noise_dim: int, table: np.ndarray):
    """Points of the walk: z (steps, noise_dim), e (steps, embedding_dim), weights (steps,)."""
    weights = np.linspace(0, 1, steps)
    z_a, z_b = noise(start[1], noise_dim), noise(end[1], noise_dim)
    e = (1 - weights)[:, None] * table[start[0]] + weights[:, None] * table[end[0]]
    if kind == "slerp":
        return slerp(z_a, z_b, weights), e, weights
    if kind == "lerp":
        return (1 - weights)[:, None] * z_a + weights[:, None] * z_b, e, weights
    if kind == "label":
        return np.tile(z_a, (steps, 1)), e, weights
    z = np.zeros((steps, noise_dim))
    z[:, 0] = np.arange(1, steps + 1)
    return z, np.tile(table[start[0]], (steps, 1)), np.arange(1, steps + 1, dtype=float)


def walk(
    generator, start: tuple[int, int], end: tuple[int, int], steps: int = 10, kind: str = "slerp"
) -> Walk:
    """Walk from one (class, seed) to another and draw every step.

    Args:
        generator: a Keras model G([z, label]) with a layer named `label_embedding`.
        start, end: (class index, seed); the seed gives z.
        steps: frames, both ends included.
        kind: `slerp` or `lerp`: z and the label's embedding move together. `label`: z of the start stays, the label
            moves. `paper`: z_k = [k, 0, …, 0] for k = 1 … steps, label of the start (paper, text example of §4).

    Returns:
        Walk with frames (steps, h, w) float32 in SUV.

    Raises:
        EvaluationError: an unknown kind, fewer than two steps, or a class that the generator does not know.
    """
    from radiogan_lib.gan.networks import embedding_generator

    if kind not in KINDS:
        raise EvaluationError(f"there is no walk {kind!r}; choose one of {', '.join(KINDS)}.")
    if steps < 2:
        raise EvaluationError(f"a walk of {steps} steps goes nowhere; give at least 2.")
    table = np.asarray(generator.get_layer("label_embedding").get_weights()[0], np.float32)
    start, end = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
    for c in (start[0], end[0]):
        if not 0 <= c < len(table):
            raise EvaluationError(
                f"the generator knows classes 0 to {len(table) - 1}; there is no class {c}."
            )
    noise_dim = generator.inputs[0].shape[-1]
    z, e, weights = path(kind, start, end, steps, noise_dim, table)
    return Walk(draw(generator, embedding_generator(generator), z, e), kind, start, end, weights)


def draw(
    generator, from_embedding, z: np.ndarray, e: np.ndarray, batch_size: int = 64
) -> np.ndarray:
    """Images (n, h, w) in SUV at points z (n, noise_dim), e (n, embedding_dim)."""
    from keras import ops

    grey = [
        ops.convert_to_numpy(
            from_embedding(
                [
                    z[i : i + batch_size].astype(np.float32),
                    e[i : i + batch_size].astype(np.float32),
                ],
                training=False,
            )
        )
        for i in range(0, len(z), batch_size)
    ]
    grey = np.concatenate(grey)
    last = generator.layers[-1]
    return np.asarray(last.to_suv(grey) if hasattr(last, "to_suv") else grey[..., 0], np.float32)


def shape_of(frames: np.ndarray) -> dict:
    """Chord ratio, off-chord and largest step of a path (steps, d): a cross-fade, a morph or a jump?

    - chord_ratio Σ‖Δ‖ / ‖x_K − x_1‖: 1 for a cross-fade, more for a path that goes its own way;
    - off_chord: largest distance of a frame from the straight line, in chords: 0 for a cross-fade;
    - largest_step: largest ‖Δ‖ / Σ‖Δ‖: 1 / (K − 1) for an even walk, 1 for a jump.
    """
    steps = np.linalg.norm(np.diff(frames, axis=0), axis=1).astype(float)
    chord = float(np.linalg.norm(frames[-1] - frames[0]))
    residual, _ = segment_residual(frames, frames[:1], frames[-1:])
    moved = max(float(steps.sum()), 1e-12)
    return {
        "chord_ratio": moved / chord if chord > 1e-6 * moved else None,
        "off_chord": float(residual.max()) / chord if chord > 1e-6 * moved else None,
        "largest_step": float(steps.max()) / moved,
        "even_step": 1 / max(len(steps), 1),
        "chord": chord,
    }
