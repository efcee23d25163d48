"""The written rule, intervals in and one word out."""

import pytest

from radiogan_lib.evaluation import verdict
from radiogan_lib.evaluation.verdicts import RULE


def m(value, low, high, p=None):
    return {"value": value, "low": low, "high": high} | ({} if p is None else {"p": p})


def report(**changes):
    memorization = {
        "membership_auc": m(0.5, 0.46, 0.54, 0.5),
        "copy_fraction": m(0.05, 0.04, 0.07, 0.4),
        "blend_fraction": m(0.05, 0.03, 0.08),
        "n": {"train": 100, "holdout": 50, "generated": 100},
    }
    quality = {
        "fine_detail": m(1, 0.95, 1.05),
        "pixels": {"coverage_ratio": m(1, 0.9, 1.1), "vendi_ratio": m(1, 0.9, 1.1)},
    }
    detectable = {"smallest": 0.1, "power": 0.8}
    for name, value in changes.items():
        for place in (memorization, quality["pixels"], quality, detectable):
            if name in place:
                place[name] = value
                break
    return {"memorization": memorization, "quality": quality, "detectable": detectable}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "generalises"),
        ({"membership_auc": m(0.6, 0.55, 0.65, 0.001)}, "memorises"),
        ({"copy_fraction": m(0.2, 0.15, 0.25, 0.001)}, "memorises"),
        ({"membership_auc": m(0.55, 0.49, 0.61, 0.02)}, "generalises"),  # wide: not shown
        (
            {"copy_fraction": m(0.2, 0.15, 0.25, 0.2)},
            "generalises",
        ),  # the held-out quantile is too uncertain
        (
            {"blend_fraction": m(0.9, 0.85, 0.95), "membership_auc": m(0.8, 0.7, 0.9, 0.001)},
            "blends",
        ),
        # a third of the images blends: with memory, more of them than copies, and sharp
        (
            {"blend_fraction": m(0.38, 0.34, 0.42), "membership_auc": m(0.6, 0.55, 0.65, 0.001)},
            "blends",
        ),
        (
            {"blend_fraction": m(0.38, 0.34, 0.42)},
            "generalises",
        ),  # no memory: smooth images lie near every blend
        (
            {"blend_fraction": m(0.38, 0.34, 0.42), "copy_fraction": m(0.4, 0.35, 0.45, 0.001)},
            "memorises",
        ),
        (
            {
                "blend_fraction": m(0.38, 0.34, 0.42),
                "membership_auc": m(0.6, 0.55, 0.65, 0.001),
                "fine_detail": m(0.3, 0.2, 0.4),
            },
            "memorises",
        ),
        (
            {"blend_fraction": m(0.2, 0.17, 0.23), "membership_auc": m(0.6, 0.55, 0.65, 0.001)},
            "memorises",
        ),
        ({"coverage_ratio": m(0.3, 0.2, 0.4), "vendi_ratio": m(0.2, 0.1, 0.3)}, "collapsed"),
        ({"coverage_ratio": m(0.3, 0.2, 0.4)}, "unrealistic"),
        (
            {"vendi_ratio": m(0.3, 0.2, 0.4)},
            "generalises",
        ),  # blur lowers it too: alone it decides nothing
        ({"fine_detail": m(0.3, 0.2, 0.4)}, "blurred"),
        ({"fine_detail": m(2.5, 2, 3)}, "noisy"),
        ({"smallest": None}, "undecided"),
    ],
)
def test_rule(changes, word):
    found = verdict(report(**changes))
    assert found.word == word and (word in ("generalises", "undecided") or found.flags[word])
    assert found.rule == RULE


def test_sentence_says_how_far_it_can_see():
    found = verdict(report())
    assert (
        "100 generated exams and 50 held-out" in str(found)
        and "10%" in str(found)
        and "generalises" in str(found)
    )
    assert "noticed" in str(verdict(report(smallest=None)))


def test_second_fault_is_not_lost():
    found = verdict(report(membership_auc=m(0.6, 0.55, 0.65, 0.001), fine_detail=m(0.3, 0.2, 0.4)))
    assert found.word == "memorises" and "Also blurred" in found.sentence
