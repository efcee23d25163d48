"""Numbers with their uncertainty: AUC, shares and permutation tests, within classes where classes are known.

Every function is deterministic given its seed.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def number(value, low=None, high=None, **more) -> dict:
    """A metric as it stands in metrics.json: value, 95 % interval, and what else is known about it."""
    plain = {
        k: (
            None
            if v is None
            else float(v)
            if isinstance(v, (float, np.floating))
            else int(v)
            if isinstance(v, np.integer)
            else v
        )
        for k, v in more.items()
    }
    finite = [None if v is None or not np.isfinite(v) else float(v) for v in (value, low, high)]
    return {"value": finite[0], "low": finite[1], "high": finite[2], **plain}


def wilson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Binomial interval of a share (Wilson 1927): honest at 0 %, at 100 % and at small n."""
    if n == 0:
        return 0.0, 1.0
    z = stats.norm.ppf(0.5 + level / 2)
    p = hits / n
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return (0.0 if hits == 0 else float(max(0, low))), (
        1.0 if hits == n else float(min(1, high))
    )  # no 1e-19 for 0


def _placements(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each score the share of the other group below it, ties counting half (DeLong's structural components)."""
    below = np.searchsorted(np.sort(negative), positive, "left") + np.searchsorted(
        np.sort(negative), positive, "right"
    )
    above = 2 * len(positive) - (
        np.searchsorted(np.sort(positive), negative, "left")
        + np.searchsorted(np.sort(positive), negative, "right")
    )
    return below / (2 * len(negative)), above / (2 * len(positive))


def resample(n: int, rng, groups=None) -> np.ndarray:
    """Indices of one bootstrap draw: of n exams, or of whole groups (patients), each with all its exams."""
    if groups is None:
        return rng.integers(0, n, n)
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    drawn = rng.integers(0, len(sizes), len(sizes))
    lengths, starts = sizes[drawn], (np.cumsum(sizes) - sizes)[drawn]
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.argsort(codes.ravel(), kind="stable")[np.repeat(starts, lengths) + inside]


def mean_variance(values: np.ndarray, weights=None, groups=None) -> float:
    """Variance of a (weighted) mean: of independent exams, or of what whole groups (patients) add to it."""
    weights = np.ones(len(values)) if weights is None else weights
    apart = values - np.average(values, weights=weights)
    if groups is None:
        return float(np.average(apart**2, weights=weights) / len(values))
    sums = (
        np.bincount(np.unique(groups, return_inverse=True)[1].ravel(), weights * apart)
        / weights.sum()
    )
    return float((sums**2).sum() * len(sums) / max(len(sums) - 1, 1))


def share(hits: np.ndarray, weights=None, groups=None) -> tuple[float, float, float]:
    """A share of exams and its Wilson interval; with groups the interval is that of as many independent exams as the groups are worth.

    The effective number is n divided by the design effect, the factor by which the exams of one patient widen the variance
    (Kish, Survey Sampling, 1965); where all or none are hit it is the number of groups.
    """
    n = len(hits)
    value = float(np.average(hits, weights=weights))
    if groups is None:
        return value, *wilson(round(value * n), n)
    variance = mean_variance(np.asarray(hits, float), weights, groups)
    worth = (
        np.clip(value * (1 - value) / variance, 1, n) if variance > 0 else len(np.unique(groups))
    )
    return value, *wilson(value * worth, worth)


def cluster_order(singles: int, groups: np.ndarray, rng) -> np.ndarray:
    """A random order of `singles` single exams followed by those of `groups`, in which a group stays together."""
    codes = np.concatenate(
        [np.arange(singles), singles + np.unique(groups, return_inverse=True)[1]]
    )
    return np.argsort(rng.permutation(codes.max() + 1)[codes], kind="stable")


def auc(
    positive,
    negative,
    positive_labels=None,
    negative_labels=None,
    positive_groups=None,
    negative_groups=None,
    rounds: int = 999,
    seed: int = 0,
) -> dict:
    """AUC of `positive` above `negative`, within classes, with DeLong interval and one-sided permutation p.

    The classes' AUCs are averaged with weights n⁺n⁻, which is the share of all within-class pairs that are ordered
    right. The p-value permutes group membership within classes: it answers "how often would exams that the
    generator never saw differ this much?" (DeLong et al., Biometrics 1988; stratified Wilcoxon: van Elteren 1960).
    With groups (patients), the interval sums what the exams of one patient contribute (Obuchowski, Biometrics 1997), and
    patients, not exams, change sides in the permutation. No patient may be on both sides.

    Returns:
        dict value, low, high, p, null_sd, n_positive, n_negative.
    """
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    lp = np.zeros(len(positive), int) if positive_labels is None else np.asarray(positive_labels)
    ln = np.zeros(len(negative), int) if negative_labels is None else np.asarray(negative_labels)
    classes = [c for c in np.unique(lp) if (ln == c).any()]
    rng, total = (
        np.random.default_rng(seed),
        sum((lp == c).sum() * (ln == c).sum() for c in classes),
    )
    value = variance = 0.0
    null = np.zeros(rounds)
    if positive_groups is not None or negative_groups is not None:
        groups = _codes(positive_groups, len(lp)), _codes(negative_groups, len(ln))
        return _clustered_auc(positive, negative, lp, ln, *groups, classes, total, rounds, rng)
    for c in classes:
        p, n = positive[lp == c], negative[ln == c]
        weight = len(p) * len(n) / total
        v10, v01 = _placements(p, n)
        value += weight * v10.mean()
        variance += weight**2 * (_variance(v10) / len(p) + _variance(v01) / len(n))
        ranks = stats.rankdata(np.concatenate([p, n]))
        for r in range(rounds):
            chosen = rng.permutation(ranks)[: len(p)]
            null[r] += weight * (chosen.sum() - len(p) * (len(p) + 1) / 2) / (len(p) * len(n))
    half = 1.96 * np.sqrt(variance)
    return number(
        value,
        max(0, value - half),
        min(1, value + half),
        p=(1 + (null >= value - 1e-12).sum()) / (rounds + 1),
        null_sd=null.std(),
        n_positive=len(positive),
        n_negative=len(negative),
    )


def _codes(groups, n: int) -> np.ndarray:
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()


def _clustered_auc(
    positive, negative, lp, ln, gp, gn, classes, total: int, rounds: int, rng
) -> dict:
    """`auc` where exams come in groups; gp, gn: group numbers from 0."""
    value, influence = 0.0, (np.zeros(len(lp)), np.zeros(len(ln)))
    for c in classes:
        weight = (lp == c).sum() * (ln == c).sum() / total
        placed = _placements(positive[lp == c], negative[ln == c])
        value += weight * placed[0].mean()
        for part, v, own in zip(influence, placed, (lp == c, ln == c), strict=True):
            part[own] = weight * (v - v.mean()) / len(v)
    sums = [np.bincount(g, part) for g, part in zip((gp, gn), influence, strict=True)]
    half = 1.96 * np.sqrt(sum((s**2).sum() * len(s) / max(len(s) - 1, 1) for s in sums))
    group = np.concatenate([gp, gp.max() + 1 + gn])
    side, label = np.arange(group.max() + 1) <= gp.max(), np.concatenate([lp, ln])
    # a patient changes sides only with one whose first exam is of the same class
    first = label[np.unique(group, return_index=True)[1]]
    ranks = [
        (label == c, stats.rankdata(np.concatenate([positive, negative])[label == c]))
        for c in classes
    ]
    null = np.empty(rounds)
    for r in range(rounds):
        drawn = side.copy()
        for c in np.unique(first):
            drawn[first == c] = rng.permutation(side[first == c])
        won = pairs = 0.0
        for members, rank in ranks:
            chosen = drawn[group[members]]
            k = chosen.sum()
            won += rank[chosen].sum() - k * (k + 1) / 2
            pairs += k * (len(chosen) - k)
        null[r] = won / max(pairs, 1)
    return number(
        value,
        max(0, value - half),
        min(1, value + half),
        p=(1 + (null >= value - 1e-12).sum()) / (rounds + 1),
        null_sd=null.std(),
        n_positive=len(lp),
        n_negative=len(ln),
        groups=len(side),
    )


def _variance(v: np.ndarray) -> float:
    """Sample variance; 0.25, the largest a share can have, where one value tells nothing."""
    return float(v.var(ddof=1)) if len(v) > 1 else 0.25


def matching_weights(labels, like) -> np.ndarray:
    """Weights that give `labels` the class mix of `like`; they sum to len(labels). Classes absent from `like` get 0."""
    labels, like = np.asarray(labels), np.asarray(like)
    share = {c: (like == c).mean() / (labels == c).mean() for c in np.unique(labels)}
    w = np.array([share[c] for c in labels])
    return w * len(w) / w.sum() if w.sum() > 0 else np.ones(len(labels))


def weighted_quantile(values, q: float, weights=None) -> float:
    """The smallest value with at least a share q of the weight at or below it (no interpolation)."""
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(np.searchsorted(cumulative, q - 1e-12), len(values) - 1)])


def percentile_interval(draws, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap draws."""
    low, high = np.quantile(np.asarray(draws, float), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
