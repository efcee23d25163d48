"""Do generated exams look like real ones, and are they as varied? Overall and per class.

In two feature spaces: `pixels` is pooled linear intensity, `classifier` the last hidden layer of a
classifier trained on real exams. No measure here notices copying: see memorisation.py.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radiogan_lib.evaluation.features import (
    ImageSet,
    blocks,
    check_sets,
    common,
    nearest_k,
    one_each,
    one_thread,
    spectrum,
    squared,
    subsample,
)
from radiogan_lib.evaluation.statistics import (
    Measure,
    bootstrap,
    matching_weights,
    mean_variance,
    wilson,
)

MOST = 5000  # images of each set; larger sets are subsampled
MAX_KERNEL = 2500  # rows of a Gram matrix; larger sets are subsampled


def _scaled(*sets: np.ndarray) -> list[np.ndarray]:
    """Centre and scale every set by the first one's mean and spread: ‖x‖² / d is about 1."""
    mean, spread = sets[0].mean(axis=0), max(float(sets[0].std(axis=0).mean()), 1e-6)
    return [((s - mean) / spread).astype(np.float64) for s in sets]


def kid(x: np.ndarray, y: np.ndarray, y_weights=None, rounds: int = 200, seed: int = 0) -> Measure:
    """Kernel inception distance: unbiased MMD² with kernel (x·y / d + 1)³ (Bińkowski et al., 2018).

    Args:
        x, y: scaled features (n, d), (m, d). y_weights: (m,) to match the class mix of x.

    Returns:
        value, normal interval (influence variance + null variance), one-sided permutation p.
    """
    rng = np.random.default_rng(seed)
    y_weights = np.ones(len(y)) if y_weights is None else y_weights
    keep = [rng.permutation(len(s))[:MAX_KERNEL] for s in (x, y)]
    n, z = len(keep[0]), np.concatenate([x[keep[0]], y[keep[1]]])
    mass = np.concatenate([np.ones(n), y_weights[keep[1]]])
    gram = z @ z.T  # in place from here on: 200 MB at most
    gram /= z.shape[1]
    gram += 1
    gram **= 3
    np.fill_diagonal(gram, 0)

    def mmd2(first: np.ndarray) -> np.ndarray:
        """For masks first (rounds, n + m): MMD² between the masked points and the rest."""
        a, b = first * mass, ~first * mass
        a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
        ka, kb = a @ gram, b @ gram
        within = [(v * kv).sum(1) / (1 - (v**2).sum(1)) for v, kv in ((a, ka), (b, kb))]
        return within[0] + within[1] - 2 * (a * kb).sum(1)

    truth = np.arange(len(z)) < n
    with np.errstate(invalid="ignore"):  # 0 / 0 where a side holds one image of any weight
        value = mmd2(truth[None])[0]
        null = mmd2(np.stack([rng.permutation(truth) for _ in range(rounds)]))
    null = null[np.isfinite(null)]
    null_variance = null.var() if len(null) else np.nan
    influence = gram @ (truth * mass / n) - gram @ (~truth * mass / mass[n:].sum())
    variance = mean_variance(influence[:n]) + mean_variance(influence[n:], mass[n:])
    half = 1.96 * np.sqrt(4 * variance + null_variance)
    p = (1 + (null >= value).sum()) / (len(null) + 1)
    return Measure(value, value - half, value + half, p=p, null_sd=np.sqrt(null_variance))


