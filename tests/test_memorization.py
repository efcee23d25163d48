"""Memorisation and blends: what must be found is found, and what is innocent is cleared."""

import numpy as np
import pytest
import toy_mips
from scipy.ndimage import gaussian_filter, rotate, shift

from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    Reference,
    detectable_copies,
    memorisation,
    memorization_report,
    nearest,
)
from radiogan_lib.evaluation.features import common
from radiogan_lib.evaluation.memorisation import copying


@pytest.fixture(scope="module")
def world():
    return [ImageSet(*s) for s in toy_mips.split(11, n_train=200, n_holdout=120, n_fresh=200)]


@pytest.fixture(scope="module")
def reference(world):
    return Reference(*world[:2])


@pytest.fixture(scope="module")
def report(world, reference):
    def made(images, labels=None, **kw):
        drawn = ImageSet(images, world[2].labels if labels is None else labels)
        return memorization_report(*world[:2], drawn, rounds=50, reference=reference, **kw)

    return made


def test_fresh_exams_are_cleared(world, report):
    r = report(world[2].images)
    assert not copying(r) and r["doubts"] == [] and r["facts"]["copies"] == 0
    for name in ("membership_auc", "moved_auc"):
        assert r[name]["low"] < 0.5 < r[name]["high"] and r[name]["p"] > 0.01
    for name in ("copy_fraction", "moved_fraction", "part_fraction", "blend_fraction"):
        assert r[name]["low"] < 0.08, name


def test_copies_are_found_and_named(world, report):
    t = world[0]
    r = report(t.images[::-1] * 1.001, t.labels[::-1])
    assert r["membership_auc"]["value"] > 0.99 and r["copy_fraction"]["value"] == 1
    assert all(a["train"] == len(t) - 1 - a["generated"] for a in r["audit"])
    assert r["facts"]["copies"] == r["facts"]["n_exams"] == 200


MOVED = {
    "shifted": lambda x: shift(x, (0, 2, 1), order=1, mode="nearest"),
    "dimmed": lambda x: 0.8 * x,
    "mirrored": lambda x: x[:, :, ::-1],
    "shifted and dimmed": lambda x: 0.9 * shift(x, (0, -1, 2), order=1, mode="nearest"),
}


@pytest.mark.parametrize("kind", MOVED)
def test_near_copies_are_found(world, report, kind):
    r = report(MOVED[kind](world[0].images), world[0].labels)
    assert r["moved_fraction"]["low"] > 0.5 and copying(r)


def test_half_copies_are_found(world, report):
    x = world[2].images.copy()
    x[:, :20] = world[0].images[:, :20]
    r = report(x)
    assert r["part_fraction"]["low"] > 0.5 and copying(r)


@pytest.mark.parametrize("exams", [1, 5])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.6])
def test_a_few_exams_drawn_again_and_again(world, report, exams, share):
    mixed, n = world[2].images.copy(), round(share * 200)
    noise = np.random.default_rng(0).normal(1, 0.02, mixed[:n].shape)
    mixed[:n] = world[0].images[np.arange(n) % exams] * noise
    r = report(mixed)
    found = r["facts"]
    assert copying(r)
    if n >= 3 * exams:
        assert found["copies"] == n and found["n_exams"] == min(exams, n)
        assert {e["train"] for e in found["exams"]} == set(range(min(exams, n)))


@pytest.mark.parametrize("kind", ["shifted by half a pixel", "turned by 3 degrees"])
@pytest.mark.parametrize("exams", [1, 10])
def test_registered_copies_are_counted_by_exam(world, report, kind, exams):
    t, mixed = world[0].images[:exams], world[2].images.copy()
    if kind == "turned by 3 degrees":
        t = rotate(t, 3, (1, 2), reshape=False, order=1, mode="nearest")
    else:
        t = shift(t, (0, 0.5, 0.5), order=3, mode="nearest")
    mixed[:10] = t[np.arange(10) % exams]
    found = report(mixed)["facts"]
    assert found["decides"] and found["n_exams"] <= exams and found["copies"] >= 5
    assert {e["train"] for e in found["exams"]} <= set(range(exams))
    assert not report(world[2].images)["facts"]["decides"]


