"""Numbers with their uncertainty, and the registry that says what each number is.

Intervals are of 95 %, over exams (whole patients) drawn again: Wilson's for shares, DeLong's for
AUCs, else the bootstrap's percentiles or a normal interval. Every function is deterministic.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.01 / 3  # three ways to copy are tested: as it is, moved, by halves
FEW = 3  # draws of one exam, or one more than that of different exams, that no chance explains


class Measure(dict):
    """A number with its 95 % interval, as in metrics.json: `value`, `low`, `high`, perhaps more.

    `None` stands for what could not be measured. `str()` gives "0.51 (0.48–0.54), p 0.2".
    """

    def __init__(self, value, low=None, high=None, **more):
        for name, v in (("value", value), ("low", low), ("high", high)):
            self[name] = None if v is None or not np.isfinite(v) else float(v)
        self |= {k: v.item() if isinstance(v, np.generic) else v for k, v in more.items()}

    value = property(lambda self: self["value"])

    def __str__(self) -> str:
        return shown(self)


def is_measure(entry) -> bool:
    """True for a `Measure`, also one that was read back from JSON."""
    return isinstance(entry, dict) and {"value", "low", "high"} <= set(entry)


def shown(m: dict | None) -> str:
    """A measure as text: "0.51 (0.48–0.54), p 0.2"; a dash where there is no number."""
    if not m or m.get("value") is None:
        return "–"
    text, low, high = f"{m['value']:.2f}", m.get("low"), m.get("high")
    if low is not None and high is not None:
        text += f" ({low:.2f}{'–' if low >= 0 else ' to '}{high:.2f})"
    return text + (f", p {m['p']:.2g}" if m.get("p") is not None else "")


def above(m: dict | None, bound: float) -> bool:
    """Does the whole interval of a measure lie above `bound`? Not where there is none."""
    return bool(m) and m.get("low") is not None and m["low"] > bound


class About(NamedTuple):
    """What a measure is: a row of measures.csv.

    `ideal`: its value for fresh real exams. `departure`: what it means to be above or below.
    """

    title: str
    ideal: str
    departure: str
    definition: str
    share: bool  # between 0 and 1


_TABLE = Path(__file__).with_name("measures.csv").read_text(encoding="utf-8").splitlines()
MEASURES = {
    row.pop("name"): About(**row | {"share": row["share"] == "yes"})
    for row in csv.DictReader(_TABLE)
}


def title(name: str) -> str:
    """What a measure is called: "Membership AUC". Other names lose their underscores."""
    return MEASURES[name].title if name in MEASURES else name.replace("_", " ")


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Binomial interval of a share (Wilson 1927): holds at 0 %, at 100 % and at small n."""
    z, p = stats.norm.ppf(0.975), hits / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(max(0.0, p * (1 - p)) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return 0.0 if hits == 0 else float(max(0, low)), 1.0 if hits == n else float(min(1, high))


def mean_variance(values: np.ndarray, weights=None) -> float:
    """Variance of a (weighted) mean of independent exams."""
    apart = values - np.average(values, weights=weights)
    return float(np.average(apart**2, weights=weights) / len(values))


def matching_weights(labels, like) -> np.ndarray | None:
    """Weights, of mean 1, that give `labels` the class mix of `like`; classes not in it get 0.

    None where labels are not known.
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
    """The smallest value with at least a share q of the weight at or below it."""
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(np.searchsorted(cumulative, q - 1e-12), len(values) - 1)])


def _placements(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each score the share of the other set below (above) it, ties half (DeLong)."""

    def twice_below(scores, others):
        others = np.sort(others)
        return np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")

    below = twice_below(positive, negative) / (2 * len(negative))
    return below, 1 - twice_below(negative, positive) / (2 * len(positive))


def auc(positive, negative, labels=(None, None), rounds: int = 999, seed: int = 0) -> Measure:
    """AUC of `positive` above `negative` within classes, with DeLong's interval and permutation p.

    The classes' AUCs are weighted by n⁺n⁻ (DeLong et al. 1988; stratified Wilcoxon: van Elteren
    1960). Scores must be of independent exams.
    """
    x, y = np.asarray(positive, float), np.asarray(negative, float)
    lx, ly = (
        np.zeros(len(s), int) if k is None else k for s, k in zip((x, y), labels, strict=True)
    )
    classes = [(x[lx == c], y[ly == c]) for c in np.unique(lx) if (ly == c).any()]
    total = sum(len(p) * len(n) for p, n in classes)
    if not total:
        return Measure(None, p=1.0, p_below=1.0)
    rng, value, variance, null = np.random.default_rng(seed), 0.0, 0.0, np.zeros(rounds)
    for p, n in classes:
        weight = len(p) * len(n) / total
        placed = _placements(p, n)
        value += weight * placed[0].mean()
        # 0.25 is the largest variance of a share, where one value tells nothing
        spread = [v.var(ddof=1) if len(v) > 1 else 0.25 for v in placed]
        variance += weight**2 * (spread[0] / len(p) + spread[1] / len(n))
        ranks = stats.rankdata(np.concatenate([p, n]))
        for r in range(rounds):
            won = rng.permutation(ranks)[: len(p)].sum() - len(p) * (len(p) + 1) / 2
            null[r] += weight * won / (len(p) * len(n))
    half = 1.96 * np.sqrt(variance)
    more = {
        "p": (1 + (null >= value - 1e-12).sum()) / (rounds + 1),
        "p_below": (1 + (null <= value + 1e-12).sum()) / (rounds + 1),
    }
    more |= {"null_sd": null.std(), "n_positive": len(x), "n_negative": len(y)}
    return Measure(value, max(0, value - half), min(1, value + half), **more)


def fraction(
    q, p, labels=(None, None), beside_holdout=None, rounds: int = 999, seed: int = 0
) -> Measure:
    """Share of generated exams that score below 95 % of held-out exams, with Wilson's interval.

    p exchanges generated and held-out exams, so that it knows how uncertain that quantile is. With
    `beside_holdout`, the generated exams' scores beside held-out exams, p is the larger of that and
    of a paired sign test: smooth images are suspicious beside both.
    """
    q, p = np.asarray(q, float), np.asarray(p, float)
    threshold = weighted_quantile(p, 0.05, matching_weights(labels[1], labels[0]))
    below, rng = q <= threshold, np.random.default_rng(seed)
    hits, pool = int(below.sum()), np.concatenate([q, p])
    # the smallest value with 5 % of the held-out ones at or below it, round by round
    mixed = np.stack([rng.permutation(pool) for _ in range(rounds)])
    k = max(int(np.ceil(0.05 * len(p) - 1e-9)), 1) - 1
    limits = np.partition(mixed[:, len(q) :], k, axis=1)[:, k]
    null = (mixed[:, : len(q)] <= limits[:, None]).mean(axis=1)
    p_value = (1 + (null >= hits / len(q)).sum()) / (rounds + 1)
    if beside_holdout is not None:
        beside = np.asarray(beside_holdout) <= threshold
        only = int((below & ~beside).sum()), int((beside & ~below).sum())
        paired = stats.binom.sf(only[0] - 1, sum(only), 0.5) if sum(only) else 1.0
        p_value = max(p_value, float(paired))
    return Measure(hits / len(q), *wilson(hits, len(q)), p=p_value, threshold=threshold, n=len(q))
