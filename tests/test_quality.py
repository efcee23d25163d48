"""Quality and diversity: against prdc, against plain sums, and on faults of known kind."""

import numpy as np
import pytest
import toy_mips
from scipy.ndimage import gaussian_filter

from radiogan_lib.evaluation import ImageSet, quality, quality_report
from radiogan_lib.evaluation.features import common


@pytest.fixture(scope="module")
def world():
    return toy_mips.split(21, n_train=200, n_holdout=120, n_fresh=200)


def report(world, images, labels=None):
    train, holdout, fresh = (ImageSet(*s) for s in world)
    drawn = ImageSet(images, fresh.labels if labels is None else labels)
    return quality_report(train, holdout, drawn, rounds=60)


def test_coverage_and_density_equal_prdc(world, capsys):
    from prdc import compute_prdc

    p, f = common(world[1][0], world[2][0])
    theirs = compute_prdc(p, f, nearest_k=5)
    covered, dense = quality.coverage_density(p, f)
    assert covered.mean() == pytest.approx(theirs["coverage"]) and dense.mean() == pytest.approx(
        theirs["density"]
    )


def test_kid_equals_the_plain_double_sum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(0.5, 1, size=(9, 5))
    k = lambda a, b: (a @ b / 5 + 1) ** 3  # noqa: E731
    plain = (
        np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        + np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert quality.kid(x, y)["value"] == pytest.approx(plain)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_kid_has_an_interval_where_few_images_carry_the_weight():
    """All generated images of one class: random splits may leave a side with a single image."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(40, 4))
    found = quality.kid(x, y, np.where(np.arange(40) < 4, 10.0, 0.0), rounds=200)
    assert found["low"] < found["value"] < found["high"] and 0 < found["p"] <= 1


def test_kid_interval_and_p():
    rng = np.random.default_rng(1)
    same = [quality.kid(*rng.normal(size=(2, 60, 4)), rounds=99, seed=s) for s in range(30)]
    assert (
        np.mean([m["p"] < 0.05 for m in same]) < 0.2
        and np.mean([m["low"] < 0 < m["high"] for m in same]) > 0.85
    )
    apart = quality.kid(rng.normal(size=(60, 4)), rng.normal(1, 1, (60, 4)))
    assert apart["low"] > 0 and apart["p"] < 0.01


def test_vendi_counts_different_images():
    far = 100 * np.eye(7, dtype=np.float32)
    assert quality.vendi(far, 1.0) == pytest.approx(7, rel=1e-3)
    assert quality.vendi(np.repeat(far[:3], 4, axis=0), 1.0) == pytest.approx(3, rel=1e-3)


def test_fresh_exams_are_as_good_as_training_exams(world):
    r = report(world, world[2][0])
    assert (
        r["fine_detail"]["low"] < 1 < r["fine_detail"]["high"]
        and r["two_sample_auc"]["value"] < 0.65
    )
    pixels = r["pixels"]
    assert (
        pixels["coverage_ratio"]["value"] > 0.9
        and 0.8 < pixels["vendi_ratio"]["value"] < 1.2
        and pixels["kid"]["p"] > 0.01
    )
    assert set(r["classes"]) == set(range(5))


def test_blur_collapse_and_noise_each_show_in_their_measure(world):
    f, fy = world[2]
    blurred = report(world, gaussian_filter(f, (0, 1, 1)))
    assert (
        blurred["fine_detail"]["high"] < 0.6 and blurred["pixels"]["coverage_ratio"]["value"] > 0.8
    )
    collapsed = report(world, np.tile(f[:10], (20, 1, 1)), np.tile(fy[:10], 20))
    assert (
        collapsed["pixels"]["coverage_ratio"]["high"] < 0.6
        and collapsed["pixels"]["vendi_ratio"]["high"] < 0.5
    )
    noise = report(world, np.random.default_rng(0).random(f.shape) * 5)
    assert (
        noise["pixels"]["coverage_ratio"]["high"] < 0.1
        and noise["pixels"]["vendi_ratio"]["low"] > 0.7
    )
    assert noise["two_sample_auc"]["low"] > 0.95


def test_another_class_mix_is_no_fault(world):
    (t, ty), (p, py), (f, fy) = world
    keep = np.concatenate([np.flatnonzero(fy == 0)[:40], np.flatnonzero(fy == 4)[:10]])
    r = quality_report(ImageSet(t, ty), ImageSet(p, py), ImageSet(f[keep], fy[keep]), rounds=60)
    assert r["pixels"]["kid"]["p"] > 0.01 and r["pixels"]["coverage_ratio"]["high"] > 0.9


def test_yardsticks_say_what_a_kid_is_worth(world):
    found = report(world, world[2][0])["yardsticks"]
    assert found["two pixels of blur"]["value"] > found["half a pixel of blur"]["value"]
    assert "largest class missing" in found and "10 % brighter" in found
