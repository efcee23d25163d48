"""Do generated exams look like real ones, and are they as varied? Overall and per class, in two feature spaces.

`pixels` is pooled linear intensity, which no network has seen; `judge` is the last hidden layer of a classifier trained
on real exams. No single extractor is trusted alone: where the two disagree, the report says both. None of these
measures sees copying (a copier scores perfectly): read them beside memorization.py.
Explained in notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.features import PCA, check_groups, check_sets, common, spectrum
from radiogan_lib.evaluation.intervals import matching_weights, number, resample, wilson

MAX_KERNEL = 2500  # rows of a Gram matrix; larger sets are subsampled


def _scaled(*sets: np.ndarray) -> list[np.ndarray]:
    """Centre and scale every set by the first one's mean and overall spread, so that ‖x‖² / d is about 1."""
    mean, spread = sets[0].mean(axis=0), max(float(sets[0].std(axis=0).mean()), 1e-6)
    return [((s - mean) / spread).astype(np.float64) for s in sets]


def kid(x: np.ndarray, y: np.ndarray, y_weights=None, rounds: int = 200, seed: int = 0) -> dict:
    """Kernel inception distance (Bińkowski et al., ICLR 2018): unbiased MMD² with kernel (x·y / d + 1)³.

    Args:
        x, y: features (n, d), (m, d), already scaled. y_weights: (m,) to match the class mix of x.

    Returns:
        value; interval from the first-order (influence) variance plus the variance under the null; one-sided
        permutation p of "x and y are the same".
    """
    rng = np.random.default_rng(seed)
    x, y = (s if len(s) <= MAX_KERNEL else s[rng.choice(len(s), MAX_KERNEL, replace=False)] for s in (x, y))
    if y_weights is None or len(y_weights) != len(y):
        y_weights = np.ones(len(y))
    z = np.concatenate([x, y])
    gram = (z @ z.T / z.shape[1] + 1) ** 3
    np.fill_diagonal(gram, 0)  # the unbiased estimate leaves self-pairs out
    n = len(x)
    mass = np.concatenate([np.full(n, 1.0), y_weights])

    def mmd2(first: np.ndarray) -> np.ndarray:
        """For masks first (rounds, n + m): MMD² between the masked points and the rest."""
        a, b = first * mass, ~first * mass
        a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
        ka, kb = a @ gram, b @ gram
        within = (a * ka).sum(1) / (1 - (a**2).sum(1)) + (b * kb).sum(1) / (1 - (b**2).sum(1))
        return within - 2 * (a * kb).sum(1)

    truth = np.arange(len(z)) < n
    value = mmd2(truth[None])[0]
    null = mmd2(np.stack([rng.permutation(truth) for _ in range(rounds)]))
    a, b = truth * mass / n, ~truth * mass / mass[n:].sum()
    toward_a, toward_b = gram @ a, gram @ b
    influence = toward_a - toward_b
    variance = 4 * influence[:n].var() / n + 4 * np.average((influence[n:] - np.average(influence[n:], weights=mass[n:])) ** 2,
                                                            weights=mass[n:]) / len(y) + null.var()
    half = 1.96 * np.sqrt(variance)
    return number(value, value - half, value + half, p=(1 + (null >= value).sum()) / (rounds + 1), null_sd=null.std())


