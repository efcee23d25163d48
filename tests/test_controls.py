"""The five controls over ten seeds: every verdict right.

benchmarks/controls.py repeats this on full phantoms.
"""

import numpy as np
import pytest
import toy_mips

from radiogan_lib.evaluation import EvaluationError, ImageSet, make_control, run_controls
from radiogan_lib.evaluation.verdicts import EXPECTED, KINDS, Thresholds, halves


@pytest.mark.parametrize("seed", range(10))
def test_every_verdict_is_right(seed):
    world = toy_mips.split(100 + seed, n_train=250, n_holdout=150, n_fresh=250)
    rows = run_controls(*(ImageSet(*w) for w in world), seed=seed, rounds=50)
    assert {r["kind"]: r["word"] for r in rows} == EXPECTED


def test_controls_without_a_simulator():
    (t, ty), (p, py), _ = toy_mips.split(7, n_train=300, n_holdout=150, n_fresh=5)
    train = ImageSet(t, ty)
    rows = run_controls(train, ImageSet(p, py), rounds=50, kinds=("ideal", "copier"))
    assert [r["word"] for r in rows] == ["generalises", "memorises"]
    a, b = halves(train)
    assert not set(a) & set(b) and len(a) + len(b) == len(t) and (np.bincount(ty[a]) == 30).all()
    c, d = halves(ImageSet(t, ty, np.arange(len(t)) // 2))
    assert not {k // 2 for k in c} & {k // 2 for k in d} and len(c) + len(d) == len(t), (
        "a patient is in one half"
    )


def test_controls_are_what_they_say():
    train, _, fresh = (ImageSet(*w) for w in toy_mips.split(8, n_train=50, n_holdout=5, n_fresh=50))
    for kind in KINDS:
        made, again = (make_control(kind, train, fresh, seed=1) for _ in range(2))
        np.testing.assert_array_equal(made.images, again.images)
        assert made.images.shape == train.images.shape and made.images.dtype == np.float32
        assert set(made.labels) == set(range(5))
    tiny = ImageSet(np.random.default_rng(0).random((20, 8, 8)).astype(np.float32))
    assert make_control("blurred", tiny, tiny).images.std() < 0.7 * tiny.images.std(), (
        "at 8 × 8, too"
    )
    with pytest.raises(EvaluationError, match="copier"):
        make_control("copyer", train, fresh)


def row(kind, blend, fine):
    m = lambda v: {"value": v, "low": v - 0.05, "high": v + 0.05, "p": 0.001 if v > 0.1 else 0.5}  # noqa: E731
    known = m(0.8) if kind in ("copier", "blender") else {**m(0.5), "p": 0.5}
    facts = {"decides": kind == "copier", "copies": 5 * (kind == "copier"), "images": 5}
    return {
        "kind": kind,
        "blend_fraction": m(blend),
        "fine_detail": m(fine),
        "membership_auc": known,
        "facts": facts,
        "coverage_ratio": m(0.3 if kind == "collapsed" else 1),
        "vendi_ratio": m(0.3 if kind == "collapsed" else 1),
    }


def test_thresholds_come_from_the_controls():
    fine = {"ideal": 1, "copier": 1, "blender": 0.8, "collapsed": 1, "blurred": 0.2}
    blend = {"ideal": 0.05, "copier": 0.0, "blender": 0.9, "collapsed": 0.05, "blurred": 0.3}
    limits = Thresholds.of([row(k, blend[k], fine[k]) for k in KINDS])
    assert limits.blend == pytest.approx(0.35) and limits.silent == () and limits.blurred == 0.6
    # blur that lies as near to blends as blends do: the word is not used
    blend["blurred"] = 0.95
    assert "blends" in Thresholds.of([row(k, blend[k], fine[k]) for k in KINDS]).silent
    fine["blurred"] = 0.9
    assert "blurred" in Thresholds.of([row(k, blend[k], fine[k]) for k in KINDS]).silent
