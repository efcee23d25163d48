"""Numbers with their uncertainty, and the registry that says what each number is.

One definition of an interval holds everywhere: 95 %, over exams drawn again (whole patients where patients are known). Shares have
Wilson's interval, AUCs DeLong's, everything else the bootstrap's percentiles or a normal interval on the stated scale.
Every function is deterministic given its seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.01 / 3  # three ways to copy are tested: as it is, moved, by halves
FEW = 3  # draws of one exam, or one more than that of different exams, that no chance explains


class Measure(dict):
    """A number with its 95 % interval, as it stands in metrics.json: `value`, `low`, `high`, perhaps `p` and more.

    `None` stands for what could not be measured. `str()` gives "0.51 (0.48–0.54), p 0.2".
    """

    def __init__(self, value, low=None, high=None, **more):
        numbers = [
            None if v is None or not np.isfinite(v) else float(v) for v in (value, low, high)
        ]
        more = {k: v.item() if isinstance(v, np.generic) else v for k, v in more.items()}
        super().__init__(value=numbers[0], low=numbers[1], high=numbers[2], **more)

    value = property(lambda self: self["value"])
    low = property(lambda self: self["low"])
    high = property(lambda self: self["high"])

    def __str__(self) -> str:
        return shown(self)


def is_measure(entry) -> bool:
    """True for a `Measure`, also one that was read back from JSON."""
    return isinstance(entry, dict) and {"value", "low", "high"} <= set(entry)


def shown(m: dict | None, digits: int = 2) -> str:
    """A measure as text: "0.51 (0.48–0.54), p 0.2"; a dash where there is no number."""
    if not m or m.get("value") is None:
        return "–"
    text = f"{m['value']:.{digits}f}"
    if m.get("low") is not None and m.get("high") is not None:
        text += f" ({m['low']:.{digits}f}–{m['high']:.{digits}f})"
    return text + (f", p {m['p']:.2g}" if m.get("p") is not None else "")


class About(NamedTuple):
    """What a measure is. `ideal`: its value for fresh real exams. `departure`: what it means to be above or below."""

    title: str
    definition: str
    ideal: str
    departure: str
    share: bool = False  # between 0 and 1


MEASURES = {
    "membership_auc": About(
        "Membership AUC",
        "chance that a training exam lies nearer to the generated images than a held-out exam does",
        "0.5",
        "above: training exams can be recognised; below: the sets may be swapped",
        True,
    ),
    "copy_fraction": About(
        "Copy fraction",
        "share of distinct generated images beside which one training exam stands out more than for 95 % of held-out exams",
        "0.05",
        "above: copies",
        True,
    ),
    "moved_auc": About(
        "Membership AUC, moved",
        "membership AUC on the smallest distance over shifts, mirror image, gain and offset",
        "0.5",
        "above: training exams can be recognised",
        True,
    ),
    "moved_fraction": About(
        "Copy fraction, moved",
        "copy fraction on the smallest distance over shifts, mirror image, gain and offset",
        "0.05",
        "above: shifted, mirrored or rescaled copies",
        True,
    ),
    "part_fraction": About(
        "Copy fraction, halves",
        "copy fraction on the upper, lower, left or right half, whichever is most like a copy",
        "0.05",
        "above: halves of training exams are copied",
        True,
    ),
    "repeated_fraction": About(
        "Repeated images",
        "share of generated images that repeat another one",
        "as real exams",
        "above: collapse",
        True,
    ),
    "blend_fraction": About(
        "Blend fraction",
        "share of distinct generated images that two training exams explain better than two held-out ones, "
        "beyond 95 % of held-out exams",
        "0.05",
        "above: blends of two training exams",
        True,
    ),
    "pair_residual_ratio": About(
        "Best-pair residual ratio",
        "median distance to the nearest blend of two training exams ÷ held-out exams'",
        "1",
        "near 0: blends (or copies)",
    ),
    "nearest_ratio": About(
        "Nearest-exam ratio",
        "median distance to the nearest training exam ÷ held-out exams'",
        "1",
        "below: copies or blur; decides nothing",
    ),
    "discriminator_auc": About(
        "Discriminator overfit AUC",
        "chance that the discriminator scores a training exam above a held-out one",
        "0.5",
        "above: the discriminator knows its exams by heart",
        True,
    ),
    "fine_detail": About(
        "Fine detail",
        "amplitude of the upper half of spatial frequencies, generated ÷ held-out",
        "1",
        "below: blurred; above: noisy or checkered",
    ),
    "fine_detail_floor": About(
        "Fine detail of training exams",
        "the same for training exams",
        "1",
        "how far real exams differ",
    ),
    "two_sample_auc": About(
        "Real or generated? AUC",
        "cross-validated AUC of a linear classifier on components and spectrum",
        "0.5",
        "1: every image gives itself away",
        True,
    ),
    "kid": About(
        "KID to held-out exams",
        "kernel inception distance: unbiased squared MMD with a cubic kernel",
        "the floor",
        "above: further from real exams",
    ),
    "kid_floor": About("KID floor", "KID of training to held-out exams", "0", "real against real"),
    "coverage": About(
        "Coverage",
        "share of held-out exams with a generated one within their fifth real neighbour's distance",
        "as training exams",
        "below: exams that the generator cannot reach",
        True,
    ),
    "coverage_ratio": About(
        "Coverage ratio", "coverage ÷ training exams' coverage", "1", "below: modes are missing"
    ),
    "density": About(
        "Density",
        "mean number of neighbourhoods that hold a generated image",
        "1",
        "below: unlike real exams",
    ),
    "vendi_ratio": About(
        "Vendi ratio",
        "effective number of different images, generated ÷ real at equal n",
        "1",
        "below: less varied than real exams",
    ),
    "overall": About(
        "Label agreement",
        "share of generated images that a classifier of real exams puts in the class asked for",
        "the ceiling: the same classifier on held-out exams",
        "above the ceiling: only typical cases of a class are drawn; below: the wrong class",
        True,
    ),
    "trtr": About(
        "TRTR", "balanced accuracy, trained and tested on real exams", "", "the ceiling", True
    ),
    "tstr": About(
        "TSTR",
        "balanced accuracy, trained on generated, tested on real exams",
        "TRTR",
        "below: taught less",
        True,
    ),
    "tstr_minus_trtr": About(
        "TSTR − TRTR", "paired difference", "0", "below: taught less than by real exams"
    ),
}


def wilson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Binomial interval of a share (Wilson 1927): holds at 0 %, at 100 % and at small n."""
    if n == 0:
        return 0.0, 1.0
    z = stats.norm.ppf(0.5 + level / 2)
    p = hits / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(max(0.0, p * (1 - p)) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return 0.0 if hits == 0 else float(max(0, low)), 1.0 if hits == n else float(min(1, high))


def resample(n: int, rng, groups=None) -> np.ndarray:
    """Indices of one bootstrap draw: of n exams, or of whole groups (patients), each with all its exams."""
    if groups is None:
        return rng.integers(0, n, n)
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    drawn = rng.integers(0, len(sizes), len(sizes))
    lengths, starts = sizes[drawn], (np.cumsum(sizes) - sizes)[drawn]
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.argsort(codes.ravel(), kind="stable")[np.repeat(starts, lengths) + inside]


def bootstrap(statistic, sizes, rounds: int, rng) -> Measure:
    """`statistic(*indices)` with a percentile interval. `sizes`: (n, groups or None) of each set that is drawn again."""
    draws = [statistic(*(resample(n, rng, g) for n, g in sizes)) for _ in range(rounds)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Measure(statistic(*(np.arange(n) for n, _ in sizes)), low, high)


def mean_variance(values: np.ndarray, weights=None, groups=None) -> float:
    """Variance of a (weighted) mean: of independent exams, or of what whole groups (patients) add to it."""
    weights = np.ones(len(values)) if weights is None else weights
    apart = values - np.average(values, weights=weights)
    if groups is None:
        return float(np.average(apart**2, weights=weights) / len(values))
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    sums = np.bincount(codes, weights * apart) / weights.sum()
    return float((sums**2).sum() * len(sums) / max(len(sums) - 1, 1))


def share(hits: np.ndarray, weights=None, groups=None) -> tuple[float, float, float]:
    """A share of exams and its Wilson interval; with groups that of as many exams as the groups are worth.

    The effective number is n ÷ the design effect (Kish, Survey Sampling, 1965), or the number of groups where all or none are hit.
    """
    n = len(hits)
    value = float(np.average(hits, weights=weights))
    if groups is None:
        return value, *wilson(round(value * n), n)
    variance = mean_variance(np.asarray(hits, float), weights, groups)
    worth = len(np.unique(groups))
    if variance > 0:
        worth = np.clip(value * (1 - value) / variance, 1, n)
    return value, *wilson(value * worth, worth)


def cluster_order(singles: int, groups: np.ndarray, rng) -> np.ndarray:
    """A random order of `singles` single exams followed by those of `groups`, in which a group stays together."""
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    codes = np.concatenate([np.arange(singles), singles + codes])
    return np.argsort(rng.permutation(codes.max() + 1)[codes], kind="stable")


def matching_weights(labels, like) -> np.ndarray | None:
    """Weights that give `labels` the class mix of `like`; they sum to len(labels). None where labels are not known.

    Classes absent from `like` get 0.
    """
    if labels is None or like is None:
        return None
    labels, like = np.asarray(labels), np.asarray(like)
    weights = np.zeros(len(labels))
    for c in np.unique(like):
        members = labels == c
        if members.any():
            weights[members] = (like == c).mean() / members.mean()
    return weights * len(labels) / weights.sum() if weights.sum() > 0 else np.ones(len(labels))


def weighted_quantile(values, q: float, weights=None) -> float:
    """The smallest value with at least a share q of the weight at or below it (no interpolation)."""
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(np.searchsorted(cumulative, q - 1e-12), len(values) - 1)])