def test_one_fresh_image_again_and_again_is_no_copy(world, report):
    mixed = world[2].images.copy()
    mixed[:120] = mixed[-1]
    r = report(mixed)
    assert not copying(r) and r["repeated_fraction"]["low"] > 0.5
    assert r["facts"]["repeats"][0]["count"] == 121


def test_a_few_copies_among_fresh_exams(world, report):
    mixed = world[2].images.copy()
    mixed[:50] = world[0].images[:50] * 1.01  # labels cycle alike in both sets
    r = report(mixed)
    assert r["copy_fraction"]["value"] > 0.2 and r["copy_fraction"]["p"] < 0.01
    assert {a["generated"] for a in r["audit"]} <= set(range(50))


@pytest.mark.parametrize("width", [0.8, 2])
def test_blur_is_neither_copying_nor_blending(world, report, width):
    r = report(gaussian_filter(world[2].images, (0, width, width)))
    assert not copying(r) and r["blend_fraction"]["low"] < 0.15


def test_blends_are_found_with_their_parents(world, report):
    t = world[0].images
    i, j = np.arange(0, 100), np.arange(100, 200)  # labels cycle by 5: pairs of one class
    r = report(0.6 * t[i] + 0.4 * t[j], world[0].labels[i])
    assert r["blend_fraction"]["low"] > 0.9
    for b in r["blend_examples"]:
        assert {b["first"], b["second"]} == {b["generated"], b["generated"] + 100}
        assert b["share_of_second"] == pytest.approx(0.4, abs=0.01)


def test_best_pair_equals_the_search_over_all_pairs(world):
    x = world[0].images
    blends = 0.5 * x[:10] + 0.5 * x[50:60]
    t, p, q = common(x, world[1].images[:20], blends)
    for x, share, loose in ((q, 1, 1e-5), (p, 0.9, 0.05)):  # exact for blends
        fast, full = memorisation.best_pair(x, t), memorisation.best_pair(x, t, first=len(t))
        np.testing.assert_allclose(fast["residual"], full["residual"], rtol=loose, atol=1e-5)
        assert np.isclose(fast["residual"], full["residual"], rtol=1e-4, atol=1e-5).mean() >= share
    # and the distance formula equals plain geometry, pair by pair
    pairs = [(a, b) for a in range(40) for b in range(a + 1, 40)]
    brute = min(memorisation.segment_residual(p[0], t[a], t[b])[0] for a, b in pairs)
    found = memorisation.best_pair(p[:1], t[:40], first=40)["residual"][0]
    assert found == pytest.approx(brute, rel=1e-4)
    alone = memorisation.best_pair(t, t, own=True)
    assert (alone["single"] > 0).all() and (alone["i"] != np.arange(len(t))).all()


def test_repeats_are_no_new_evidence_for_a_share(world, report):
    r = report(np.tile(world[2].images[:5], (40, 1, 1)), np.tile(world[2].labels[:5], 40))
    assert r["n"]["distinct_generated"] == 5
    assert r["copy_fraction"]["high"] - r["copy_fraction"]["low"] > 0.3


def test_same_seed_same_report(world, report):
    assert report(world[2].images, seed=4) == report(world[2].images, seed=4)


def test_sizes_may_differ(world):
    t, p, f = (s.images for s in world)
    big = np.repeat(np.repeat(f, 2, axis=1), 2, axis=2)
    one, other = (memorization_report(t, p, x, rounds=20) for x in (big, f))
    assert one["membership_auc"]["value"] == pytest.approx(
        other["membership_auc"]["value"], abs=1e-3
    )


def test_what_cannot_be_noticed_is_said(world):
    t, p = world[:2]
    many = detectable_copies(t, p, trials=6)
    assert many["smallest"] in (0.1, 0.2, 0.5)
    assert many["rates"][0] <= 0.2 and many["rates"][-1] == 1
    assert detectable_copies(t.images[:20], p.images[:4], trials=6)["smallest"] is None


