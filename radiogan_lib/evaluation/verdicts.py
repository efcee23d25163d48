"""One sentence from many intervals, by a rule that is written down.

The rule looks at intervals, never at bare values, and only at measures that stayed silent on fresh exams and spoke on
the right control (benchmarks/controls.py prints the table). C_T, the FLD gap and the nearest ratio decide nothing: blur
sets them off as well. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Set by hand, between what fresh exams and the matching control gave on the surrogate of tests/ and three shuffles of phantoms;
# not re-derived by permutation. What they do on ten other shuffles (500 training, 250 held-out, 500 generated exams) is in
# benchmarks/controls.md: 50 of 50 controls named right, no false alarm; copies noticed in 9 of 10 trials from 10 % of the
# images on, blends from 20 % on as "memorises", and from about 35 % on as "blends".
BLEND_FRACTION = 0.5  # lower bound; fresh exams 0.05, blurred up to 0.3, blender above 0.95
BLEND_PART = 0.3  # the same where memory is noticed too; what blur alone reaches
MEMBERSHIP_AUC = 0.52  # lower bound, and p < 0.01; fresh exams 0.5
COPY_FRACTION = 0.08  # lower bound, and p < 0.01; fresh exams 0.05
COVERAGE_RATIO = 0.6  # upper bound; fresh exams 1
VENDI_RATIO = 0.7  # upper bound, only together with coverage
FINE_DETAIL = (0.6, 1.67)  # upper and lower bound of the amplitude ratio; fresh exams 1

RULE = f"""In this order, on 95 % intervals:
1. blends: the lower bound of the blend fraction is above {BLEND_FRACTION}; or it is above {BLEND_PART}, memory is noticed \
(2), more images are blends than copies (it is above the upper bound of the copy fraction), and they are not blurred (4).
2. memorises: the lower bound of the membership AUC is above {MEMBERSHIP_AUC}, or that of the copy fraction above \
{COPY_FRACTION}, with p < 0.01 (permutation; for copies also: more suspicious beside training than beside held-out exams).
3. collapsed: the upper bounds of the coverage ratio and of the Vendi ratio are below {COVERAGE_RATIO} and {VENDI_RATIO}.
4. blurred: the amplitude of fine detail is below {FINE_DETAIL[0]} of real exams' (upper bound); noisy: above \
{FINE_DETAIL[1]} (lower bound); unrealistic: coverage ratio below {COVERAGE_RATIO} without collapse.
5. undecided: none of these, but half of the images could have been copies and the test would not have seen it.
6. generalises: none of these."""


@dataclass(frozen=True)
class Verdict:
    """`word` is one of blends, memorises, collapsed, blurred, noisy, unrealistic, undecided, generalises."""

    word: str
    sentence: str
    flags: dict[str, bool] = field(default_factory=dict)
    rule: str = RULE

    def __str__(self) -> str:
        return self.sentence


def _above(metric: dict | None, bound: float, p: float | None = None) -> bool:
    if not metric or metric.get("low") is None:
        return False
    return metric["low"] > bound and (
        p is None or (metric.get("p") is not None and metric["p"] < p)
    )


def _below(metric: dict | None, bound: float) -> bool:
    return bool(metric) and metric.get("high") is not None and metric["high"] < bound


def copying(memorization: dict) -> bool:
    """Rule 2: used for the verdict and for the smallest share of copies that could be detected."""
    return _above(memorization.get("membership_auc"), MEMBERSHIP_AUC, 0.01) or _above(
        memorization.get("copy_fraction"), COPY_FRACTION, 0.01
    )


def blending(memorization: dict, blurred: bool = False) -> bool:
    """Rule 1: most images are blends; or many are, memory is noticed, and blends explain it better than copies do.

    Blurred images lie near every blend, up to a blend fraction of 0.3, and have no memory: that is why the second half asks for both.
    """
    blend, copy = memorization.get("blend_fraction"), memorization.get("copy_fraction") or {}
    many = (
        copying(memorization)
        and not blurred
        and copy.get("high") is not None
        and _above(blend, max(BLEND_PART, copy["high"]))
    )
    return _above(blend, BLEND_FRACTION) or many


def flags_of(report: dict) -> dict[str, bool]:
    """Which faults the intervals show. More than one may be true; the order in `RULE` picks the word."""
    memorization, quality = report.get("memorization", {}), report.get("quality", {})
    pixels, fine = quality.get("pixels", {}), quality.get("fine_detail")
    narrow = _below(pixels.get("coverage_ratio"), COVERAGE_RATIO)
    collapsed = narrow and _below(pixels.get("vendi_ratio"), VENDI_RATIO)
    blurred = _below(fine, FINE_DETAIL[0])
    return {
        "blends": blending(memorization, blurred),
        "memorises": copying(memorization),
        "collapsed": collapsed,
        "blurred": blurred,
        "noisy": _above(fine, FINE_DETAIL[1]),
        "unrealistic": narrow and not collapsed,
    }


def verdict(report: dict) -> Verdict:
    """The verdict of a report of `evaluate` (or of any dict with `memorization` and `quality`)."""
    flags = flags_of(report)
    n = report.get("memorization", {}).get("n", {})
    detectable = report.get("detectable") or {}
    smallest = detectable.get("smallest")
    blind = bool(detectable) and smallest is None
    word = next((w for w, on in flags.items() if on), "undecided" if blind else "generalises")
    facts = _facts(report, word)
    scope = f"as far as {n.get('generated', '?')} generated exams and {n.get('holdout', '?')} held-out ones can tell"
    limit = (
        ""
        if not detectable
        else " Not even half copies would have been noticed at this number of exams."
        if blind
        else f" Copies would have been noticed from about {smallest:.0%} of the images upwards."
    )
    others = [w for w, on in flags.items() if on and w != word]
    also = f" Also {' and '.join(others)}." if others else ""
    lead = "Undecided" if word == "undecided" else f"This generator {_PHRASE[word]}"
    return Verdict(word, f"{lead}, {scope}{facts}.{also}{limit}", flags)


_PHRASE = {
    "blends": "blends training exams",
    "memorises": "memorises training exams",
    "collapsed": "has collapsed",
    "blurred": "is blurred",
    "noisy": "is noisy",
    "unrealistic": "draws exams unlike real ones",
    "generalises": "generalises",
}


def _facts(report: dict, word: str) -> str:
    """The numbers behind the word, in brackets."""
    memorization, quality = report.get("memorization", {}), report.get("quality", {})
    pixels = quality.get("pixels", {})
    names = {
        "blends": [("blend fraction", memorization.get("blend_fraction"))],
        "collapsed": [
            ("coverage ratio", pixels.get("coverage_ratio")),
            ("Vendi ratio", pixels.get("vendi_ratio")),
        ],
        "blurred": [("fine detail", quality.get("fine_detail"))],
        "noisy": [("fine detail", quality.get("fine_detail"))],
        "unrealistic": [("coverage ratio", pixels.get("coverage_ratio"))],
    }
    chosen = names.get(
        word,
        [
            ("membership AUC", memorization.get("membership_auc")),
            ("copy fraction", memorization.get("copy_fraction")),
        ],
    )
    parts = [
        f"{name} {m['value']:.2f} [{m['low']:.2f}, {m['high']:.2f}]"
        for name, m in chosen
        if m and m.get("low") is not None
    ]
    return f" ({'; '.join(parts)})" if parts else ""
