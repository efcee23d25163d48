"""The positive control: the fully connected CGAN learns a few exams by heart."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from gan_tools import blobs, small

from radiogan_lib import gan
from radiogan_lib.config import RECIPES, load
from radiogan_lib.gan import memoriser


@pytest.fixture(scope="module")
def memorised(tmp_path_factory):
    """A baseline trained on nine exams of three classes, and the exams."""
    # three seeds: 0.41, 0.41, 0.44 of the held-out exams' distance; at 6000 0.50 to 0.55
    cfg = small(doublings=2, baseline_epochs=12000)
    few = blobs(cfg, 3)
    # 240 pixels tell exams apart less well than 3840: a steeper discriminator, and calm at the end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memoriser, "R1", 0.0004)
        patch.setitem(memoriser.SETTINGS, "cooldown", 0.5)
        return cfg, few, gan.train_baseline(cfg, few, tmp_path_factory.mktemp("baseline") / "run")


def _nearest(images, bank):
    d = np.sqrt(((np.sqrt(images)[:, None] - np.sqrt(bank)[None]) ** 2).mean((2, 3)))
    return d.min(1), d.argmin(1)


def test_it_draws_its_exams_and_of_the_class_that_is_asked(memorised):
    cfg, few, run = memorised
    assert run.finished and np.isfinite(run.history[["d_loss", "g_loss"]]).all().all()
    labels = np.repeat(np.arange(3), 40)
    drawn = gan.sample(run.generator, labels, seed=5)
    distance, which = _nearest(drawn, few.suv)
    strangers, _ = _nearest(blobs(cfg, 40, seed=9).suv, few.suv)
    assert np.median(distance) < 0.5 * np.median(
        strangers
    )  # an ideal sampler would be as far away as strangers are
    assert (few.labels[which] == labels).mean() > 0.9
    assert len(set(which)) >= 6  # not one exam per class for all noise


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compares with TensorFlow's tape"
)
def test_the_slope_is_the_gradient_s_length():
    import tensorflow as tf

    cfg = memoriser.settings(small(doublings=2), 9)
    judge = memoriser.build_discriminator(cfg, 3)
    rng = np.random.default_rng(0)
    judge.set_weights([rng.normal(0, 0.3, w.shape) for w in judge.get_weights()])
    image, label = (
        tf.constant(rng.uniform(-1, 1, (5, 20, 12, 1)).astype("float32")),
        tf.constant([0, 1, 2, 0, 1]),
    )
    with tf.GradientTape() as tape:
        tape.watch(image)
        logit = judge([image, label])
    by_tape = (tape.gradient(logit, image).numpy() ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(
        np.asarray(memoriser.squared_slope(judge, image, label)), by_tape, rtol=1e-4
    )


def test_no_switch_of_a_recipe_reaches_it():
    one, *others = (memoriser.settings(load("teach", recipe=r), 20) for r in RECIPES)
    assert others and all(other.stage("gan") == one.stage("gan") for other in others)
    assert one.batch_size * memoriser.STEPS * one.epochs == pytest.approx(
        load("teach").baseline_epochs * 20, rel=0.05
    )
