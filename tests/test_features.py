"""Pooling, distances and intervals: against plain definitions."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from radiogan_lib.evaluation import features
from radiogan_lib.evaluation import statistics as intervals


def test_import_needs_no_tensorflow():
    code = (
        "import sys; from radiogan_lib import evaluation as e; e.memorization_report, "
        "e.verdict, e.evaluate, e.train_classifier, "
        "e.walk; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'jax')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists():
    from radiogan_lib import evaluation

    for name in evaluation.__all__:
        assert getattr(evaluation, name) is not None
    assert callable(evaluation.verdict), "the function, not the module of the same name"
    with pytest.raises(AttributeError, match="no_such_measure"):
        _ = evaluation.no_such_measure


@pytest.mark.parametrize(
    ("shape", "out"),
    [((80, 48), (40, 24)), ((50, 30), (40, 24)), ((7, 5), (3, 2)), ((4, 3), (8, 9))],
)
def test_area_average_keeps_the_mean_and_equals_fine_sampling(shape, out):
    x = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    y = features.area_average(x, out)
    assert y.shape == (3, *out)
    np.testing.assert_allclose(y.mean(axis=(1, 2)), x.mean(axis=(1, 2)), rtol=1e-5)
    fine = np.kron(
        x, np.ones((1, *out))
    )  # every pixel split into out × out: then whole blocks are averaged
    blocks = fine.reshape(3, out[0], shape[0], out[1], shape[1]).mean(axis=(2, 4))
    np.testing.assert_allclose(y, blocks, rtol=1e-4)


def test_pooled_shape_is_common_to_all_profiles():
    assert {features.pooled_shape((5 * 2**d, 3 * 2**d)) for d in (3, 4, 5, 7)} == {(40, 24)}


def test_bad_images_are_refused_by_name():
    good = np.zeros((3, 4, 5))
    assert features.check_images(good[..., None], "training").shape == (3, 4, 5)
    for bad, word in (
        (np.zeros((4, 5)), "shape"),
        (np.zeros((0, 4, 5)), "shape"),
        (np.full((2, 4, 5), np.nan), "NaN"),
        ([[1], [2, 3]], "numbers"),
    ):
        with pytest.raises(features.EvaluationError, match=word):
            features.check_images(bad, "held-out")
    with pytest.raises(features.EvaluationError, match="labels"):
        features.as_set(features.ImageSet(np.zeros((2, 4, 5)), np.array([0.5, 1])), "training")


def test_nearest_agrees_with_all_distances(monkeypatch):
    rng = np.random.default_rng(1)
    a, b = (
        rng.normal(5, 1, (37, 9)).astype(np.float32),
        rng.normal(5, 1, (53, 9)).astype(np.float32),
    )
    monkeypatch.setattr(features.blocks, "__defaults__", (53 * 16 * 5,))  # five rows per block
    full = cdist(a, b)
    d, i = features.nearest_k(a, b, 4)
    np.testing.assert_array_equal(i, np.argsort(full, axis=1)[:, :4])
    np.testing.assert_allclose(d, np.sort(full, axis=1)[:, :4], rtol=1e-5)
    each = np.arange(len(a))
    own, j = features.nearest_k(a, a, 1, (each, each))
    assert (j[:, 0] != np.arange(len(a))).all() and (own > 0).all()


def test_a_copy_far_from_the_origin_is_at_distance_zero():
    b = (1e4 + np.random.default_rng(2).random((20, 6))).astype(np.float32)
    d, i = features.nearest_k(b[3:4], b)
    assert d[0, 0] == 0 and i[0, 0] == 3


def test_distinct_counts_repeats_once():
    x = np.random.default_rng(3).random((6, 4)).astype(np.float32)
    stands = features.distinct(np.concatenate([x, x + 1e-4, x]), 0.01)
    np.testing.assert_array_equal(stands, np.tile(np.arange(6), 3))


def test_auc_within_classes():
    rng = np.random.default_rng(4)
    p, n = rng.normal(0.7, 1, 60), rng.normal(0, 1, 80)
    one = intervals.auc(p, n)
    assert one["value"] == pytest.approx(roc_auc_score(np.repeat([1, 0], [60, 80]), np.r_[p, n]))
    assert one["low"] < one["value"] < one["high"] and one["p"] < 0.01
    # a class that scores higher and is commoner on one side must not look like an effect
    lp, ln = np.repeat([0, 1], [50, 10]), np.repeat([0, 1], [10, 70])
    p, n = rng.normal(5 * (lp == 0), 1), rng.normal(5 * (ln == 0), 1)
    assert intervals.auc(p, n)["p"] < 0.01
    assert intervals.auc(p, n, (lp, ln))["p"] > 0.05


def test_permutation_p_is_uniform_without_an_effect():
    ps = [
        intervals.auc(*np.random.default_rng(s).normal(size=(2, 25)), rounds=99, seed=s)["p"]
        for s in range(80)
    ]
    assert 0.35 < np.mean(ps) < 0.65 and np.mean(np.array(ps) <= 0.1) < 0.25


def test_wilson_and_weights():
    low, high = intervals.wilson(0, 20)
    assert low == 0 and 0.1 < high < 0.25
    w = intervals.matching_weights(np.array([0, 0, 0, 1]), np.array([0, 1]))
    assert w[3] == pytest.approx(3 * w[0]) and w.sum() == pytest.approx(4)
    assert intervals.weighted_quantile(np.arange(1, 21), 0.05) == 1
    assert intervals.weighted_quantile([1, 2, 3], 0.5, [1, 1, 8]) == 3


def test_spectrum_sees_blur_and_noise():
    from scipy.ndimage import gaussian_filter

    x = np.random.default_rng(5).random((10, 40, 24)).astype(np.float32)
    assert (
        features.spectrum(gaussian_filter(x, (0, 1, 1)))[:, -1] < features.spectrum(x)[:, -1] - 2
    ).all()


@pytest.mark.parametrize(("shift", "gain"), [((0, 0), 1), ((2, -2), 0.7), ((-3, 1), 1.3)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_moved_distance_finds_a_shifted_mirrored_rescaled_exam(shift, gain, mirrored):
    from scipy.ndimage import gaussian_filter
    from scipy.ndimage import shift as move

    bank = gaussian_filter(np.random.default_rng(6).random((40, 32, 24)), (0, 1.5, 1.5))
    q = move(bank[[7, 19]], (0, *shift), order=1, mode="nearest") * gain + 0.2
    q = q[:, :, ::-1] if mirrored else q
    t, x = (features.Moved(v.astype(np.float32), (32, 24)) for v in (bank, q))
    d, i = x.nearest(t, 2)
    assert i[:, 0].tolist() == [7, 19] and (d[:, 0] < 0.2 * d[:, 1]).all()
    own = np.arange(40)
    assert (t.nearest(t, 1, (own, own))[1][:, 0] != own).all()


@pytest.mark.parametrize("shape", [(32, 24), (8, 8), (5, 4), (1, 9)])
def test_registration_takes_away_parts_of_a_pixel_and_small_turns(shape):
    from scipy.ndimage import gaussian_filter, rotate
    from scipy.ndimage import shift as move

    bank = gaussian_filter(np.random.default_rng(6).random((40, *shape)), (0, 1.5, 1.5))
    changed = move(bank[:2], (0, 0.4, 0.3), order=3, mode="nearest")
    changed = rotate(changed, 3, (1, 2), reshape=False, order=3, mode="nearest")[:, :, ::-1]
    t, x = (features.Moved(v.astype(np.float32), shape) for v in (bank, 0.7 * changed))
    d, i = x.nearest(t, 5)
    registered, index = x.registered(t, d, i)
    assert registered.shape == index.shape == (2,) and (registered >= 0).all()
    if min(shape) >= 8:
        assert index.tolist() == [0, 1]
        assert (registered < 0.5 * d[:, 0]).all()
    own = np.arange(40)
    d, i = t.nearest(t, 5, (own, own))
    registered, index = t.registered(t, d, i)
    assert (registered <= d[:, 0] + 1e-3).all() and (index != own).all()
