"""Exams of one patient are no independent evidence: intervals must not shrink when every exam is there twice."""

import numpy as np
import pytest
import toy_mips

from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    memorization_report,
    quality,
    quality_report,
    utility,
)
from radiogan_lib.evaluation import statistics as intervals


def width(m):
    return m["high"] - m["low"]


def test_auc_of_doubled_exams():
    rng = np.random.default_rng(3)
    p, n, lp, ln = (
        rng.normal(0.4, 1, 60),
        rng.normal(0, 1, 50),
        np.arange(60) % 3,
        np.arange(50) % 3,
    )
    once = intervals.auc(p, n, (lp, ln))
    twice = [np.repeat(v, 2) for v in (p, n, lp, ln)]
    naive = intervals.auc(*twice[:2], twice[2:])
    groups = np.repeat(np.arange(60), 2), np.repeat(np.arange(50), 2)
    patients = intervals.auc(*twice[:2], twice[2:], groups)
    assert naive["value"] == pytest.approx(once["value"]) == pytest.approx(patients["value"])
    assert width(naive) < 0.8 * width(once), (
        "the naive interval believes that it has twice the exams"
    )
    assert width(patients) == pytest.approx(width(once), rel=0.05)
    assert (
        patients["null_sd"] == pytest.approx(once["null_sd"], rel=0.15)
        and naive["null_sd"] < 0.8 * once["null_sd"]
    )
    assert patients["p"] > naive["p"]


def test_single_exams_need_no_groups():
    rng = np.random.default_rng(4)
    p, n = rng.normal(0.2, 1, 40), rng.normal(0, 1, 30)
    one, same = intervals.auc(p, n), intervals.auc(p, n, groups=(np.arange(40), np.arange(30)))
    assert same["value"] == one["value"] and width(same) == pytest.approx(width(one), rel=0.01)
    assert same["p"] == pytest.approx(one["p"], abs=0.05)


def test_false_alarms_of_patients_with_many_exams():
    """Ten patients a side, eight like exams each: the naive test finds a difference far too often, the grouped one does not."""
    ids, found = np.repeat(np.arange(10), 8), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = (np.repeat(rng.normal(size=10), 8) + 0.2 * rng.normal(size=80) for _ in range(2))
        found.append(
            [
                intervals.auc(a, b, rounds=99, seed=seed)["p"] <= 0.05,
                intervals.auc(a, b, groups=(ids, ids), rounds=99, seed=seed)["p"] <= 0.05,
            ]
        )
    naive, grouped = np.mean(found, axis=0)
    assert naive > 0.2 and grouped < 0.13


def test_bootstrap_and_permutation_keep_a_patient_together():
    groups, rng = np.array([0, 0, 1, 2, 2, 2]), np.random.default_rng(0)
    for _ in range(20):
        drawn = np.bincount(intervals.resample(6, rng, groups), minlength=6)
        assert drawn[0] == drawn[1] and drawn[3] == drawn[4] == drawn[5]
        order = intervals.cluster_order(4, groups, rng)
        assert sorted(order) == list(range(10))
        assert np.ptp(np.flatnonzero(np.isin(order, [7, 8, 9]))) == 2