def _placements(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each score the share of the other set below (above) it, ties counting half (DeLong's components)."""
    order, other = np.sort(negative), np.sort(positive)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    above = np.searchsorted(other, negative, "left") + np.searchsorted(other, negative, "right")
    return below / (2 * len(negative)), 1 - above / (2 * len(positive))


def auc(
    positive, negative, labels=(None, None), groups=(None, None), rounds=999, seed=0
) -> Measure:
    """AUC of `positive` above `negative` within classes, with DeLong's interval and permutation p-values.

    The classes' AUCs are averaged with weights n⁺n⁻: the share of all within-class pairs in the right order. With groups (patients), the
    interval sums what the exams of one patient contribute (Obuchowski, Biometrics 1997), and patients change sides in the
    permutation, within the class of their first exam. No patient may be on both sides.

    Args:
        positive, negative: scores (n,), (m,). labels, groups: pairs of (n,), (m,) or None.

    Returns:
        Measure with p (one-sided, above 0.5), p_below, null_sd, n_positive, n_negative.
    """
    x, y = np.asarray(positive, float), np.asarray(negative, float)
    lx = np.zeros(len(x), int) if labels[0] is None else np.asarray(labels[0])
    ly = np.zeros(len(y), int) if labels[1] is None else np.asarray(labels[1])
    gx, gy = (
        np.arange(len(s)) if g is None else np.unique(g, return_inverse=True)[1].ravel()
        for s, g in zip((x, y), groups, strict=True)
    )
    classes = [c for c in np.unique(lx) if (ly == c).any()]
    total = sum(int((lx == c).sum()) * int((ly == c).sum()) for c in classes)
    if not total:
        return Measure(None, p=1.0, p_below=1.0)
    value, influence = 0.0, (np.zeros(len(x)), np.zeros(len(y)))
    for c in classes:
        weight = (lx == c).sum() * (ly == c).sum() / total
        placed = _placements(x[lx == c], y[ly == c])
        value += weight * placed[0].mean()
        for part, v, own in zip(influence, placed, (lx == c, ly == c), strict=True):
            part[own] = weight * (v - v.mean()) / len(v)
    sums = [np.bincount(g, part) for g, part in zip((gx, gy), influence, strict=True)]
    half = 1.96 * np.sqrt(sum((s**2).sum() * len(s) / max(len(s) - 1, 1) for s in sums))
    group, label = np.concatenate([gx, gx.max() + 1 + gy]), np.concatenate([lx, ly])
    side = np.arange(group.max() + 1) <= gx.max()
    first = label[np.unique(group, return_index=True)[1]]
    members = [np.flatnonzero(first == c) for c in np.unique(first)]
    ranks = [(group[label == c], stats.rankdata(np.r_[x, y][label == c])) for c in classes]
    rng, null = np.random.default_rng(seed), np.empty(rounds)
    for r in range(rounds):
        drawn, won, pairs = side.copy(), 0.0, 0.0
        for m in members:
            drawn[m] = rng.permutation(side[m])
        for own, rank in ranks:
            chosen = drawn[own]
            k = chosen.sum()
            won += rank[chosen].sum() - k * (k + 1) / 2
            pairs += k * (len(chosen) - k)
        null[r] = won / max(pairs, 1)
    return Measure(
        value,
        max(0, value - half),
        min(1, value + half),
        p=(1 + (null >= value - 1e-12).sum()) / (rounds + 1),
        p_below=(1 + (null <= value + 1e-12).sum()) / (rounds + 1),
        null_sd=null.std(),
        n_positive=len(x),
        n_negative=len(y),
    )


def fraction(
    q, p, q_y=None, p_y=None, beside_holdout=None, groups=None, rounds=999, seed=0
) -> Measure:
    """Share of generated exams with a score below the 5 % quantile of held-out exams, with Wilson's interval.

    5 % is expected of fresh exams. p exchanges generated and held-out exams (patients together), so that it knows how uncertain
    a 5 % quantile of few exams is. With `beside_holdout`, the generated exams' scores beside held-out exams, p is the
    larger of that and of a paired sign test: are more exams suspicious beside training exams than beside exams that
    cannot have been copied? Smooth images lack the noise that keeps real exams apart and are suspicious beside both.
    """
    q, p = np.asarray(q, float), np.asarray(p, float)
    weights = matching_weights(p_y, q_y)
    threshold = weighted_quantile(p, 0.05, weights)
    below = q <= threshold
    hits, rng, pool = int(below.sum()), np.random.default_rng(seed), np.concatenate([q, p])
    null = np.empty(rounds)
    for r in range(rounds):
        order = rng.permutation(len(pool)) if groups is None else cluster_order(len(q), groups, rng)
        mixed = pool[order]
        null[r] = (mixed[: len(q)] <= weighted_quantile(mixed[len(q) :], 0.05)).mean()
    p_value = (1 + (null >= hits / len(q)).sum()) / (rounds + 1)
    if beside_holdout is not None:
        beside = np.asarray(beside_holdout) <= threshold
        only = int((below & ~beside).sum()), int((beside & ~below).sum())
        p_value = max(
            p_value, float(stats.binom.sf(only[0] - 1, sum(only), 0.5)) if sum(only) else 1.0
        )
    return Measure(hits / len(q), *wilson(hits, len(q)), p=p_value, threshold=threshold, n=len(q))
