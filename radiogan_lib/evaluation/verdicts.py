"""One sentence from many intervals, by a written rule, and the controls that license its words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from radiogan_lib.evaluation.features import EvaluationError, ImageSet, as_set, subsample
from radiogan_lib.evaluation.memorisation import (
    COPY_FRACTION,
    MEMBERSHIP_AUC,
    Reference,
    copying,
    memorization_report,
)
from radiogan_lib.evaluation.quality import quality_report
from radiogan_lib.evaluation.statistics import ALPHA, FEW, above, shown, title

COVERAGE_RATIO, VENDI_RATIO = 0.6, 0.7  # upper bounds; fresh exams 1
REPEATED = 0.05  # lower bound of the share of repeated images; fresh exams as real ones
NOISY = 1.67  # lower bound of fine detail; fresh exams 1
EXPECTED = {
    "ideal": "generalises",
    "copier": "memorises",
    "blender": "blends",
    "collapsed": "collapsed",
    "blurred": "blurred",
}
KINDS = tuple(EXPECTED)
SHOWN = tuple(
    "membership_auc copy_fraction moved_fraction part_fraction blend_fraction repeated_fraction"
    " coverage_ratio vendi_ratio fine_detail".split()
)

RULE = f"""In this order; intervals are of 95 %:
1. memorises, by plain facts: an exact copy of a training exam, one training exam drawn {FEW} \
times or more, or near-exact copies of more than {FEW} different ones, at a closeness that no \
two real exams reach (where real exams do: more than among them, p < 0.0001), as they are, moved, \
or turned, zoomed and shifted by parts of a pixel.
2. undecided, with the reason: the three sets do not belong together, so that no comparison \
holds.
3. blends: the lower bound of the blend fraction is above the threshold (at least 0.15, and \
above what the ideal and the blurred control reach), p < {ALPHA:.4f}; training exams can be \
recognised (membership AUC, p < 0.01); and more images are blends than copies (exact copies \
count half as many again).
4. memorises: the lower bound of a membership AUC is above {MEMBERSHIP_AUC} (more, where \
held-out exams lie further from training exams than these from each other), or that of a copy \
fraction (as it is, moved, by halves) above {COPY_FRACTION}, both more where the ideal or the \
blurred control reaches more, with p < {ALPHA:.4f} (permutation; for copies also: more \
suspicious beside training than beside held-out exams).
5. collapsed: the upper bounds of coverage and Vendi ratio are below {COVERAGE_RATIO} and \
{VENDI_RATIO}, or more than {REPEATED:.0%} of the images repeat another one (lower bound).
6. blurred: the upper bound of fine detail is below the threshold (0.6 to 0.8, halfway to the \
blurred control); noisy: its lower bound is above {NOISY}; unrealistic: coverage ratio below \
{COVERAGE_RATIO} without collapse.
7. undecided: none of these, but half of the images could have been copies unnoticed, or the \
copier control is not found.
8. generalises: none of these.
A word whose own control is not found, or that the ideal control is given, is not used."""

PHRASE = {
    "blends": "blends training exams",
    "memorises": "memorises training exams",
    "collapsed": "has collapsed",
    "blurred": "is blurred",
    "noisy": "is noisy",
    "unrealistic": "draws exams unlike real ones",
    "generalises": "generalises",
}


@dataclass(frozen=True)
class Verdict:
    """`word` is a key of `PHRASE`, or undecided; `flags` says which faults were found."""

    word: str
    sentence: str
    flags: dict[str, bool] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    rule: str = RULE

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Thresholds:
    """From where on a word is used, by the user's own controls; `silent` words are not used."""

    blend: float = 0.15
    blurred: float = 0.6
    membership: float = MEMBERSHIP_AUC
    copies: float = COPY_FRACTION
    silent: tuple[str, ...] = ()

    @classmethod
    def of(cls, controls: list[dict] | None) -> Thresholds:
        """From rows of `run_controls`; the defaults without controls."""
        if not controls:
            return cls()
        rows = {r["kind"]: r for r in controls}
        clean = {k: rows[k] for k in ("ideal", "blurred") if k in rows}
        innocent = max([0, *(r["blend_fraction"]["high"] for r in clean.values())])
        blur = (rows.get("blurred", {}).get("fine_detail") or {}).get("value")

        def reached(*names):  # what fresh images reach by chance or by blur is no sign of memory
            return max((r[k]["low"] for r in clean.values() for k in names if r.get(k)), default=0)

        found = cls(
            min(0.6, max(0.15, innocent)),
            0.6 if blur is None else float(np.clip(np.sqrt(blur), 0.6, 0.8)),
            max(MEMBERSHIP_AUC, reached("membership_auc", "moved_auc")),
            max(COPY_FRACTION, reached("copy_fraction", "moved_fraction", "part_fraction")),
        )
        silent = ["blends"] if innocent > 0.6 else []
        for kind, word in EXPECTED.items():
            if kind != "ideal" and kind in rows:
                falsely = any(found.flags(r)[word] for k, r in clean.items() if k != kind)
                silent += [word] if falsely or not found.flags(rows[kind])[word] else []
        return replace(found, silent=tuple(dict.fromkeys(silent)))

    def flags(self, m: dict) -> dict[str, bool]:
        """Which faults the measures (flat dict by name, with `facts`) show; perhaps several."""

        def below(name, bound):
            found = m.get(name) or {}
            return found.get("high") is not None and found["high"] < bound

        known = any((m.get(k) or {}).get("p", 1) < 0.01 for k in ("membership_auc", "moved_auc"))
        narrow = below("coverage_ratio", COVERAGE_RATIO)
        repeated = m.get("repeated_fraction") or {}
        collapsed = narrow and below("vendi_ratio", VENDI_RATIO)
        collapsed = collapsed or above(repeated, REPEATED + (repeated.get("real") or 0))
        blend = m.get("blend_fraction")
        # a rescaled copy lies between its exam and a dark one: exact copies weigh more than blends
        blends = above(blend, self.blend) and blend.get("p", 1) < ALPHA and known
        return {
            "blends": blends and blend["value"] > max(copied_share(m)),
            "memorises": copying(m, self.membership, self.copies),
            "collapsed": collapsed,
            "blurred": below("fine_detail", self.blurred),
            "noisy": above(m.get("fine_detail"), NOISY),
            "unrealistic": narrow and not collapsed,
        }