def test_discriminator_overfit(world):
    rng = np.random.default_rng(0)
    for mean, found in ((1, True), (0, False)):
        scores = {"train": rng.normal(mean, 1, 200), "holdout": rng.normal(0, 1, 120)}
        m = memorization_report(*world, scores, rounds=20)["discriminator_auc"]
        assert (m["low"] > 0.6 and m["p"] < 0.01) if found else m["low"] < 0.5


def test_nearest_names_the_exam(world):
    t = world[0].images
    indices, distance = nearest(t[[7, 3]], t, k=2)
    np.testing.assert_array_equal(indices[:, 0], [7, 3])
    assert (distance[:, 0] == 0).all() and (distance[:, 1] > 0).all()


# ------------------------------------------------------------------------------------- sets that do
# not belong together


def doubts(train, holdout, generated):
    return " ".join(memorization_report(train, holdout, generated, rounds=20)["doubts"])


def test_leaks_are_noticed(world):
    t, p, f = world
    leak = p.images.copy()
    leak[:60] = t.images[:60]
    assert "are training images" in doubts(t, ImageSet(leak, p.labels), f)
    leak[:60] = shift(t.images[:60], (0, 1, 1), order=1, mode="nearest")
    assert "training images" in doubts(t, ImageSet(leak, p.labels), f)
    leak = p.images.copy()
    leak[:2] = t.images[:2]
    r = memorization_report(t, ImageSet(leak, p.labels), f, rounds=20)
    assert r["n"]["holdout"] == 118 and "2 held-out images" in r["notes"][0] and not r["doubts"]


def test_another_kind_of_held_out_images_is_noticed(world):
    t, p, f = world
    assert doubts(t, ImageSet(p.images * 1.3, p.labels), f)
    assert doubts(t, ImageSet(gaussian_filter(p.images, (0, 1, 1)), p.labels), f)


def test_swapped_sets_are_noticed(world):
    t, p, f = world
    assert "held-out" in doubts(t, p, p)
    noisy = p.images * np.random.default_rng(0).normal(1, 0.3, p.images.shape)
    assert "nearer to held-out" in doubts(t, p, ImageSet(noisy, p.labels))


def test_other_units_are_noticed(world):
    t, p, f = world
    assert "same units" in doubts(t, p, ImageSet(f.images * 255, f.labels))
    assert "same units" in doubts(t, p, ImageSet(2 * f.images / f.images.max() - 1, f.labels))
    with pytest.raises(EvaluationError, match="same units"):
        memorization_report(t, ImageSet(p.images * 255, p.labels), f)


def test_what_cannot_be_compared_is_refused(world):
    t, p, f = world
    grey = np.ones_like(t.images)
    one = np.tile(t.images[:1], (50, 1, 1))
    for bad in ((ImageSet(grey), p, f), (t, ImageSet(one), f)):
        with pytest.raises(EvaluationError, match="all equal"):
            memorization_report(*bad)
    with pytest.raises(EvaluationError, match="too few"):
        memorization_report(t, p, ImageSet(f.images[:2], f.labels[:2]))
    with pytest.raises(EvaluationError, match="no label of the generated"):
        memorization_report(t, p, ImageSet(f.images, f.labels + 10))
    with pytest.raises(EvaluationError, match="ordinary units"):
        memorization_report(*(ImageSet(x.images * 1e25, x.labels) for x in world))
    huge = memorization_report(*(ImageSet(s.images * 1e12, s.labels) for s in world), rounds=20)
    assert not copying(huge) and huge["doubts"] == []


def test_large_sets_are_subsampled_and_copies_found_in_all_of_them(world, monkeypatch):
    monkeypatch.setattr(memorisation, "LIMITS", (100, 60, 150))
    t, p, f = world
    last = sorted(set(range(200)) - set(memorisation.subsample(t, 100, 0)))[:5]
    mixed = np.concatenate([f.images[:100], np.repeat(t.images[last], 10, axis=0)])
    r = memorization_report(t.images, p.images, mixed, rounds=20)
    assert "100 of 200 training images were used" in r["notes"]
    assert {e["train"] for e in r["facts"]["exams"]} == set(last) and copying(r)
