"""Measures from the literature that decide nothing here: C_T, the FLD gap and the nearest ratio.

They are reported so that a result can be compared with others'; blur, a small n or the feature space sets each of them off
as well (benchmarks/controls.md). Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.features import PCA
from radiogan_lib.evaluation.intervals import number, resample


def nearest_ratio(dq, dp, rounds: int, rng, holdout_groups=None) -> dict:
    """Median d(Q, T) ÷ median d(P, T): 1 for fresh exams, 0 for copies; also below 1 for blur, so never decisive."""
    draws = [
        np.median(rng.choice(dq, len(dq)))
        / max(np.median(dp[resample(len(dp), rng, holdout_groups)]), 1e-12)
        for _ in range(rounds)
    ]
    return number(np.median(dq) / max(np.median(dp), 1e-12), *np.quantile(draws, [0.025, 0.975]))


def data_copying(train, holdout, generated, dq, dp, seed: int = 0, cell: int = 20) -> dict:
    """C_T of Meehan, Chaudhuri and Dasgupta (AISTATS 2020): Mann–Whitney Z of d(Q, T) against d(P, T), cell by cell.

    Far below 0: generated exams are nearer to T than real strangers are. Averages over cells with at least `cell`
    held-out and generated exams, weighted by held-out exams. A blurred generator can trigger it: secondary.
    """
    from sklearn.cluster import KMeans

    pca = PCA(train, 16)  # cells only; the distances stay in the data-independent space
    n_cells = max(1, min(8, len(holdout) // (2 * cell)))
    means = KMeans(n_cells, n_init=4, random_state=seed).fit(pca(train))
    cell_q, cell_p = means.predict(pca(generated)), means.predict(pca(holdout))
    total = weight = 0.0
    for c in range(n_cells):
        q, p = dq[cell_q == c], dp[cell_p == c]
        if len(p) < cell or len(q) < cell:
            continue
        u = stats.mannwhitneyu(q, p).statistic
        z = (u - len(q) * len(p) / 2) / np.sqrt(len(q) * len(p) * (len(q) + len(p) + 1) / 12)
        total, weight = total + len(p) * z, weight + len(p)
    return number(total / weight if weight else None, cells=int(n_cells), holdout_used=int(weight))


def fld_gap(train, holdout, generated, steps: int = 30) -> dict:
    """Generalisation gap of the feature likelihood divergence (Jiralerspong et al., NeurIPS 2023), in 64 components.

    Q becomes a mixture of Gaussians, one per image, whose widths are fitted on T by expectation-maximisation; the gap
    is 100·(NLL(T) − NLL(P)) / d. Negative: the mixture fits T better, as it does when images sit on training
    exams. Its value for fresh exams is not 0 (widths are fitted on T): compare with the controls. Secondary.
    """
    pca = PCA(train)
    t, p, q = (pca(x).astype(np.float64) for x in (train, holdout, generated))
    scale = t.std()
    t, p, q = t / scale, p / scale, q / scale
    d = t.shape[1]
    d2 = distances.squared(t.astype(np.float32), q.astype(np.float32)).astype(np.float64)
    var = np.full(len(q), np.median(d2.min(axis=1)) / d)

    def loglik(d2):
        joint = -0.5 * d2 / var - 0.5 * d * np.log(2 * np.pi * var) - np.log(len(q))
        peak = joint.max(axis=1, keepdims=True)
        return joint, peak[:, 0] + np.log(np.exp(joint - peak).sum(axis=1))

    for _ in range(steps):
        joint, total = loglik(d2)
        r = np.exp(joint - total[:, None])  # (train, generated) responsibilities
        mass = r.sum(axis=0)
        var = np.where(mass > 1e-3, (r * d2).sum(axis=0) / np.maximum(mass, 1e-3) / d, var)
        var = np.maximum(var, 1e-3)
    nll_t = -loglik(d2)[1]
    nll_p = -loglik(
        distances.squared(p.astype(np.float32), q.astype(np.float32)).astype(np.float64)
    )[1]
    half = 1.96 * 100 / d * np.sqrt(nll_t.var() / len(t) + nll_p.var() / len(p))
    gap = 100 * (nll_t.mean() - nll_p.mean()) / d
    return number(gap, gap - half, gap + half)