def copied_share(m: dict) -> list[float]:
    """Shares of copies: those counted, half as many again, and the fractions less 5 % expected."""
    found = m.get("facts") or {}
    counted = 1.5 * found.get("copies", 0) / max(found.get("images", 1), 1)
    tested = [m[k]["value"] - 0.05 for k in ("copy_fraction", "moved_fraction") if m.get(k)]
    return [counted, *tested]


def flat_measures(report: dict) -> dict:
    """Measures of all sections of a report in one dict by name, those of pixels for quality."""
    quality = report.get("quality") or {}
    return {**quality, **quality.get("pixels", {}), **(report.get("memorization") or {})}


def verdict(report: dict) -> Verdict:
    """The verdict of a report of `evaluate` (or of any dict with `memorization` and `quality`)."""
    m, limits = flat_measures(report), Thresholds.of(report.get("controls"))
    raised = limits.flags(m)
    flags = {w: on and w not in limits.silent for w, on in raised.items()}
    reasons, detectable = list(m.get("doubts") or []), report.get("detectable")
    if (m.get("facts") or {}).get("decides") and not flags["blends"]:
        word = "memorises"
    else:
        word = next((w for w, on in flags.items() if on), "generalises")
        if not reasons and word == "generalises":
            if unsaid := [w for w, on in raised.items() if on]:
                looks = f"it looks as if it {PHRASE[unsaid[0]]}"
                reasons.append(f"{looks}, but on these images that test fails its control")
            elif detectable and detectable.get("smallest") is None:
                few = "not even half copies would have been noticed at this number of images"
                reasons.append(few)
            elif "memorises" in limits.silent:
                reasons.append("on these images the copier control is not told from fresh images")
        word = "undecided" if reasons else word
    return Verdict(word, _sentence(report, m, word, flags, reasons), flags, tuple(reasons))


