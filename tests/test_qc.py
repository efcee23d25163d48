"""Every fault that a contact sheet is for is flagged where it was planted, and a sound cohort is
left nearly alone."""

import dataclasses

import numpy as np
import pytest

import petphantom
from radiogan_lib import config
from radiogan_lib.data import qc
from radiogan_lib.data.dataset import load, prepare


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twenty phantoms of two classes at 10 mm."""
    import pandas as pd

    rows = [
        (f"e{i}", f"p{i}", c, f"phantom:{c}/{40000 + i}", "test" if i > 15 else "train")
        for i in range(20)
        for c in [petphantom.CLASSES[i % 2 * 3]]
    ]
    table = pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"])
    out = tmp_path_factory.mktemp("qc")
    prepare(
        table,
        out,
        config.load("smoke", train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0),
        "sync",
    )
    return load(out)


def spoilt(dataset, index, change, **columns):
    suv, exams = dataset.suv.copy(), dataset.exams.copy()
    suv[index] = change(suv)
    for name, value in columns.items():
        exams.loc[index, name] = value
    return qc.summary(dataclasses.replace(dataset, suv=suv, exams=exams))


def test_summary_measures_every_exam(dataset):
    table = qc.summary(dataset)
    assert list(table["exam_id"]) == dataset.exam_ids
    assert (table["height_mm"] == 858).all() or table["height_mm"].between(800, 900).all()
    assert table["body"].between(0.5, 3).all() and (table["highest"] >= table["p99"]).all()
    others = table[~table["flag"].str.contains("thick slices")]
    assert (
        len(others) == 0 and (table["flag"] == "thick slices (10.0 mm)").mean() > 0.7
    )  # 10 mm phantoms are coarse


@pytest.mark.parametrize(
    "change, columns, flag",
    [
        (lambda s: s[4][::-1], {}, "upside down"),
        (lambda s: s[4] * 0.15, {}, "another scale"),
        (lambda s: s[4] * 5, {}, "another scale"),
        (lambda s: s[4] * 0, {}, "another scale"),
        (lambda s: np.roll(s[4], 9, axis=1), {}, "cut off at the side"),
        (lambda s: s[17], {}, "the same picture as e17 in the other split"),
        (lambda s: s[5] * 1.0001, {}, "the same picture as e5"),
        (lambda s: s[4], {"height_mm": 330.0}, "shows only 330 mm"),
        (lambda s: s[4], {"height_mm": 1900.0}, "longer than the others"),
        (lambda s: s[4], {"highest": 1.2}, "nothing is brighter"),
        (lambda s: s[4], {"note": "2 of 90 slices were missing"}, "remark of the reader"),
    ],
)
def test_a_planted_fault_is_flagged(dataset, change, columns, flag):
    before, after = qc.summary(dataset)["flag"], spoilt(dataset, 4, change, **columns)["flag"]
    assert flag in after[4] and flag not in before[4]
    untouched = [i for i in range(20) if i not in (4, 5, 17)]
    assert (before[untouched] == after[untouched]).mean() > 0.9


def test_both_ends_of_a_double_are_named(dataset):
    flags = spoilt(dataset, 4, lambda s: s[17])["flag"]
    assert "the same picture as e4 in the other split" in flags[17]


def test_the_sheet_frames_what_is_flagged(dataset):
    exams = dataset.exams.assign(spacing_z_mm=3.0)
    exams.loc[4, "height_mm"] = 330.0
    figure = qc.contact_sheet(dataclasses.replace(dataset, exams=exams), per_class=4)
    assert [len(ax.images) for ax in figure.axes] == [1] * 8
    assert any("shows only" in ax.get_title() for ax in figure.axes[:4])
    assert "20 exams are flagged" in figure.get_suptitle()
    assert [ax.get_ylabel() for ax in (figure.axes[0], figure.axes[4])] == ["normal", "lung"]


def test_histograms_have_a_line_per_exam(dataset):
    figure = qc.histograms(dataset)
    assert [len(ax.lines) for ax in figure.axes] == [11, 11]


@pytest.mark.parametrize("n", [0, 1])
def test_tiny_datasets(dataset, n):
    few = dataset.subset(range(n))
    assert len(qc.summary(few)) == n
    qc.contact_sheet(few)
    qc.histograms(few)
