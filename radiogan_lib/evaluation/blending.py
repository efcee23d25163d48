"""Is a generated exam a simple blend of two training exams?

The paper says that its images "are no simple blend" of training exams and shows one from a memorising GAN (Fig. 4).
A blend of two exams lies on the straight segment between them, in linear intensity and nowhere else, so the test
is a distance: how far is an image from the nearest segment between two training exams, and how far are held-out real
exams, which are certainly no blends? Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.intervals import (
    matching_weights,
    number,
    resample,
    weighted_quantile,
    wilson,
)


def segment_residual(q: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each q to the segment from a to b, and the share of b at the foot point. Row by row, float64."""
    q, a, b = (np.asarray(v, np.float64) for v in (q, a, b))
    u = b - a
    along = ((q - a) * u).sum(-1) / np.maximum((u**2).sum(-1), 1e-30)
    along = np.clip(along, 0, 1)
    return np.linalg.norm(q - a - along[..., None] * u, axis=-1), along


def best_pair(
    features: np.ndarray, bank: np.ndarray, first: int = 128, between: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The two bank rows whose segment comes nearest to each row of features.

    ρ₂(q) = min over i, j and 0 ≤ α ≤ 1 of ‖q − (1 − α) tᵢ − α tⱼ‖. One end of the pair is searched among the
    `first` nearest bank rows, the other among all: a blend lies at most half the pair's distance from its nearer end,
    so the nearer end is among the nearest rows (against all pairs, tests/test_memorization.py finds every blend, and at most
    a few per cent of difference for exams that are none). Needs only distances: with d² between all points, (q − tᵢ)·(tⱼ − tᵢ) = (d²(q,i) + d²(i,j) − d²(q,j)) / 2.

    Args:
        features: (n, d) pooled linear intensity. bank: (m, d), m ≥ 2.
        between: (m, m) squared distances of the bank's rows, where they are known.

    Returns:
        dict of arrays (n,): residual, single (distance to the nearest row), i, j (i the nearer end), alpha (share of j).
    """
    n, m = len(features), len(bank)
    first = min(first, m)
    bank_d2 = distances.squared(bank, bank) if between is None else between
    out = {
        "residual": np.empty(n, np.float32),
        "single": np.empty(n, np.float32),
        "alpha": np.empty(n, np.float32),
        "i": np.empty(n, np.int64),
        "j": np.empty(n, np.int64),
    }
    for rows in distances.blocks(n, first * m * 12 + m * 8):
        q = features[rows]
        d2 = distances.squared(q, bank)  # (block, m)
        near = (
            np.argpartition(d2, first - 1, axis=1)[:, :first]
            if first < m
            else np.tile(np.arange(m), (len(q), 1))
        )
        d2_i = np.take_along_axis(d2, near, axis=1)  # (block, first)
        d2_ij = bank_d2[near]  # (block, first, m)
        dot = (d2_i[:, :, None] + d2_ij - d2[:, None, :]) / 2
        alpha = np.clip(dot / np.maximum(d2_ij, 1e-12), 0, 1)
        r2 = d2_i[:, :, None] - 2 * alpha * dot + alpha**2 * d2_ij
        best = r2.reshape(len(q), -1).argmin(axis=1)
        pick = np.arange(len(q))
        i, j = near[pick, best // m], best % m
        residual, share = segment_residual(q, bank[i], bank[j])
        swap = share > 0.5
        out["residual"][rows], out["alpha"][rows] = residual, np.where(swap, 1 - share, share)
        out["i"][rows], out["j"][rows] = np.where(swap, j, i), np.where(swap, i, j)
        nearest = d2.argmin(axis=1)
        out["single"][rows] = np.linalg.norm(q - bank[nearest], axis=1)
    return out


def blend_score(pairs: dict[str, np.ndarray], scale: float) -> np.ndarray:
    """ρ₂(q) / d(q, T): the share of the distance to the nearest exam that a second exam cannot explain.

    Near 0 for a blend. A blurred image is near every exam and every blend alike, which the ratio cancels. Where the
    nearest exam itself is a copy (within 1 % of `scale`, the held-out exams' median distance) there is nothing left to
    explain, and the score is 1: copies have their own test.
    """
    copy = pairs["single"] <= 0.01 * scale
    return np.where(copy, 1.0, pairs["residual"] / np.maximum(pairs["single"], 1e-12)).astype(
        np.float32
    )


def blend_report(
    train: np.ndarray,
    holdout: np.ndarray,
    generated: np.ndarray,
    holdout_labels=None,
    generated_labels=None,
    holdout_groups=None,
    rounds: int = 200,
    seed: int = 0,
) -> dict:
    """Blend measures with intervals. All arguments are pooled features (n, d).

    Returns:
        dict with `pair_residual_ratio` (median ρ₂ of generated ÷ held-out: 1 = like fresh real exams, 0 = blends),
        `blend_fraction` (share of generated exams with a blend score below the held-out exams' 5 % quantile; 5 %
        expected) and `examples`: the generated exams that are most like a blend.
    """
    rng = np.random.default_rng(seed)
    q, p = best_pair(generated, train), best_pair(holdout, train)
    weights = (
        matching_weights(holdout_labels, generated_labels)
        if holdout_labels is not None and generated_labels is not None
        else np.ones(len(holdout))
    )

    def ratio(qi, pi):
        return weighted_quantile(q["residual"][qi], 0.5) / max(
            weighted_quantile(p["residual"][pi], 0.5, weights[pi]), 1e-12
        )

    every = (np.arange(len(generated)), np.arange(len(holdout)))
    draws = [
        ratio(
            rng.integers(0, len(generated), len(generated)),
            resample(len(holdout), rng, holdout_groups),
        )
        for _ in range(rounds)
    ]
    scale = float(np.median(p["single"]))
    score_q, score_p = blend_score(q, scale), blend_score(p, scale)
    threshold = weighted_quantile(score_p, 0.05, weights)
    hits = int((score_q <= threshold).sum())
    order = np.argsort(score_q, kind="stable")[:8]
    return {
        "pair_residual_ratio": number(ratio(*every), *np.quantile(draws, [0.025, 0.975])),
        "blend_fraction": number(
            hits / len(score_q), *wilson(hits, len(score_q)), expected=0.05, threshold=threshold
        ),
        "blend_score_median": number(np.median(score_q), holdout=float(np.median(score_p))),
        "examples": [
            {
                "generated": int(k),
                "first": int(q["i"][k]),
                "second": int(q["j"][k]),
                "share_of_second": float(q["alpha"][k]),
                "score": float(score_q[k]),
            }
            for k in order
        ],
    }
