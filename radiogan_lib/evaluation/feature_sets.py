"""Two sets of feature vectors side by side: how far apart (KID), what is reached (coverage), how varied (Vendi).

In any feature space; quality.py takes them in two. Explained in notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.intervals import cluster_order, mean_variance, number

MAX_KERNEL = 2500  # rows of a Gram matrix; larger sets are subsampled


def kid(
    x: np.ndarray,
    y: np.ndarray,
    y_weights=None,
    rounds: int = 200,
    seed: int = 0,
    x_groups=None,
    y_groups=None,
) -> dict:
    """Kernel inception distance (Bińkowski et al., ICLR 2018): unbiased MMD² with kernel (x·y / d + 1)³.

    The unbiased estimate leaves pairs of an exam with itself out. With groups it also leaves out pairs of one patient, which
    are as little evidence of how alike two exams are: exams given twice change neither the value nor the interval.

    Args:
        x, y: features (n, d), (m, d), already scaled. y_weights: (m,) to match the class mix of x.
        x_groups, y_groups: (n,), (m,) patients, optional.

    Returns:
        value; interval from the first-order (influence) variance plus the variance under the null; one-sided
        permutation p of "x and y are the same".
    """
    rng = np.random.default_rng(seed)
    y_weights = np.ones(len(y)) if y_weights is None or len(y_weights) != len(y) else y_weights
    keep = [
        np.arange(len(s)) if len(s) <= MAX_KERNEL else rng.choice(len(s), MAX_KERNEL, replace=False)
        for s in (x, y)
    ]
    x, y, y_weights = x[keep[0]], y[keep[1]], y_weights[keep[1]]
    grouped = x_groups is not None or y_groups is not None
    gx, gy = (
        np.arange(len(k))
        if g is None
        else np.unique(np.asarray(g)[k], return_inverse=True)[1].ravel()
        for g, k in zip((x_groups, y_groups), keep, strict=True)
    )
    group, z = np.concatenate([gx, gx.max() + 1 + gy]), np.concatenate([x, y])
    gram = (z @ z.T / z.shape[1] + 1) ** 3
    if grouped:
        gram[group[:, None] == group] = 0
    else:
        np.fill_diagonal(gram, 0)
    n = len(x)
    mass = np.concatenate([np.full(n, 1.0), y_weights])
    in_group = sparse.csr_array((np.ones(len(z)), (np.arange(len(z)), group)))

    def mmd2(first: np.ndarray) -> np.ndarray:
        """For masks first (rounds, n + m): MMD² between the masked points and the rest."""
        a, b = first * mass, ~first * mass
        a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
        ka, kb = a @ gram, b @ gram
        own = [((v @ in_group) ** 2).sum(1) for v in (a, b)]
        within = (a * ka).sum(1) / (1 - own[0]) + (b * kb).sum(1) / (1 - own[1])
        return within - 2 * (a * kb).sum(1)

    truth = np.arange(len(z)) < n
    value = mmd2(truth[None])[0]
    null = mmd2(
        np.stack(
            [
                truth[np.argsort(cluster_order(0, group, rng))]
                if grouped
                else rng.permutation(truth)
                for _ in range(rounds)
            ]
        )
    )
    a, b = truth * mass / n, ~truth * mass / mass[n:].sum()
    influence = gram @ a - gram @ b
    variance = (
        4 * mean_variance(influence[:n], None, x_groups if x_groups is None else gx)
        + 4 * mean_variance(influence[n:], mass[n:], y_groups if y_groups is None else gy)
        + null.var()
    )
    half = 1.96 * np.sqrt(variance)
    return number(
        value,
        value - half,
        value + half,
        p=(1 + (null >= value).sum()) / (rounds + 1),
        null_sd=null.std(),
    )


def coverage_density(
    real: np.ndarray, generated: np.ndarray, k: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Per real exam: is a generated one within its k-th real neighbour's distance, and how many ÷ k?

    Coverage and density of Naeem et al. (ICML 2020) are the means of the two. Coverage is the share of real exams
    that the generator can reach; density above 1 means a crowd in the middle.
    """
    k = min(k, len(real) - 1)
    radius = distances.nearest_k(real, real, k, exclude_self=True)[0][:, -1]
    hits = np.zeros(len(real))
    for rows in distances.blocks(len(real), len(generated) * 8):
        hits[rows] = (distances.squared(real[rows], generated) < radius[rows, None] ** 2).sum(
            axis=1
        )
    return hits > 0, hits * len(real) / (max(k, 1) * len(generated))


def vendi(features: np.ndarray, bandwidth: float) -> float:
    """Effective number of different images: exp of the entropy of the kernel's eigenvalues (Friedman & Dieng 2023).

    Kernel exp(−d² / 2h²). 1 when all images are equal, n when none resembles another.
    """
    gram = np.exp(-distances.squared(features, features).astype(np.float64) / (2 * bandwidth**2))
    values = np.linalg.eigvalsh(gram / len(gram))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def vendi_ratio(
    real: np.ndarray,
    generated: np.ndarray,
    most: int = 300,
    draws: int = 10,
    seed: int = 0,
    groups=None,
) -> dict:
    """Vendi score of generated ÷ that of real exams at equal n: 1 is as varied as real, near 0 collapsed.

    Means over subsamples of at most `most` exams and at most 80 % of the smaller set; the interval is the
    delete-d jackknife's (Shao & Wu 1989), which leaves whole patients out where `groups` of the real exams are given.
    """
    rng = np.random.default_rng(seed)
    n = min(len(real), len(generated))
    m = max(2, min(most, int(0.8 * n)))
    bandwidth = 0.5 * float(np.sqrt(np.median(distances.squared(real[:1000], real[:1000]))))

    def ratios(patients=None) -> list[float]:
        found = []
        for _ in range(draws):
            q = rng.choice(len(generated), m, replace=False)
            t = (
                rng.choice(len(real), m, replace=False)
                if patients is None
                else cluster_order(0, patients, rng)[:m]
            )
            found.append(vendi(generated[q], bandwidth) / vendi(real[t], bandwidth))
        return found

    exams = ratios()
    spread = np.std(exams if groups is None else ratios(groups), ddof=1) * (
        np.sqrt(m / (n - m)) if n - m < m else 1.0
    )
    mean = float(np.mean(exams))
    return number(mean, max(0.0, mean - 1.96 * spread), mean + 1.96 * spread, n=m)
