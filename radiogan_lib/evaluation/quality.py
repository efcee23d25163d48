"""Do generated exams look like real ones, and are they as varied? Overall and per class, in two feature spaces.

`pixels` is pooled linear intensity, which no network has seen; `judge` is the last hidden layer of a classifier trained
on real exams. No single extractor is trusted alone: where the two disagree, the report says both. None of these
measures sees copying (a copier scores perfectly): read them beside memorization.py.
Explained in notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.feature_sets import coverage_density, kid, vendi_ratio
from radiogan_lib.evaluation.features import PCA, check_groups, check_sets, common, spectrum
from radiogan_lib.evaluation.intervals import (
    matching_weights,
    mean_variance,
    number,
    resample,
    share,
)


def _scaled(*sets: np.ndarray) -> list[np.ndarray]:
    """Centre and scale every set by the first one's mean and overall spread, so that ‖x‖² / d is about 1."""
    mean, spread = sets[0].mean(axis=0), max(float(sets[0].std(axis=0).mean()), 1e-6)
    return [((s - mean) / spread).astype(np.float64) for s in sets]


def sharpness(
    holdout: np.ndarray,
    generated: np.ndarray,
    weights=None,
    holdout_groups=None,
    generated_groups=None,
) -> dict:
    """Amplitude of fine detail, generated ÷ held-out: the upper half of spatial frequencies, geometric mean.

    Below 1: blurred. Above 1: noisier or checkered. The interval (normal, log scale) treats exams as independent, or
    patients where their groups are given.
    """
    q, p = spectrum(generated), spectrum(holdout)
    fine = slice(q.shape[1] // 2, None)
    a, b = q[:, fine].mean(axis=1) / 2, p[:, fine].mean(axis=1) / 2  # log amplitude
    value = a.mean() - np.average(b, weights=weights)
    half = 1.96 * np.sqrt(
        mean_variance(a, None, generated_groups) + mean_variance(b, weights, holdout_groups)
    )
    return number(np.exp(value), np.exp(value - half), np.exp(value + half))


def two_sample_auc(real: np.ndarray, generated: np.ndarray, seed: int = 0, groups=None) -> dict:
    """Cross-validated AUC of a logistic regression that tells generated from real (Lopez-Paz & Oquab, ICLR 2017).

    0.5: cannot be told apart; 1: every image gives itself away. Features: 64 principal components and the spectrum. With
    `groups` (patients of the real exams) no patient is both learned from and asked about.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = np.concatenate([real, generated]), np.repeat([0, 1], [len(real), len(generated)])
    if min(len(real), len(generated)) < 10:
        return number(None)
    if groups is None:
        splits = StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y)
    else:
        own = np.concatenate([groups, groups.max() + 1 + np.arange(len(generated))])
        splits = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(x, y, own)
    folds = []
    for fit, held in splits:
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


def _space(t, p, q, weights, t_groups, groups, rounds: int, seed: int) -> dict:
    """All quality numbers of one feature space; T and Q are of equal size, groups are those of P."""
    ts, ps, qs = _scaled(t, p, q)
    if weights is None:
        weights = np.ones(len(p))
    covered_q, dense_q = coverage_density(p, q)
    covered_t, dense_t = coverage_density(p, t)
    rng = np.random.default_rng(seed)
    picks = [resample(len(p), rng, groups) for _ in range(rounds)]
    ratios = [
        (covered_q * weights)[k].mean() / max((covered_t * weights)[k].mean(), 1e-9) for k in picks
    ]
    cover, real_cover = (
        share(covered_q, weights, groups),
        float(np.average(covered_t, weights=weights)),
    )
    return {
        "kid": kid(qs, ps, weights, rounds, seed, None, groups),
        "kid_floor": kid(ts, ps, weights, rounds, seed, t_groups, groups),
        "coverage": number(*cover, real=real_cover),
        "coverage_ratio": number(
            cover[0] / max(real_cover, 1e-9), *np.quantile(ratios, [0.025, 0.975])
        ),
        "density": number(
            np.average(dense_q, weights=weights), real=float(np.average(dense_t, weights=weights))
        ),
        "vendi_ratio": vendi_ratio(t, q, seed=seed, groups=t_groups),
    }


@distances.one_thread
def quality_report(
    train,
    holdout,
    generated,
    train_labels=None,
    holdout_labels=None,
    generated_labels=None,
    train_groups=None,
    holdout_groups=None,
    judge=None,
    rounds: int = 200,
    seed: int = 0,
) -> dict:
    """Quality and diversity with intervals, overall and per class.

    Args:
        train, holdout, generated: (n, h, w) linear SUV.
        train_labels, …: int (n,), optional; with them comparisons match class mixes, and classes are reported.
        train_groups, holdout_groups: (n,) patients, optional: intervals and permutations then take a patient's exams together,
            since they are no independent evidence. Generated exams are independent draws.
        judge: a `classifier.Judge` trained on real exams; adds its feature space.

    Returns:
        {"fine_detail", "two_sample_auc", "pixels": {…}, "judge": {…} or absent, "classes": {index: {space: {…}}}}.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    images, (t_y, p_y, q_y) = check_sets(
        train, holdout, generated, train_labels, holdout_labels, generated_labels
    )
    t_groups = check_groups(train_groups, len(images[0]), "training")
    groups = check_groups(holdout_groups, len(images[1]), "held-out")
    spaces = {"pixels": common(*images)}
    if judge is not None:
        spaces["judge"] = tuple(judge.features(x) for x in images)
    weights = None if q_y is None else matching_weights(p_y, q_y)
    ti, qi = _matched(t_y, q_y, len(images[0]), len(images[2]), np.random.default_rng(seed))
    t, p, q = spaces["pixels"]
    told = PCA(t)
    same_size = images[0].shape[1:] == images[1].shape[1:] == images[2].shape[1:]
    seen = [
        np.concatenate([told(x), *([spectrum(y)] if same_size else [])], axis=1)
        for x, y in ((t[ti], images[0][ti]), (q[qi], images[2][qi]))
    ]
    t_own = None if t_groups is None else t_groups[ti]
    report = {
        "fine_detail": sharpness(images[1], images[2], weights, groups)
        if same_size
        else number(None),
        "fine_detail_floor": sharpness(images[1], images[0][ti], weights, groups, t_own)
        if same_size
        else number(None),
        "two_sample_auc": two_sample_auc(*seen, seed=seed, groups=t_own),
    }
    for name, (t, p, q) in spaces.items():
        report[name] = _space(t[ti], p, q[qi], weights, t_own, groups, rounds, seed)
    if q_y is not None:
        report["classes"] = {}
        for c in np.unique(q_y):
            picks = [np.flatnonzero(y == c) for y in (t_y[ti], p_y, q_y[qi])]
            if min(len(i) for i in picks) >= 10:
                own = [
                    None if g is None else g[k]
                    for g, k in zip((t_own, groups), picks[:2], strict=True)
                ]
                report["classes"][int(c)] = {
                    name: _space(
                        t[ti][picks[0]], p[picks[1]], q[qi][picks[2]], None, *own, rounds, seed
                    )
                    for name, (t, p, q) in spaces.items()
                }
    return report
