"""The written rule, intervals in and one word out."""

import pytest

from radiogan_lib.evaluation import verdict
from radiogan_lib.evaluation.verdicts import RULE


def m(value, low, high, p=None):
    return {"value": value, "low": low, "high": high} | ({} if p is None else {"p": p})


def report(**changes):
    memorization = {
        "membership_auc": m(0.5, 0.46, 0.54, 0.5),
        "moved_auc": m(0.5, 0.46, 0.54, 0.5),
        "copy_fraction": m(0.05, 0.04, 0.07, 0.4),
        "moved_fraction": m(0.05, 0.04, 0.07, 0.4),
        "part_fraction": m(0.05, 0.04, 0.07, 0.4),
        "blend_fraction": m(0.05, 0.03, 0.08, 0.4),
        "repeated_fraction": m(0, 0, 0.02),
        "facts": {"copies": 0, "images": 100, "exams": [], "n_exams": 0, "decides": False},
        "doubts": [],
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
        else:
            raise KeyError(name)
    return {"memorization": memorization, "quality": quality, "detectable": detectable}


KNOWN = {"membership_auc": m(0.6, 0.55, 0.65, 0.001)}
COPIES = {
    "copies": 60,
    "exact": 60,
    "images": 100,
    "exams": [{"train": 7, "count": 40}, {"train": 3, "count": 20}],
    "n_exams": 2,
    "decides": True,
}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "generalises"),
        (KNOWN, "memorises"),
        ({"moved_auc": m(0.6, 0.55, 0.65, 0.001)}, "memorises"),
        ({"copy_fraction": m(0.2, 0.15, 0.25, 0.001)}, "memorises"),
        ({"moved_fraction": m(0.2, 0.15, 0.25, 0.001)}, "memorises"),
        ({"part_fraction": m(0.2, 0.15, 0.25, 0.001)}, "memorises"),
        ({"membership_auc": m(0.55, 0.49, 0.61, 0.02)}, "generalises"),  # wide: not shown
        ({"copy_fraction": m(0.2, 0.15, 0.25, 0.2)}, "generalises"),  # a quantile of too few exams
        ({"facts": COPIES}, "memorises"),
        ({"facts": COPIES, "doubts": ["the sets are odd"]}, "memorises"),  # a fact stays one
        ({**KNOWN, "doubts": ["the sets are odd"]}, "undecided"),
        ({"blend_fraction": m(0.9, 0.85, 0.95, 0.001), **KNOWN}, "blends"),
        ({"blend_fraction": m(0.38, 0.34, 0.42, 0.001), **KNOWN}, "blends"),
        ({"blend_fraction": m(0.9, 0.85, 0.95, 0.001)}, "generalises"),  # no memory, no blends
        (
            {
                "blend_fraction": m(0.38, 0.34, 0.42, 0.001),
                "copy_fraction": m(0.5, 0.45, 0.55, 0.001),
                **KNOWN,
            },
            "memorises",
        ),  # more copies than blends
        ({"repeated_fraction": m(0.6, 0.55, 0.65)}, "collapsed"),
        ({"coverage_ratio": m(0.3, 0.2, 0.4), "vendi_ratio": m(0.2, 0.1, 0.3)}, "collapsed"),
        ({"coverage_ratio": m(0.3, 0.2, 0.4)}, "unrealistic"),
        ({"vendi_ratio": m(0.3, 0.2, 0.4)}, "generalises"),  # blur lowers it too
        ({"fine_detail": m(0.3, 0.2, 0.4)}, "blurred"),
        ({"fine_detail": m(2.5, 2, 3)}, "noisy"),
        ({"smallest": None}, "undecided"),
    ],
)
def test_rule(changes, word):
    found = verdict(report(**changes))
    assert found.word == word and (word in ("generalises", "undecided") or found.flags[word])


def test_sentence_says_how_far_it_can_see():
    found = verdict(report())
    assert "100 generated images and 50 held-out" in str(found)
    few = verdict(report(facts={"images": 60, "exams": [], "decides": False}))
    assert "60 generated images and 50 held-out" in str(few), "the images that were compared"
    assert "different training exams would have been noticed from about 10%" in str(found)
    assert "generalises" in str(found) and "one exam copied exactly 3 times" in str(found)
    assert "Membership AUC 0.50 (0.46–0.54), p 0.5" in str(found), "by the registry's titles"


def test_sentence_names_the_exams_that_are_drawn_again():
    text = str(verdict(report(facts=COPIES)))
    assert "2 training exams account for 60 of the 100 images" in text
    assert "exam 7 (40 times)" in text and "Membership AUC" not in text


def test_second_fault_is_not_lost():
    found = verdict(report(**KNOWN, fine_detail=m(0.3, 0.2, 0.4)))
    assert found.word == "memorises" and "Also blurred" in found.sentence
    assert found.rule == RULE
