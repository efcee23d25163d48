"""The classifier learns, and generated exams are useful only if their labels mean something."""

import numpy as np
import pytest
import toy_mips

from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    augmentation_gain,
    label_agreement,
    statistics,
    train_classifier,
    utility,
    utility_report,
)
from radiogan_lib.evaluation.utility import side_by_side


@pytest.fixture(scope="module")
def world():
    return toy_mips.split(61, n_train=200, n_holdout=100, n_fresh=200)


@pytest.fixture(scope="module")
def classifier(world):
    return train_classifier(ImageSet(*world[0]), steps=120)


def test_classifier_learns_and_is_reproducible(world, classifier):
    p, py = world[1]
    assert np.mean([(classifier.predict(p)[py == c] == c).mean() for c in range(5)]) > 0.5, (
        "chance is 0.2"
    )
    np.testing.assert_allclose(classifier.probabilities(p).sum(axis=1), 1, rtol=1e-5)
    f = classifier.features(p)
    assert f.shape == (100, 64)
    np.testing.assert_allclose(np.linalg.norm(f, axis=1), 1, rtol=1e-4)
    twice = [
        train_classifier(ImageSet(*world[0]), steps=3, seed=5).probabilities(p) for _ in range(2)
    ]
    np.testing.assert_allclose(*twice, atol=1e-4)
    with pytest.raises(EvaluationError, match="number the classes from 0"):
        train_classifier(ImageSet(p, world[1][1] * 10**9))
    with pytest.raises(EvaluationError, match="two classes"):
        train_classifier(ImageSet(p, np.zeros(100, int)))


def test_two_classifiers_do_not_share_weights(world, classifier):
    before = classifier.probabilities(world[1][0][:5])
    train_classifier(ImageSet(*world[0]), steps=2, seed=9)
    np.testing.assert_array_equal(classifier.probabilities(world[1][0][:5]), before)


def test_trainings_side_by_side_give_what_one_after_the_other_gives(world):
    jobs = [
        lambda s=s: train_classifier(ImageSet(*world[0]), steps=4, seed=s).probabilities(
            world[1][0]
        )
        for s in (1, 2, 3)
    ]
    for apart, together in zip([job() for job in jobs], side_by_side(jobs), strict=True):
        np.testing.assert_allclose(apart, together, atol=1e-4)

    def fails():
        raise EvaluationError("no")

    with pytest.raises(EvaluationError):
        side_by_side([fails, *jobs[:1]])


def test_label_agreement_sees_wrong_labels(world, classifier):
    f, fy = world[2]
    right = label_agreement(classifier, ImageSet(f, fy), ImageSet(*world[1]))
    wrong = label_agreement(classifier, ImageSet(f, (fy + 1) % 5), ImageSet(*world[1]))
    assert right["overall"]["low"] > wrong["overall"]["high"]
    assert abs(right["overall"]["value"] - right["overall"]["ceiling"]) < 0.15
    np.testing.assert_allclose(np.sum(right["confusion"], axis=1), 1, atol=1e-3)


def test_label_agreement_weighs_classes_equally_as_its_ceiling_does():
    class Fixed:
        n_classes = 2

        def predict(self, images):
            return np.zeros(len(images), int)

    y = np.repeat([0, 1], [90, 10])
    images = np.zeros((100, 8, 8), np.float32)
    mostly_first = label_agreement(Fixed(), ImageSet(images, y), ImageSet(images, y))["overall"]
    assert mostly_first["value"] == mostly_first["ceiling"] == 0.5  # not the 0.9 of all images
    equal = label_agreement(Fixed(), ImageSet(images, np.repeat([0, 1], 50)))["overall"]
    assert mostly_first["high"] - mostly_first["low"] > equal["high"] - equal["low"]
    assert (equal["low"], equal["high"]) == pytest.approx(statistics.wilson(50, 100))


def test_intervals_hold_the_value():
    y = np.repeat([0, 1], 40)
    hit = [np.where(np.random.default_rng(s).random(80) < 0.8, y, 1 - y) for s in range(3)]
    m = utility.balanced_accuracy(hit, y)
    assert m["low"] < m["value"] < m["high"] and m["value"] == pytest.approx(0.8, abs=0.1)
    gain = utility._paired([y] * 3, hit, y, 100, 0)
    assert gain["high"] < 0 and gain["value"] == pytest.approx(m["value"] - 1)


def test_report(world):
    (p, py), (f, fy) = world[1:]
    r = utility_report(*(ImageSet(*w) for w in world), epochs=25, sizes=(10, 500), rounds=50)
    assert [a["per_class"] for a in r["augmentation"]] == [10], (
        "a size that the training set cannot give is left out"
    )
    assert (
        0 <= r["tstr"]["low"] <= r["tstr"]["value"] <= r["tstr"]["high"] <= 1 and r["chance"] == 0.2
    )
    nonsense = train_classifier(ImageSet(f, np.random.default_rng(0).permutation(fy)), steps=60)
    assert np.mean(nonsense.predict(p) == py) < r["trtr"]["value"]


def test_augmentation_needs_enough_exams(world, classifier):
    assert augmentation_gain(*(ImageSet(*w) for w in world[:2]), classifier, sizes=(1000,)) == []
