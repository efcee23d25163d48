"""Do generated exams look like real ones, and are they as varied? Overall and per class.

In two feature spaces: `pixels` is pooled linear intensity, `classifier` the last hidden layer of a
classifier trained on real exams. No measure here notices copying: see memorisation.py.
"""

import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radiogan_lib.evaluation.features import (
    ImageSet,
    blocks,
    check_sets,
    common,
    fine_amplitude,
    nearest_k,
    one_each,
    one_thread,
    spectrum,
    squared,
    subsample,
)
from radiogan_lib.evaluation.statistics import Measure, matching_weights, mean_variance, wilson

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


def vendi_ratio(real: np.ndarray, generated: np.ndarray, seed: int = 0) -> Measure:
    """Vendi score of generated ÷ that of real exams at equal n: 1 as varied, near 0 collapsed.

    Means over ten subsamples of at most 300 exams and at most 80 % of the smaller set; the interval
    is the delete-d jackknife's (Shao & Wu 1989).
    """
    rng, n = np.random.default_rng(seed), min(len(real), len(generated))
    m = max(2, min(300, int(0.8 * n)))
    bandwidth = 0.5 * float(np.sqrt(np.median(squared(real[:1000], real[:1000])))) or 1.0
    found = []
    for _ in range(10):
        parts = [s[rng.choice(len(s), m, replace=False)] for s in (generated, real)]
        scores = [vendi(part, bandwidth) for part in parts]
        found.append(scores[0] / scores[1])
    spread = np.std(found, ddof=1) * (np.sqrt(m / max(n - m, 1)) if n - m < m else 1.0)
    mean = float(np.mean(found))
    return Measure(mean, max(0.0, mean - 1.96 * spread), mean + 1.96 * spread, n=m)


def sharpness(holdout: np.ndarray, generated: np.ndarray, weights=None) -> Measure:
    """Amplitude of the upper half of spatial frequencies, generated ÷ held-out, geometric mean.

    Below 1: blurred. Above 1: noisier or checkered. Normal interval on the log scale.
    """
    a, b = fine_amplitude(generated), fine_amplitude(holdout)
    value = a.mean() - np.average(b, weights=weights)
    half = 1.96 * np.sqrt(mean_variance(a) + mean_variance(b, weights))
    return Measure(np.exp(value), np.exp(value - half), np.exp(value + half))


def two_samples(x: np.ndarray, y: np.ndarray, seed: int) -> dict:
    """What scikit-learn's cross-validation needs to tell y (1) from x (0); {} below ten a set."""
    if min(len(x), len(y)) < 10:
        return {}
    return {
        "estimator": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.1)),
        "X": np.concatenate([x, y]),
        "y": np.repeat([0, 1], [len(x), len(y)]),
        "cv": StratifiedKFold(5, shuffle=True, random_state=seed),
    }