def test_reports_widen():
    (t, ty), (p, py), (f, fy) = toy_mips.split(71, n_train=100, n_holdout=60, n_fresh=100)
    again = [np.repeat(v, 2, axis=0) for v in (t, ty, p, py)]
    ids = [f"p{k // 2}" for k in range(200)], [f"h{k // 2}" for k in range(120)]
    noise = np.random.default_rng(0)
    again[0], again[2] = (
        x * noise.uniform(0.98, 1.02, (len(x), 1, 1)).astype(np.float32)
        for x in (again[0], again[2])
    )
    drawn = ImageSet(f, fy)
    alone = ImageSet(again[0], again[1]), ImageSet(again[2], again[3])
    known = [ImageSet(s.images, s.labels, i) for s, i in zip(alone, ids, strict=True)]
    naive, grouped = (memorization_report(*s, drawn, rounds=300) for s in (alone, known))
    for name in ("membership_auc", "nearest_ratio"):
        assert width(grouped[name]) > 1.1 * width(naive[name]), name
        assert grouped[name]["value"] == naive[name]["value"]
    few = fy < 3
    found = [
        quality_report(alone[0], p, drawn.take(few), rounds=400)["pixels"]["coverage_ratio"]
        for p in (alone[1], known[1])
    ]
    assert width(found[1]) > 1.1 * width(found[0])
    seen = np.where(
        np.repeat(np.random.default_rng(1).random(60), 2) < 0.7, again[3], (again[3] + 1) % 5
    )
    use = [
        utility.balanced_accuracy([seen], again[3], 400, 0, g) for g in (None, np.arange(120) // 2)
    ]
    assert width(use[1]) > 1.2 * width(use[0])
    with pytest.raises(EvaluationError, match="held-out patients have 3"):
        memorization_report(alone[0], ImageSet(again[2], again[3], [1, 2, 3]), drawn)


def test_quality_of_exams_given_twice_is_that_of_the_patients():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(80, 6)), rng.normal(0.3, 1, size=(50, 6))
    ids = np.arange(100) // 2
    once, naive, grouped = (
        quality.kid(x, y, rounds=400),
        quality.kid(x, np.repeat(y, 2, axis=0), rounds=400),
        quality.kid(x, np.repeat(y, 2, axis=0), rounds=400, y_groups=ids),
    )
    assert grouped["value"] == pytest.approx(once["value"]), (
        "pairs of one patient are no pairs of exams"
    )
    assert naive["value"] > grouped["value"] and width(grouped) > 1.1 * width(naive)
    assert width(grouped) == pytest.approx(width(once), rel=0.1)
    alone = quality.kid(x, y, rounds=400, x_groups=np.arange(80), y_groups=np.arange(50))
    assert alone["value"] == pytest.approx(once["value"]) and width(alone) == pytest.approx(
        width(once), rel=0.1
    )
    hit = np.repeat(rng.random(50) < 0.6, 2)
    value, low, high = intervals.share(hit, None, ids)
    assert value == hit.mean() and high - low > 1.3 * np.subtract(*intervals.share(hit)[:0:-1])
    assert intervals.share(np.ones(100, bool), None, ids)[1:] == intervals.wilson(50, 50)
    assert intervals.mean_variance(np.repeat(y[:, 0], 2), None, ids) == pytest.approx(
        2 * intervals.mean_variance(np.repeat(y[:, 0], 2)), rel=0.03
    )


def test_quality_and_use_take_the_patients():
    (t, ty), (p, py), (f, fy) = toy_mips.split(72, n_train=100, n_holdout=60, n_fresh=200)
    noise = np.random.default_rng(0)
    t, p = (
        np.repeat(x, 2, axis=0) * noise.uniform(0.98, 1.02, (2 * len(x), 1, 1)).astype(np.float32)
        for x in (t, p)
    )
    ty, py, t_ids, p_ids = (
        np.repeat(ty, 2),
        np.repeat(py, 2),
        np.arange(200) // 2,
        np.arange(120) // 2,
    )
    naive, grouped = (
        quality_report(ImageSet(t, ty, a), ImageSet(p, py, b), ImageSet(f, fy), rounds=100)
        for a, b in ((None, None), (t_ids, p_ids))
    )
    for name in ("coverage", "vendi_ratio"):
        assert width(grouped["pixels"][name]) > width(naive["pixels"][name]), name
    for name in ("fine_detail", "fine_detail_floor"):
        assert (
            width(grouped[name]) > 1.1 * width(naive[name])
            and grouped[name]["value"] == naive[name]["value"]
        ), name
    picked = utility._choose(np.arange(200), 100, t_ids, noise)
    assert len(set(t_ids[picked])) == 100, "one exam per patient while there are enough"
    assert len(set(utility._choose(np.arange(200), 150, t_ids, noise))) == 150
