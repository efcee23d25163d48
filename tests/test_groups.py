"""Exams of one patient are no independent evidence: of each patient one exam is used, and numbers
do not grow surer."""

import numpy as np
import pytest
import toy_mips

from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    memorization_report,
    quality_report,
    utility,
)
from radiogan_lib.evaluation.features import one_each


@pytest.fixture(scope="module")
def world():
    """Every exam twice, a little noisier; its patient known or not."""
    noise, sets = np.random.default_rng(0), []
    for images, labels in toy_mips.split(71, n_train=100, n_holdout=60, n_fresh=100):
        again = np.repeat(images, 2, axis=0)
        again = again * noise.uniform(0.98, 1.02, (len(again), 1, 1)).astype(np.float32)
        ids = np.array([f"p{k // 2}" for k in range(len(again))])
        sets.append(ImageSet(again, np.repeat(labels, 2), ids))
    return sets


def width(m):
    return m["high"] - m["low"]


def test_one_exam_each(world):
    index = one_each(world[0], 3)
    assert len(index) == 100 and len(set(world[0].patients[index])) == 100
    assert set(one_each(world[0], 4)) != set(index), "which one is left to chance"
    np.testing.assert_array_equal(one_each(ImageSet(np.zeros((3, 2, 2)))), [0, 1, 2])


def test_reports_take_one_exam_of_a_patient(world):
    t, p, f = world
    drawn = ImageSet(f.images[::2], f.labels[::2])
    known = memorization_report(t, p, drawn, rounds=100)
    assert known["n"]["holdout"] == 60 and known["membership_auc"]["n_positive"] == 100
    naive = memorization_report(
        ImageSet(t.images, t.labels), ImageSet(p.images, p.labels), drawn, rounds=100
    )
    assert width(known["membership_auc"]) > 1.1 * width(naive["membership_auc"])
    found = [
        quality_report(t, x, drawn, rounds=100, details=False)["pixels"]["kid"]
        for x in (p, ImageSet(p.images, p.labels))
    ]
    assert width(found[0]) > width(found[1])
    with pytest.raises(EvaluationError, match="held-out patients have 3"):
        memorization_report(t, ImageSet(p.images, p.labels, [1, 2, 3]), drawn)


def test_a_copy_of_any_exam_is_found(world):
    t, p, _ = world
    r = memorization_report(t, p, ImageSet(t.images[1::2], t.labels[1::2]), rounds=20)
    assert r["facts"]["copies"] == 100 and r["facts"]["decides"]


def test_few_real_exams_are_of_different_patients(world, monkeypatch):
    asked = []

    class Fake:
        n_classes = 5

        def predict(self, images):
            return np.zeros(len(images), int)

    def fake(few, *_, **__):
        asked.append(few)
        return Fake()

    monkeypatch.setattr(utility, "train_classifier", fake)
    rows = utility.augmentation_gain(*world[:2], Fake(), sizes=(10, 30), repeats=1)
    assert [r["per_class"] for r in rows] == [10] and len(asked) == 2
    assert all(len(few) == 50 and few.patients is not None for few in asked)
    assert all(len(set(few.patients)) == 50 for few in asked)