def two_sample_auc(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Measure:
    """Cross-validated AUC of telling generated (y) from real (x) (Lopez-Paz & Oquab, 2017)."""
    if not (given := two_samples(x, y, seed)):
        return Measure(None)
    folds = cross_val_score(**given, scoring="roc_auc")
    half = 1.96 * np.std(folds, ddof=1) / np.sqrt(5)
    return Measure(np.mean(folds), np.mean(folds) - half, min(1, np.mean(folds) + half))


def appearance(sets, features, fitted_to: np.ndarray, most: int, spectra: bool) -> list[np.ndarray]:
    """What the two-sample classifier is given: principal components and perhaps the spectrum.

    `fitted_to`: the features that decide the components, `most` of them; `spectra`: the images are
    of one size.
    """
    components = PCA(min(most, *fitted_to.shape), svd_solver="full").fit(fitted_to)
    found = [components.transform(x) for x in features]
    if not spectra:
        return found
    pairs = zip(found, sets, strict=True)
    return [np.concatenate([x, spectrum(s.images)], axis=1) for x, s in pairs]


def _matched(sets, rng) -> list[np.ndarray]:
    """Random indices into two sets, equally many per class: they are compared at equal n."""
    picked = [], []
    for c in np.unique(sets[1].classes):
        members = [np.flatnonzero(s.classes == c) for s in sets]
        n = min(map(len, members))
        for pick, m in zip(picked, members, strict=True):
            pick.append(rng.permutation(m)[:n])
    return [np.concatenate(pick) for pick in picked]


def _space(t, p, q, weights, rounds: int, seed: int) -> dict:
    """All quality numbers of one feature space; T and Q are of equal size."""
    ts, ps, qs = _scaled(t, p, q)
    weights = np.ones(len(p)) if weights is None else weights
    (covered_q, dense_q), (covered_t, dense_t) = coverage_density(p, q), coverage_density(p, t)

    def ratio(k):
        return (covered_q * weights)[k].mean() / max((covered_t * weights)[k].mean(), 1e-9)

    rng = np.random.default_rng(seed)
    again = [ratio(rng.integers(0, len(p), len(p))) for _ in range(rounds)]
    cover, real, dense, dense_real = (
        np.average(v, weights=weights) for v in (covered_q, covered_t, dense_q, dense_t)
    )
    return {
        "kid": kid(qs, ps, weights, rounds, seed),
        "kid_floor": kid(ts, ps, weights, rounds, seed),
        "coverage": Measure(cover, *wilson(round(cover * len(p)), len(p)), real=float(real)),
        "coverage_ratio": Measure(ratio(np.arange(len(p))), *np.quantile(again, [0.025, 0.975])),
        "density": Measure(dense, real=float(dense_real)),
        "vendi_ratio": vendi_ratio(t, q, seed=seed),
    }


@one_thread()
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
    ti, qi = _matched((train, generated), np.random.default_rng(seed))
    matched = part_t, part_q = train.take(ti), generated.take(qi)
    t, _, q = spaces["pixels"]
    spectra = len({s.images.shape[1:] for s in sets}) == 1
    told = appearance(matched, (t[ti], q[qi]), t, 64, spectra)
    fine = fine_floor = Measure(None)
    if spectra:
        fine, fine_floor = (
            sharpness(holdout.images, x, weights) for x in (generated.images, part_t.images)
        )
    report = {
        "fine_detail": fine,
        "fine_detail_floor": fine_floor,
        "two_sample_auc": two_sample_auc(*told, seed=seed),
    }
    for name, (t, p, q) in spaces.items():
        report[name] = _space(t[ti], p, q[qi], weights, rounds, seed)
    if not details:
        return report
    report["yardsticks"] = yardsticks(part_t, holdout, seed)
    if generated.labels is None:
        return report
    report["classes"] = {}
    for c in np.unique(generated.labels):
        a, b, d = (np.flatnonzero(s.labels == c) for s in (part_t, holdout, part_q))
        if min(len(a), len(b), len(d)) >= 10:
            report["classes"][int(c)] = {
                name: _space(t[ti][a], p[b], q[qi][d], None, rounds, seed)
                for name, (t, p, q) in spaces.items()
            }
    return report


def yardsticks(train: ImageSet, holdout: ImageSet, seed: int) -> dict[str, Measure]:
    """KID of training exams with a known change: what a number like 0.01 is worth here."""
    x, few = train.images, len(train) // 10
    changed = {
        "half a pixel of blur": ndimage.gaussian_filter(x, (0, 0.5, 0.5)),
        "two pixels of blur": ndimage.gaussian_filter(x, (0, 2, 2)),
        "10 % brighter": x * 1.1,
        "one exam makes 10 %": np.concatenate([x[few:], np.repeat(x[:1], few, 0)]),
    }
    if train.labels is not None and len(np.unique(train.labels)) > 1:
        classes, counts = np.unique(train.labels, return_counts=True)
        changed["largest class missing"] = x[train.labels != classes[counts.argmax()]]
    found = {}
    for name, other in changed.items():
        ps, qs = _scaled(*common(holdout.images, other))
        found[name] = kid(qs, ps, None, 50, seed)
    return found