def coverage_density(
    real: np.ndarray, generated: np.ndarray, k: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Per real exam: is a generated one within its k-th neighbour's distance, and how many ÷ k?

    Coverage and density of Naeem et al. (ICML 2020) are the means of the two. Coverage is the share
    of real exams that the generator can reach; density above 1 means a crowd in the middle.
    """
    k, own = min(k, len(real) - 1), np.arange(len(real))
    radius = nearest_k(real, real, k, (own, own))[0][:, -1]
    hits = np.zeros(len(real))
    for rows in blocks(len(real), len(generated) * 8):
        hits[rows] = (squared(real[rows], generated) < radius[rows, None] ** 2).sum(axis=1)
    return hits > 0, hits * len(real) / (max(k, 1) * len(generated))


def vendi(features: np.ndarray, bandwidth: float) -> float:
    """Effective number of different images (Friedman & Dieng 2023).

    The exp of the entropy of the eigenvalues of the kernel exp(−d² / 2h²): 1 when all images are
    equal, n when none resembles another.
    """
    gram = np.exp(-squared(features, features).astype(np.float64) / (2 * bandwidth**2))
    values = np.linalg.eigvalsh(gram / len(gram))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def vendi_ratio(real: np.ndarray, generated: np.ndarray, most=300, draws=10, seed=0) -> Measure:
    """Vendi score of generated ÷ that of real exams at equal n: 1 as varied, near 0 collapsed.

    Means over subsamples of at most `most` exams and at most 80 % of the smaller set; the interval
    is the delete-d jackknife's (Shao & Wu 1989).
    """
    rng, n = np.random.default_rng(seed), min(len(real), len(generated))
    m = max(2, min(most, int(0.8 * n)))
    bandwidth = 0.5 * float(np.sqrt(np.median(squared(real[:1000], real[:1000])))) or 1.0
    pairs = [
        [rng.choice(len(s), m, replace=False) for s in (generated, real)] for _ in range(draws)
    ]
    found = [vendi(generated[q], bandwidth) / vendi(real[t], bandwidth) for q, t in pairs]
    spread = np.std(found, ddof=1) * (np.sqrt(m / max(n - m, 1)) if n - m < m else 1.0)
    mean = float(np.mean(found))
    return Measure(mean, max(0.0, mean - 1.96 * spread), mean + 1.96 * spread, n=m)


def sharpness(holdout: np.ndarray, generated: np.ndarray, weights=None) -> Measure:
    """Amplitude of the upper half of spatial frequencies, generated ÷ held-out, geometric mean.

    Below 1: blurred. Above 1: noisier or checkered. Normal interval on the log scale.
    """
    q, p = spectrum(generated), spectrum(holdout)
    fine = slice(q.shape[1] // 2, None)
    a, b = q[:, fine].mean(axis=1) / 2, p[:, fine].mean(axis=1) / 2  # log amplitude
    value = a.mean() - np.average(b, weights=weights)
    half = 1.96 * np.sqrt(mean_variance(a) + mean_variance(b, weights))
    return Measure(np.exp(value), np.exp(value - half), np.exp(value + half))


def two_sample_scores(x: np.ndarray, y: np.ndarray, seed: int = 0):
    """Out-of-fold scores of a logistic regression that tells y from x.

    Returns:
        scores, fold numbers and sides (0, 1), each (n + m,); None below ten images a set.
    """
    if min(len(x), len(y)) < 10:
        return None
    both, side = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    score, fold = np.zeros(len(both)), np.zeros(len(both), int)
    splits = StratifiedKFold(5, shuffle=True, random_state=seed).split(both, side)
    for k, (fit, held) in enumerate(splits):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.1))
        score[held], fold[held] = model.fit(both[fit], side[fit]).decision_function(both[held]), k
    return score, fold, side


def two_sample_auc(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Measure:
    """Cross-validated AUC of telling generated (y) from real (x) (Lopez-Paz & Oquab, 2017)."""
    found = two_sample_scores(x, y, seed)
    if found is None:
        return Measure(None)
    score, fold, side = found
    folds = [roc_auc_score(side[fold == k], score[fold == k]) for k in range(5)]
    half = 1.96 * np.std(folds, ddof=1) / np.sqrt(5)
    return Measure(np.mean(folds), np.mean(folds) - half, min(1, np.mean(folds) + half))


def appearance(images: ImageSet, pooled: np.ndarray, components: PCA, spectra: bool) -> np.ndarray:
    """What the two-sample classifier is given: components and, at equal sizes, the spectrum."""
    parts = [components.transform(pooled)] + ([spectrum(images.images)] if spectra else [])
    return np.concatenate(parts, axis=1)


def _matched(labels_t, labels_q, n_t: int, n_q: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Random indices into T and Q, equally many per class: they are compared at equal n."""
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


def _space(t, p, q, weights, rounds: int, seed: int) -> dict:
    """All quality numbers of one feature space; T and Q are of equal size."""
    ts, ps, qs = _scaled(t, p, q)
    weights = np.ones(len(p)) if weights is None else weights
    (covered_q, dense_q), (covered_t, dense_t) = coverage_density(p, q), coverage_density(p, t)

    def ratio(k):
        return (covered_q * weights)[k].mean() / max((covered_t * weights)[k].mean(), 1e-9)

    cover, real, *density = (
        np.average(v, weights=weights) for v in (covered_q, covered_t, dense_q, dense_t)
    )
    return {
        "kid": kid(qs, ps, weights, rounds, seed),
        "kid_floor": kid(ts, ps, weights, rounds, seed),
        "coverage": Measure(cover, *wilson(round(cover * len(p)), len(p)), real=float(real)),
        "coverage_ratio": bootstrap(ratio, [len(p)], rounds, np.random.default_rng(seed)),
        "density": Measure(density[0], real=float(density[1])),
        "vendi_ratio": vendi_ratio(t, q, seed=seed),
    }


@one_thread
def quality_report(
    train, holdout, generated, classifier=None, rounds=200, seed=0, details=True
) -> dict:
    """Quality and diversity with intervals, overall and per class.

    Args:
        train, holdout, generated: `ImageSet`s in linear intensity (SUV). With labels, class mixes
            are matched and classes reported; one exam of each patient is used, at most 5,000.
        classifier: an `utility.Classifier` trained on real exams; adds its feature space.
        details: also the classes, and `yardsticks`: the KID that known changes give.

    Returns:
        {"fine_detail", "fine_detail_floor", "two_sample_auc", "pixels": {…}, "classifier": {…} or
        absent, "classes": {label: {space: {…}}}, "yardsticks": {change: KID}}.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    train, holdout, generated = check_sets(train, holdout, generated)
    sets = [s.take(one_each(s, seed)) for s in (train, holdout, generated)]
    sets = train, holdout, generated = [s.take(subsample(s, MOST, seed)) for s in sets]
    spaces = {"pixels": common(*(s.images for s in sets))}
    if classifier is not None:
        spaces["classifier"] = tuple(classifier.features(s.images) for s in sets)
    weights = matching_weights(holdout.labels, generated.labels)
    ti, qi = _matched(
        train.labels, generated.labels, len(train), len(generated), np.random.default_rng(seed)
    )
    part_t, part_q = train.take(ti), generated.take(qi)
    t, p, q = spaces["pixels"]
    spectra = len({s.images.shape[1:] for s in sets}) == 1
    components = PCA(min(64, *t.shape), svd_solver="full").fit(t)
    told = [appearance(s, x, components, spectra) for s, x in ((part_t, t[ti]), (part_q, q[qi]))]
    fine = fine_floor = Measure(None)
    if spectra:
        fine = sharpness(holdout.images, generated.images, weights)
        fine_floor = sharpness(holdout.images, part_t.images, weights)
    report = {
        "fine_detail": fine,
        "fine_detail_floor": fine_floor,
        "two_sample_auc": two_sample_auc(told[0], told[1], seed),
    }
    for name, (t, p, q) in spaces.items():
        report[name] = _space(t[ti], p, q[qi], weights, rounds, seed)
    if not details:
        return report
    report["yardsticks"] = yardsticks(part_t, holdout, seed)
    if generated.labels is not None:
        report["classes"] = {}
        for c in np.unique(generated.labels):
            a, b, d = (
                np.flatnonzero(y == c) for y in (part_t.labels, holdout.labels, part_q.labels)
            )
            if min(len(a), len(b), len(d)) >= 10:
                report["classes"][int(c)] = {
                    name: _space(t[ti][a], p[b], q[qi][d], None, rounds, seed)
                    for name, (t, p, q) in spaces.items()
                }
    return report


def yardsticks(train: ImageSet, holdout: ImageSet, seed: int) -> dict[str, Measure]:
    """KID of training exams with a known change: what a number like 0.01 is worth here."""
    x = train.images
    changed = {
        "half a pixel of blur": ndimage.gaussian_filter(x, (0, 0.5, 0.5)),
        "two pixels of blur": ndimage.gaussian_filter(x, (0, 2, 2)),
        "10 % brighter": x * 1.1,
        "one exam makes 10 %": np.concatenate(
            [x[len(x) // 10 :], np.repeat(x[:1], len(x) // 10, 0)]
        ),
    }
    if train.labels is not None and len(np.unique(train.labels)) > 1:
        classes, counts = np.unique(train.labels, return_counts=True)
        changed["largest class missing"] = x[train.labels != classes[counts.argmax()]]
    found = {}
    for name, other in changed.items():
        ps, qs = _scaled(*common(holdout.images, other))
        found[name] = kid(qs, ps, None, 50, seed)
    return found