NUMBERS = {  # what stands behind a word; the largest copy fraction is shown
    "blends": ("blend_fraction", "membership_auc"),
    "memorises": ("membership_auc", "copy_fraction"),
    "generalises": ("membership_auc", "copy_fraction"),
    "collapsed": ("repeated_fraction", "coverage_ratio", "vendi_ratio"),
    "unrealistic": ("coverage_ratio",),
}


def _sentence(report: dict, m: dict, word: str, flags: dict, reasons: list[str]) -> str:
    if word == "undecided":
        lead = f"Undecided: {'; '.join(reasons)}."
        others = " and ".join(PHRASE[w] for w, on in flags.items() if on)
        return lead + (f" If the sets can be trusted, this generator {others}." if others else "")
    facts, names = m.get("facts") or {}, NUMBERS.get(word, ("fine_detail",))
    counted, text = plain_facts(facts, word), f"This generator {PHRASE[word]}"
    others = [w for w, on in flags.items() if on and w != word]
    if word == "memorises" and facts.get("decides"):
        # a count needs no test, and copies that are drawn again are one fault
        text, counted = f"{text}: {counted}", ""
        names = names if above(m.get("membership_auc"), MEMBERSHIP_AUC) else ()
        again = sum(r["count"] for r in facts.get("repeats") or [])
        others = [w for w in others if w != "collapsed" or again > facts["copies"]]
    else:
        n = m.get("n") or {}
        drawn, held = facts.get("images", n.get("generated", "?")), n.get("holdout", "?")
        text += f", as far as {drawn} generated images and {held} held-out ones can tell."
    fractions = [k for k in ("copy_fraction", "moved_fraction", "part_fraction") if m.get(k)]
    largest = max(fractions, key=lambda k: m[k]["value"], default="copy_fraction")
    names = [largest if k == "copy_fraction" else k for k in names]
    numbers = "; ".join(f"{title(k)} {shown(m[k])}" for k in names if m.get(k))
    told = [text, f"{numbers}." if numbers else "", counted]
    told.append(f"Also {' and '.join(others)}." if others else "")
    if word not in ("memorises", "blends"):
        told.append(limit(report.get("detectable") or {}))
    return " ".join(filter(None, told))


def plain_facts(found: dict, word: str = "") -> str:
    """The counts in words: how many images are copies of which exams, and what is drawn again."""
    parts, total, copies = [], max(found.get("images", 1), 1), found.get("copies")
    if copies:
        times = [f" ({e['count']} times)" if e["count"] > 1 else "" for e in found["exams"][:5]]
        named = [f"exam {e['train']}{t}" for e, t in zip(found["exams"], times, strict=False)]
        named += ["…"] * (found["n_exams"] > 5)
        one = found["n_exams"] == 1
        exams = "1 training exam accounts" if one else f"{found['n_exams']} training exams account"
        share = f"{copies / total:.1%}; {found['exact']} of them exact"
        parts.append(f"{exams} for {copies} of the {total} images ({share}): {', '.join(named)}.")
    repeats = found.get("repeats") or []
    often = repeats and (word == "collapsed" or repeats[0]["count"] > 0.05 * total)
    if often and not copies:
        first, share = repeats[0], sum(r["count"] for r in repeats) / total
        many = len(repeats) > 1
        said = f"{len(repeats)} image{'s are' if many else ' is'} drawn again and again"
        said += f" and make{'' if many else 's'} {share:.0%} of the output"
        parts.append(f"{said} (image {first['generated']}: {first['count']} times).")
    return " ".join(parts)


def limit(detectable: dict) -> str:
    """What would have been noticed, in words."""
    if not detectable:
        return ""
    again = f"one exam copied exactly {FEW} times or more"
    if detectable.get("smallest") is None:
        lead = "Copies of different exams could not have been noticed at this number of images"
        return f"{lead}, only {again}."
    lead = "Noisy copies of different training exams would have been noticed from about"
    return f"{lead} {detectable['smallest']:.0%} of the images upwards, and {again}."


# The controls


