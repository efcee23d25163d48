"""Walks: the path, the ends, and measures that tell a cross-fade from a morph and from a jump."""

import numpy as np
import pytest
import toy_mips

from radiogan_lib import config
from radiogan_lib.evaluation import (
    EvaluationError,
    Walk,
    slerp,
    walk,
    walk_measures,
    walk_table,
    walks,
)


@pytest.fixture(scope="module")
def generator():
    from radiogan_lib.gan.networks import build_generator

    g = build_generator(config.load("smoke", generator_channels=16, label_init=1.0))
    g.get_layer("label_embedding").set_weights(
        [np.random.default_rng(0).normal(size=(5, g.get_layer("label_embedding").output_dim))]
    )
    return g


@pytest.fixture(scope="module")
def world():
    return toy_mips.split(31, n_train=120, n_holdout=80, n_fresh=40)


def image(generator, seed, label):
    from keras import ops

    z = walks.noise(seed, generator.inputs[0].shape[-1])[None].astype(np.float32)
    grey = ops.convert_to_numpy(generator([z, np.array([label])], training=False))
    return generator.layers[-1].to_suv(grey)[0]


@pytest.mark.parametrize("kind", ["slerp", "lerp", "label"])
def test_ends_are_the_generator_s_own_images(generator, kind):
    w = walk(generator, (1, 3), (4, 8), steps=6, kind=kind)
    assert (
        w.frames.shape == (6, 40, 24)
        and w.frames.dtype == np.float32
        and (w.start, w.end) == ((1, 3), (4, 8))
    )
    np.testing.assert_allclose(w.frames[0], image(generator, 3, 1), atol=1e-3)
    np.testing.assert_allclose(
        w.frames[-1], image(generator, 3 if kind == "label" else 8, 4), atol=1e-3
    )
    np.testing.assert_allclose(w.weights, np.linspace(0, 1, 6))


def test_paper_axis(generator):
    w = walk(generator, (2, 0), (2, 0), steps=10, kind="paper")
    np.testing.assert_array_equal(w.weights, np.arange(1, 11))
    z = np.zeros((1, 100), np.float32)
    z[0, 0] = 7
    grey = np.asarray(generator([z, np.array([2])], training=False))
    np.testing.assert_allclose(w.frames[6], generator.layers[-1].to_suv(grey)[0], atol=1e-3)


def test_wrong_walks_are_refused(generator):
    for bad, word in (({"kind": "spiral"}, "slerp"), ({"steps": 1}, "at least 2")):
        with pytest.raises(EvaluationError, match=word):
            walk(generator, (0, 0), (1, 1), **bad)
    with pytest.raises(EvaluationError, match="no class 9"):
        walk(generator, (9, 0), (1, 1))


def test_slerp_keeps_the_length():
    a, b = np.random.default_rng(1).normal(size=(2, 100))
    path = slerp(a, b, np.linspace(0, 1, 9))
    np.testing.assert_allclose(path[[0, -1]], [a, b])
    norms = np.linalg.norm(path, axis=1)
    assert norms.min() > 0.98 * min(norms[0], norms[-1]), "a straight line would drop to 0.7"
    np.testing.assert_allclose(slerp(a, a, np.array([0.5]))[0], a)


def test_cross_fade_jump_and_detour():
    a, b, c = np.random.default_rng(2).random((3, 50))
    s = np.linspace(0, 1, 11)[:, None]
    fade, jump = walks.shape_of((1 - s) * a + s * b), walks.shape_of(np.where(s < 0.5, a, b))
    assert (
        fade["chord_ratio"] == pytest.approx(1)
        and fade["off_chord"] < 1e-6
        and fade["largest_step"] == pytest.approx(0.1)
    )
    assert jump["largest_step"] == pytest.approx(1) and jump["chord_ratio"] == pytest.approx(1)
    detour = walks.shape_of(np.concatenate([(1 - s) * a + s * c, (1 - s) * c + s * b]))
    assert detour["chord_ratio"] > 1.3 and detour["off_chord"] > 0.3
    assert walks.shape_of(np.stack([a, b, a]))["chord_ratio"] is None, "a closed walk has no chord"


def test_blend_frame_of_a_memorising_walk(world):
    """As in Fig. 4: the walk leaves one training exam, passes a blend of two, and ends on the
    other."""
    t, p = world[0][0], world[1][0]
    share = np.array([0, 0, 0, 0.1, 0.45, 0.9, 1, 1, 1, 1])[:, None, None]
    frames = (1 - share) * t[10] + share * t[33]
    m = walk_measures(Walk(frames.astype(np.float32), "lerp", (0, 0), (3, 1), share[:, 0, 0]), t, p)
    b = m["blend_frame"]
    assert b["index"] == 4 and {b["first"], b["second"]} == {10, 33} and len(b) == 7
    assert (
        b["residual_ratio"] < 0.01
        and b["explained_by_second"] > 0.99
        and b["share_of_holdout_below"] == 0
    )
    assert m["nearest"][0] == 10 and m["nearest"][-1] == 33


def test_fresh_exams_are_no_blends(world):
    t, p, f = (x for x, _ in world)
    m = walk_measures(f[:10], t, p)
    assert min(m["residual_ratio"]) > 0.5 and m["blend_frame"]["share_of_holdout_below"] > 0


def test_walk_table(generator, world):
    rows = walk_table(generator, world[0][0], world[1][0], walks=3, steps=9)
    assert [r["walk"] for r in rows] == ["slerp", "lerp", "label", "paper", "cross-fade"]
    fade = rows[-1]
    assert (
        fade["chord_ratio"]["value"] == pytest.approx(1, abs=1e-3)
        and fade["fine_detail"]["value"] < 0.9
    )
    assert all(
        r["largest_step"]["low"] <= r["largest_step"]["value"] <= r["largest_step"]["high"]
        for r in rows
    )