def coverage_density(real: np.ndarray, generated: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Per real exam: is a generated one within its k-th real neighbour's distance, and how many ÷ k?

    Coverage and density of Naeem et al. (ICML 2020) are the means of the two. Coverage is the share of real exams
    that the generator can reach; density above 1 means a crowd in the middle.
    """
    k = min(k, len(real) - 1)
    radius = distances.nearest_k(real, real, k, exclude_self=True)[0][:, -1]
    hits = np.zeros(len(real))
    for rows in distances.blocks(len(real), len(generated) * 8):
        hits[rows] = (distances.squared(real[rows], generated) < radius[rows, None] ** 2).sum(axis=1)
    return hits > 0, hits * len(real) / (max(k, 1) * len(generated))


def vendi(features: np.ndarray, bandwidth: float) -> float:
    """Effective number of different images: exp of the entropy of the kernel's eigenvalues (Friedman & Dieng 2023).

    Kernel exp(−d² / 2h²). 1 when all images are equal, n when none resembles another.
    """
    gram = np.exp(-distances.squared(features, features).astype(np.float64) / (2 * bandwidth**2))
    values = np.linalg.eigvalsh(gram / len(gram))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def vendi_ratio(real: np.ndarray, generated: np.ndarray, most: int = 300, draws: int = 10, seed: int = 0) -> dict:
    """Vendi score of generated ÷ that of real exams at equal n: 1 is as varied as real, near 0 collapsed.

    Means over subsamples of at most `most` exams and at most 80 % of the smaller set; the interval is the
    delete-d jackknife's (Shao & Wu 1989).
    """
    rng = np.random.default_rng(seed)
    n = min(len(real), len(generated))
    m = max(2, min(most, int(0.8 * n)))
    bandwidth = 0.5 * float(np.sqrt(np.median(distances.squared(real[:1000], real[:1000]))))
    ratios = [vendi(generated[rng.choice(len(generated), m, replace=False)], bandwidth)
              / vendi(real[rng.choice(len(real), m, replace=False)], bandwidth) for _ in range(draws)]
    spread = np.std(ratios, ddof=1) * (np.sqrt(m / (n - m)) if n - m < m else 1.0)
    mean = float(np.mean(ratios))
    return number(mean, max(0.0, mean - 1.96 * spread), mean + 1.96 * spread, n=m)


def sharpness(holdout: np.ndarray, generated: np.ndarray, weights=None) -> dict:
    """Amplitude of fine detail, generated ÷ held-out: the upper half of spatial frequencies, geometric mean.

    Below 1: blurred. Above 1: noisier or checkered. The interval treats exams as independent (normal, log scale).
    """
    q, p = spectrum(generated), spectrum(holdout)
    fine = slice(q.shape[1] // 2, None)
    a, b = q[:, fine].mean(axis=1) / 2, p[:, fine].mean(axis=1) / 2  # log amplitude
    weights = np.ones(len(b)) if weights is None else weights
    mean_b = np.average(b, weights=weights)
    value = a.mean() - mean_b
    half = 1.96 * np.sqrt(a.var() / len(a) + np.average((b - mean_b) ** 2, weights=weights) / len(b))
    return number(np.exp(value), np.exp(value - half), np.exp(value + half))


def two_sample_auc(real: np.ndarray, generated: np.ndarray, seed: int = 0) -> dict:
    """Cross-validated AUC of a logistic regression that tells generated from real (Lopez-Paz & Oquab, ICLR 2017).

    0.5: cannot be told apart; 1: every image gives itself away. Features: 64 principal components and the spectrum.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = np.concatenate([real, generated]), np.repeat([0, 1], [len(real), len(generated)])
    if min(len(real), len(generated)) < 10:
        return number(None)
    folds = []
    for fit, held in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.1))
        folds.append(roc_auc_score(y[held], model.fit(x[fit], y[fit]).decision_function(x[held])))
    half = 1.96 * np.std(folds, ddof=1) / np.sqrt(len(folds))
    return number(np.mean(folds), np.mean(folds) - half, min(1, np.mean(folds) + half))