def make_control(kind: str, train, fresh, n: int | None = None, seed: int = 0) -> ImageSet:
    """Images of a generator with a known fault, made from real exams alone.

    Args:
        kind: `ideal`: fresh exams. `copier`: training exams, 2 % noise. `blender`: two training
            exams of one class, 30 to 70 % each. `collapsed`: two fresh exams per class again and
            again, 2 % noise. `blurred`: fresh exams, Gaussian of 1/40 of the height.
        train, fresh: `ImageSet`s: training exams, and exams that are in no other set.
        n: images to make; default as many as training exams (`ideal`, `blurred`: as fresh at most).

    Returns:
        ImageSet, float32; labels all 0 where the training exams have none.
    """
    if kind not in KINDS:
        raise EvaluationError(f"there is no control {kind!r}; choose one of {', '.join(KINDS)}.")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    train, fresh = as_set(train, "training"), as_set(fresh, "fresh")
    n, t_y, f_y = len(train) if n is None else n, train.classes, fresh.classes
    if kind in ("ideal", "blurred"):
        images, labels = fresh.images[:n], f_y[:n]
        if kind == "blurred":
            width = max(images.shape[1] / 40, 0.8)
            images = ndimage.gaussian_filter(images, (0, width, width))
    elif kind == "collapsed":
        few = np.concatenate([np.flatnonzero(f_y == c)[:2] for c in np.unique(f_y)])
        labels = rng.permutation(t_y)[np.arange(n) % len(t_y)]
        pick = [rng.choice(few[f_y[few] == c] if (f_y[few] == c).any() else few) for c in labels]
        images = _noisy(fresh.images[pick], rng)
    else:
        first = rng.permutation(len(train))[np.arange(n) % len(train)]
        labels = t_y[first]
        images = _noisy(train.images[first], rng)
        if kind == "blender":
            alike = [np.setdiff1d(np.flatnonzero(t_y == t_y[i]), i) for i in first]
            second = [rng.choice(a) if len(a) else i for i, a in zip(first, alike, strict=True)]
            part = rng.uniform(0.3, 0.7, (n, 1, 1)).astype(np.float32)
            images = (1 - part) * train.images[first] + part * train.images[second]
    return ImageSet(images.astype(np.float32), labels)


def _noisy(images: np.ndarray, rng) -> np.ndarray:
    """Each pixel times 1 ± 2 %: no pixel is equal, every exam is recognisable."""
    return (images * (1 + 0.02 * rng.standard_normal(images.shape))).astype(np.float32)


def halves(train: ImageSet, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split training exams into random halves by class and patient: one plays the fresh exams."""
    rng, labels = np.random.default_rng(seed), train.classes
    groups = np.arange(len(train)) if train.patients is None else train.patients
    first, group = np.unique(groups, return_index=True, return_inverse=True)[1:]
    chosen = np.zeros(len(first), bool)
    for c in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == c))
        chosen[members[: (len(members) + 1) // 2]] = True
    return np.flatnonzero(chosen[group]), np.flatnonzero(~chosen[group])


def run_controls(
    train, holdout, fresh=None, kinds=KINDS, rounds: int = 200, seed: int = 0
) -> list[dict]:
    """Evaluate every control as a generator is, and say whether the verdict is right.

    Without `fresh`, half of the training exams play the fresh ones.

    Returns:
        one dict per control: kind, expected, word, right, and the key numbers.
    """
    train, holdout = as_set(train, "training"), as_set(holdout, "held-out")
    train = train.take(subsample(train, 5000, seed))
    if fresh is None:
        train, fresh = (train.take(half) for half in halves(train, seed))
    train = replace(train, labels=None) if holdout.labels is None else train
    ref = Reference(train, holdout, seed=seed)
    rows = []
    for kind in kinds:
        made = make_control(kind, train, fresh, seed=seed)
        made = replace(made, labels=None) if train.labels is None else made
        m = memorization_report(train, holdout, made, rounds=rounds, seed=seed, reference=ref)
        q = quality_report(train, holdout, made, rounds=rounds, seed=seed, details=False)
        found = flat_measures({"memorization": m, "quality": q})
        shown = {k: found[k] for k in (*SHOWN, "facts", "moved_auc", "kid")}
        rows.append({"kind": kind, "expected": EXPECTED[kind], **shown})
    limits = Thresholds.of(rows)
    for row in rows:
        word = next((w for w, on in limits.flags(row).items() if on), "generalises")
        row |= {"word": word, "right": word == row["expected"]}
    return rows
