"""The five controls over ten seeds: every verdict right. benchmarks/controls.py repeats this on full phantoms."""

import numpy as np
import pytest
import toy_mips

from radiogan_lib.evaluation import EvaluationError, make_control, run_controls
from radiogan_lib.evaluation.controls import EXPECTED, KINDS, halves


@pytest.mark.parametrize("seed", range(10))
def test_every_verdict_is_right(seed):
    (t, ty), (p, py), (f, fy) = toy_mips.split(100 + seed, n_train=250, n_holdout=150, n_fresh=250)
    rows = run_controls(t, p, f, ty, py, fy, seed=seed, rounds=100)
    assert {r["kind"]: r["word"] for r in rows} == EXPECTED


def test_controls_without_a_simulator():
    (t, ty), (p, py), _ = toy_mips.split(7, n_train=300, n_holdout=150, n_fresh=5)
    rows = run_controls(
        t, p, train_labels=ty, holdout_labels=py, rounds=50, kinds=("ideal", "copier")
    )
    assert [r["word"] for r in rows] == ["generalises", "memorises"]
    a, b = halves(t, ty)
    assert not set(a) & set(b) and len(a) + len(b) == len(t) and (np.bincount(ty[a]) == 30).all()
    c, d = halves(t, ty, groups=np.arange(len(t)) // 2)
    assert not {k // 2 for k in c} & {k // 2 for k in d} and len(c) + len(d) == len(t), (
        "a patient is in one half"
    )


def test_controls_are_what_they_say():
    (t, ty), _, (f, fy) = toy_mips.split(8, n_train=50, n_holdout=5, n_fresh=50)
    for kind in KINDS:
        images, labels = make_control(kind, t, f, ty, fy, seed=1)
        again, _ = make_control(kind, t, f, ty, fy, seed=1)
        np.testing.assert_array_equal(images, again)
        assert images.shape == t.shape and images.dtype == np.float32 and len(labels) == len(images)
        assert images.min() >= 0 and set(labels) == set(range(5))
    called = make_control("ideal", t, lambda n: (f[:n], fy[:n]), ty, n=20)[0]
    np.testing.assert_array_equal(called, f[:20])
    with pytest.raises(EvaluationError, match="copier"):
        make_control("copyer", t, f)