def _matched(labels_t, labels_q, n_t: int, n_q: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Random indices into T and Q, equally many per class, so that real and generated are compared at equal n."""
    if labels_t is None or labels_q is None:
        n = min(n_t, n_q)
        return rng.permutation(n_t)[:n], rng.permutation(n_q)[:n]
    ti, qi = [], []
    for c in np.unique(labels_q):
        a, b = np.flatnonzero(labels_t == c), np.flatnonzero(labels_q == c)
        n = min(len(a), len(b))
        ti.append(rng.permutation(a)[:n])
        qi.append(rng.permutation(b)[:n])
    return np.concatenate(ti), np.concatenate(qi)


def _space(t, p, q, weights, groups, rounds: int, seed: int) -> dict:
    """All quality numbers of one feature space; T and Q are of equal size."""
    ts, ps, qs = _scaled(t, p, q)
    if weights is None:
        weights = np.ones(len(p))
    covered_q, dense_q = coverage_density(p, q)
    covered_t, dense_t = coverage_density(p, t)
    rng = np.random.default_rng(seed)
    picks = [resample(len(p), rng, groups) for _ in range(rounds)]
    ratios = [(covered_q * weights)[k].mean() / max((covered_t * weights)[k].mean(), 1e-9) for k in picks]
    cover = [float(np.average(c, weights=weights)) for c in (covered_q, covered_t)]
    return {
        "kid": kid(qs, ps, weights, rounds, seed), "kid_floor": kid(ts, ps, weights, rounds, seed),
        "coverage": number(cover[0], *wilson(round(cover[0] * len(p)), len(p)), real=cover[1]),
        "coverage_ratio": number(cover[0] / max(cover[1], 1e-9), *np.quantile(ratios, [0.025, 0.975])),
        "density": number(np.average(dense_q, weights=weights), real=float(np.average(dense_t, weights=weights))),
        "vendi_ratio": vendi_ratio(t, q, seed=seed),
    }


@distances.one_thread
def quality_report(train, holdout, generated, train_labels=None, holdout_labels=None, generated_labels=None, holdout_groups=None,
                   judge=None, rounds: int = 200, seed: int = 0) -> dict:
    """Quality and diversity with intervals, overall and per class.

    Args:
        train, holdout, generated: (n, h, w) linear SUV.
        train_labels, …: int (n,), optional; with them comparisons match class mixes, and classes are reported.
        holdout_groups: (n,) patients, optional: the interval of the coverage ratio then resamples patients.
        judge: a `classifier.Judge` trained on real exams; adds its feature space.

    Returns:
        {"fine_detail", "two_sample_auc", "pixels": {…}, "judge": {…} or absent, "classes": {index: {space: {…}}}}.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    images, (t_y, p_y, q_y) = check_sets(train, holdout, generated, train_labels, holdout_labels, generated_labels)
    groups = check_groups(holdout_groups, len(images[1]), "held-out")
    spaces = {"pixels": common(*images)}
    if judge is not None:
        spaces["judge"] = tuple(judge.features(x) for x in images)
    weights = None if q_y is None else matching_weights(p_y, q_y)
    ti, qi = _matched(t_y, q_y, len(images[0]), len(images[2]), np.random.default_rng(seed))
    t, p, q = spaces["pixels"]
    told = PCA(t)
    same_size = images[0].shape[1:] == images[1].shape[1:] == images[2].shape[1:]
    seen = [np.concatenate([told(x), *([spectrum(y)] if same_size else [])], axis=1)
            for x, y in ((t[ti], images[0][ti]), (q[qi], images[2][qi]))]
    report = {"fine_detail": sharpness(images[1], images[2], weights) if same_size else number(None),
              "fine_detail_floor": sharpness(images[1], images[0][ti], weights) if same_size else number(None),
              "two_sample_auc": two_sample_auc(*seen, seed=seed)}
    for name, (t, p, q) in spaces.items():
        report[name] = _space(t[ti], p, q[qi], weights, groups, rounds, seed)
    if q_y is not None:
        report["classes"] = {}
        for c in np.unique(q_y):
            picks = [np.flatnonzero(y == c) for y in (t_y[ti], p_y, q_y[qi])]
            if min(len(i) for i in picks) >= 10:
                own = None if groups is None else groups[picks[1]]
                report["classes"][int(c)] = {name: _space(t[ti][picks[0]], p[picks[1]], q[qi][picks[2]], None, own, rounds, seed)
                                             for name, (t, p, q) in spaces.items()}
    return report
