"""Memorisation and blends: what must be found is found, and what is innocent is cleared."""

import numpy as np
import pytest
import toy_mips
from scipy.ndimage import gaussian_filter

from radiogan_lib.evaluation import (
    blending,
    detectable_copies,
    discriminator_overfit,
    memorization_report,
    nearest,
)
from radiogan_lib.evaluation.features import common


@pytest.fixture(scope="module")
def world():
    return toy_mips.split(11, n_train=200, n_holdout=120, n_fresh=200)


def report(world, images, labels=None, **kw):
    (t, ty), (p, py), (_, fy) = world
    return memorization_report(
        t, p, images, ty, py, fy if labels is None else labels, rounds=100, **kw
    )


def test_fresh_exams_are_cleared(world):
    r = report(world, world[2][0])
    assert (
        r["membership_auc"]["low"] < 0.5 < r["membership_auc"]["high"]
        and r["membership_auc"]["p"] > 0.01
    )
    assert r["copy_fraction"]["low"] < 0.08
    assert 0.9 < r["nearest_ratio"]["value"] < 1.1 and 0.9 < r["pair_residual_ratio"]["value"] < 1.1


def test_copies_are_found_and_named(world):
    t, ty = world[0]
    r = report(world, t[::-1] * 1.001, ty[::-1])
    assert r["membership_auc"]["value"] > 0.99 and r["copy_fraction"]["value"] == 1
    assert r["data_copying_ct"]["value"] < -5 and r["fld_gap"]["high"] < -50
    assert all(a["train"] == len(t) - 1 - a["generated"] for a in r["audit"])


def test_a_few_copies_among_fresh_exams(world):
    mixed = world[2][0].copy()
    mixed[:50] = world[0][0][:50] * 1.01  # labels cycle alike in both sets
    r = report(world, mixed)
    assert r["copy_fraction"]["value"] > 0.2 and r["copy_fraction"]["p"] < 0.01
    assert {a["generated"] for a in r["audit"]} <= set(range(50))


def test_blur_is_no_copying(world):
    r = report(world, gaussian_filter(world[2][0], (0, 1, 1)))
    assert r["copy_fraction"]["low"] < 0.08 and r["membership_auc"]["low"] < 0.52
    assert r["copy_fraction_distance"]["value"] > r["copy_fraction"]["value"], (
        "the bare distance is fooled by blur"
    )


def test_blends_are_found_with_their_parents(world):
    t, ty = world[0]
    i, j = np.arange(0, 100), np.arange(100, 200)  # labels cycle by 5: pairs of one class
    r = report(world, 0.6 * t[i] + 0.4 * t[j], ty[i])
    assert r["blend_fraction"]["low"] > 0.9 and r["pair_residual_ratio"]["high"] < 0.05
    for b in r["blend_examples"]:
        assert {b["first"], b["second"]} == {b["generated"], b["generated"] + 100}
        assert b["share_of_second"] == pytest.approx(0.4, abs=0.01)


def test_best_pair_equals_the_search_over_all_pairs(world):
    t, p, q = common(
        world[0][0], world[1][0][:20], 0.5 * world[0][0][:10] + 0.5 * world[0][0][50:60]
    )
    for x, share, loose in (
        (q, 1, 1e-5),
        (p, 0.9, 0.05),
    ):  # exact for blends; a few per cent at worst for others
        fast, full = blending.best_pair(x, t), blending.best_pair(x, t, first=len(t))
        np.testing.assert_allclose(fast["residual"], full["residual"], rtol=loose, atol=1e-5)
        assert np.isclose(fast["residual"], full["residual"], rtol=1e-4, atol=1e-5).mean() >= share
    # and the distance formula equals plain geometry, pair by pair
    brute = min(
        blending.segment_residual(p[0], t[a], t[b])[0] for a in range(40) for b in range(a + 1, 40)
    )
    assert blending.best_pair(p[:1], t[:40], first=40)["residual"][0] == pytest.approx(
        brute, rel=1e-4
    )


def test_repeats_are_no_new_evidence(world):
    few = np.tile(world[2][0][:5], (40, 1, 1))
    r = report(world, few, np.tile(world[2][1][:5], 40))
    assert (
        r["n"]["distinct_generated"] == 5
        and r["copy_fraction"]["high"] - r["copy_fraction"]["low"] > 0.3
    )


def test_same_seed_same_report(world):
    assert report(world, world[2][0], seed=4) == report(world, world[2][0], seed=4)


def test_sizes_may_differ(world):
    t, p, f = (x for x, _ in world)
    big = np.repeat(np.repeat(f, 2, axis=1), 2, axis=2)
    assert memorization_report(t, p, big, rounds=20)["nearest_ratio"] == pytest.approx(
        memorization_report(t, p, f, rounds=20)["nearest_ratio"], rel=1e-3
    )


def test_what_cannot_be_seen_is_said(world):
    t, p = world[0][0], world[1][0]
    many = detectable_copies(t, p, trials=6)
    assert (
        many["smallest"] in (0.1, 0.2, 0.5) and many["rates"][0] <= 0.2 and many["rates"][-1] == 1
    )
    assert detectable_copies(t[:20], p[:4], trials=6)["smallest"] is None


def test_discriminator_overfit():
    rng = np.random.default_rng(0)
    r = discriminator_overfit(rng.normal(1, 1, 100), rng.normal(0, 1, 80))
    assert r["discriminator_auc"]["low"] > 0.6 and r["discriminator_auc"]["p"] < 0.01
    assert (
        discriminator_overfit(rng.normal(0, 1, 100), rng.normal(0, 1, 80))["discriminator_auc"][
            "low"
        ]
        < 0.5
    )


def test_nearest_names_the_exam(world):
    indices, distance = nearest(world[0][0][[7, 3]], world[0][0], k=2)
    np.testing.assert_array_equal(indices[:, 0], [7, 3])
    assert (distance[:, 0] == 0).all() and (distance[:, 1] > 0).all()
