"""Walks through the latent space, and the numbers that tell a cross-fade, a jump and a morph apart.

The paper shows its GAN by a walk from lung cancer to lymphoma (Fig. 5) and a memorising one by a
walk that passes a blend of two patients (Fig. 4). Explained in notebooks/06_walks.ipynb.
"""

from dataclasses import dataclass

import numpy as np

from radiogan_lib.evaluation.features import (
    EvaluationError,
    as_set,
    check_images,
    common_shape,
    fine_amplitude,
    nearest_k,
    one_thread,
    pooled,
    squared,
)
from radiogan_lib.evaluation.memorisation import best_pair, segment_residual
from radiogan_lib.evaluation.statistics import Measure

KINDS = ("slerp", "lerp", "label", "paper")


@dataclass(frozen=True)
class Walk:
    """One walk: `frames` (steps, h, w) SUV, ends as (class index, seed), `weights` (steps,)."""

    frames: np.ndarray
    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


def slerp(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spherical interpolation (steps, d): it turns the direction and blends the length.

    A straight line would cut through the empty inside of the sphere that Gaussian noise lies near
    (White, Sampling generative networks, 2016). Parallel vectors fall back to it.
    """
    weights = np.asarray(weights, float)[:, None]
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    cosine = np.clip(a @ b / max(norm_a * norm_b, 1e-12), -1, 1)
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-4:
        return (1 - weights) * a + weights * b
    turned = np.sin((1 - weights) * angle) * a / norm_a + np.sin(weights * angle) * b / norm_b
    direction = turned / np.sin(angle)
    return direction * ((1 - weights) * norm_a + weights * norm_b)


def noise(seed: int, noise_dim: int) -> np.ndarray:
    """The z of one seed: (noise_dim,) standard normal. Same seed, same z, on every machine."""
    return np.random.default_rng(seed).standard_normal(noise_dim)


def path(kind: str, start, end, steps: int, noise_dim: int, table: np.ndarray):
    """Points of the walk: z (steps, noise_dim), e (steps, embedding_dim), weights (steps,)."""
    if kind == "paper":
        weights = np.arange(1, steps + 1, dtype=float)
        z = np.zeros((steps, noise_dim))
        z[:, 0] = weights
        return z, np.tile(table[start[0]], (steps, 1)), weights
    weights = np.linspace(0, 1, steps)
    z_a, z_b = noise(start[1], noise_dim), noise(end[1], noise_dim)
    share = weights[:, None]
    if kind == "slerp":
        z = slerp(z_a, z_b, weights)
    elif kind == "lerp":
        z = (1 - share) * z_a + share * z_b
    else:
        z = np.tile(z_a, (steps, 1))
    return z, (1 - share) * table[start[0]] + share * table[end[0]], weights


def walk(
    generator, start: tuple[int, int], end: tuple[int, int], steps: int = 10, kind: str = "slerp"
) -> Walk:
    """Walk from one (class, seed) to another and draw every step.

    Args:
        generator: G([z, label]), made by this library.
        start, end: (class index, seed); the seed gives z. steps: frames, both ends included.
        kind: `slerp` or `lerp`: z and the label's embedding move together. `label`: only the label
            moves. `paper`: z_k = [k, 0, …, 0], k = 1 … steps, label of the start (paper, §4).

    Returns:
        Walk with frames (steps, h, w) float32 in SUV.

    Raises:
        EvaluationError: an unknown kind or class, or fewer than two steps.
    """
    from radiogan_lib.gan.networks import embedding_generator
    from radiogan_lib.gan.sampling import in_batches

    if kind not in KINDS:
        raise EvaluationError(f"there is no walk {kind!r}; choose one of {', '.join(KINDS)}.")
    if steps < 2:
        raise EvaluationError(f"a walk of {steps} steps goes nowhere; give at least 2.")
    table = np.asarray(generator.get_layer("label_embedding").get_weights()[0], np.float32)
    start, end = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
    for c in (start[0], end[0]):
        if not 0 <= c < len(table):
            known = f"the generator knows classes 0 to {len(table) - 1}"
            raise EvaluationError(f"{known}; there is no class {c}.")
    noise_dim = generator.inputs[0].shape[-1]
    z, e, weights = path(kind, start, end, steps, noise_dim, table)
    z, e, model = z.astype(np.float32), e.astype(np.float32), embedding_generator(generator)
    frames = in_batches(lambda i: model([z[i], e[i]], training=False), steps, 64, generator)
    return Walk(frames, kind, start, end, weights)


def shape_of(frames: np.ndarray) -> dict:
    """Chord ratio, off-chord and largest step of a path (steps, d): a fade, a morph or a jump?

    - chord_ratio Σ‖Δ‖ / ‖x_K − x_1‖: 1 for a cross-fade, more for a path that goes its own way;
    - off_chord: largest distance of a frame from the straight line, in chords: 0 for a cross-fade;
    - largest_step: largest ‖Δ‖ / Σ‖Δ‖: 1 / (K − 1) for an even walk, 1 for a jump.
    """
    steps = np.linalg.norm(np.diff(frames, axis=0), axis=1).astype(float)
    chord = float(np.linalg.norm(frames[-1] - frames[0]))
    residual, _ = segment_residual(frames, frames[:1], frames[-1:])
    moved = max(float(steps.sum()), 1e-12)
    closed = chord <= 1e-6 * moved
    return {
        "chord_ratio": None if closed else moved / chord,
        "off_chord": None if closed else float(residual.max()) / chord,
        "largest_step": float(steps.max()) / moved,
        "even_step": 1 / max(len(steps), 1),
        "chord": chord,
    }


def fine_detail(frames: np.ndarray) -> float:
    """Least fine detail in the middle half of a walk ÷ at its ends; frames (steps, h, w) SUV.

    Averaging two images averages their noise away: a cross-fade of two exams has about 0.7, a true
    morph of phantoms about 0.9 (docs/claims.md).
    """
    fine = fine_amplitude(frames)
    middle = fine[len(fine) // 4 : len(fine) - len(fine) // 4]
    return float(np.exp(middle.min() - (fine[0] + fine[-1]) / 2))


class WalkReference:
    """What the frames of walks are compared with; made once for many walks.

    Args:
        train, holdout: `ImageSet`s or (n, h, w) SUV.
        shape: of the frames, which may be of another size.
    """

    @one_thread()
    def __init__(self, train, holdout, shape: tuple[int, int]):
        t, p = as_set(train, "training").images, as_set(holdout, "held-out").images
        self.shape = common_shape(shape, t.shape[1:], p.shape[1:])
        self.train, self.holdout = pooled(t, self.shape), pooled(p, self.shape)
        self.between = squared(self.train, self.train)
        found = best_pair(self.holdout, self.train, between=self.between)
        self.residuals = found["residual"]
        self.residual, self.single = (
            max(float(np.median(found[k])), 1e-12) for k in ("residual", "single")
        )

    @one_thread()
    def measure(self, frames: np.ndarray) -> dict:
        """`walk_measures` of frames (steps, h, w)."""
        frames = check_images(frames, "walk")
        f = pooled(frames, self.shape)
        pairs = best_pair(f, self.train, between=self.between)
        d, near = nearest_k(f, self.train)
        ratio = pairs["residual"] / self.residual
        gain = pairs["residual"] / np.maximum(pairs["single"], 1e-12)
        copy = pairs["single"] <= 0.05 * self.single  # a copy is explained by one exam, not by two
        # The frame in red (as in Fig. 4) is the one that a blend of two training exams explains
        # best, the more so the more even their shares; copies and nearly one exam come last.
        balance = 4 * pairs["alpha"] * (1 - pairs["alpha"])  # 1 at half and half
        blend = (np.sqrt(ratio * gain) + 0.02) / np.maximum(balance, 1e-12)
        blend = np.where(copy | (balance < 0.2), np.inf, blend)
        k = int(np.argmin(blend)) if np.isfinite(blend).any() else int(np.argmin(ratio))
        found = [
            {"first": int(i), "second": int(j), "share_of_second": float(share)}
            for i, j, share in zip(pairs["i"], pairs["j"], pairs["alpha"], strict=True)
        ]
        frame = {
            "index": k,
            **found[k],
            "residual_ratio": float(ratio[k]),
            "explained_by_second": float(1 - gain[k]),
            "share_of_holdout_below": float((self.residuals <= pairs["residual"][k]).mean()),
        }
        return {
            **shape_of(f),
            "fine_detail": fine_detail(frames),
            "nearest": near[:, 0].tolist(),
            "nearest_distance": d[:, 0].astype(float).tolist(),
            "nearest_ratio": (d[:, 0] / self.single).astype(float).tolist(),
            "residual_ratio": ratio.astype(float).tolist(),
            "pair": found,
            "blend_frame": frame,
        }


def walk_measures(walk, train, holdout) -> dict:
    """The numbers printed under a walk: its shape, and residual and nearest exam of each frame.

    Args:
        walk: a `Walk` or frames (steps, h, w) SUV.
        train, holdout: `ImageSet`s or (n, h, w) SUV.

    Returns:
        the numbers of `shape_of`; `fine_detail`; per frame `nearest` (training exam),
        `nearest_distance`, `nearest_ratio` (÷ held-out exams' median), `residual_ratio` (distance
        to the nearest segment between two training exams ÷ held-out exams' median: near 0 for a
        blend or a copy, near 1 for a real exam), `pair` (those exams, share of the second); and
        `blend_frame`.
    """
    frames = check_images(walk.frames if isinstance(walk, Walk) else walk, "walk")
    return WalkReference(train, holdout, frames.shape[1:]).measure(frames)


def walk_table(
    generator, train, holdout, walks: int = 8, steps: int = 21, seed: int = 0, kinds=KINDS
) -> list[dict]:
    """Walks of every kind between random classes and seeds, and cross-fades of training exams.

    Returns:
        one dict per kind: walks, and median with quartiles of chord_ratio, off_chord, largest_step
        and fine_detail. The residual is no column: it does not tell a cross-fade of held-out exams
        from a true morph (docs/claims.md).
    """
    n_classes = len(generator.get_layer("label_embedding").get_weights()[0])
    images, rng = as_set(train, "training").images, np.random.default_rng(seed)
    names = "chord_ratio", "off_chord", "largest_step", "fine_detail"
    rows, references = [], {}
    for kind in (*kinds, "cross-fade"):
        found = []
        # the paper's axis has one path per class, whatever the seed
        several = min(walks, n_classes) if kind == "paper" else walks
        for k in range(several):
            a, b = (k, k) if kind == "paper" else rng.choice(n_classes, 2, replace=n_classes < 2)
            if kind == "cross-fade":
                i, j = rng.choice(len(images), 2, replace=False)
                share = np.linspace(0, 1, steps)[:, None, None]
                frames = (1 - share) * images[i] + share * images[j]
            else:
                ends = (a, int(rng.integers(2**31))), (b, int(rng.integers(2**31)))
                frames = walk(generator, *ends, steps, kind).frames
            shape = frames.shape[1:]
            if shape not in references:
                references[shape] = WalkReference(train, holdout, shape)
            found.append(references[shape].measure(frames))
        row = {"walk": kind, "walks": several}
        for name in names:
            known = [m[name] for m in found if m[name] is not None]
            row[name] = Measure(*(np.quantile(known, [0.5, 0.25, 0.75]) if known else [None]))
        rows.append(row)
    return rows
