"""The diagnosis on provoked failures, and its silence on a game that goes well."""

from __future__ import annotations

import numpy as np
import pandas as pd
from gan_tools import blobs, small

from radiogan_lib import gan
from radiogan_lib.gan.diagnosis import SENTENCES, SampleMeasures


def _history(**columns):
    good = dict(
        epoch=range(1, 7),
        steps=[500 * k for k in range(1, 7)],
        d_loss=0.5,
        g_loss=1.0,
        d_accuracy=0.75,
        label_agreement=0.8,
        chance=0.2,
        ceiling=0.9,
        diversity=0.9,
        movement=0.1,
    )
    return pd.DataFrame(good | columns)


def _signs(**columns):
    return gan.diagnose(_history(**columns)).signs


def test_each_sign_alone_and_none_in_a_good_game():
    assert _signs() == ()
    assert "no sign" in str(gan.diagnose(_history()))
    assert _signs(d_accuracy=0.99, g_loss=7.0) == ("discriminator_saturated",)
    assert _signs(label_agreement=[0.2, 0.3, 0.4, 0.3, 0.22, 0.21]) == ("classes_ignored",)
    assert _signs(diversity=0.05) == ("collapsed",)
    assert _signs(movement=0.0) == ("generator_stuck",)
    assert _signs(g_loss=[1, 1, 1, 1, 1, np.nan]) == ("losses_not_finite",)


def test_a_passing_moment_is_no_diagnosis():
    assert _signs(d_accuracy=[0.7, 0.7, 0.7, 0.7, 0.7, 0.99], g_loss=7.0) == ()
    assert _signs(label_agreement=[0.8, 0.8, 0.8, 0.8, 0.8, 0.2]) == ()
    assert _signs(steps=range(6), label_agreement=0.2) == ()  # too early to tell


def test_sentences_hold_numbers_and_a_remedy():
    text = str(
        gan.diagnose(_history(label_agreement=0.2, d_accuracy=0.99, g_loss=7.0, diversity=0.1))
    )
    assert "20%" in text and "99%" in text and "label_init=1" in text and "\n" in text
    assert set(SENTENCES) >= {
        "discriminator_saturated",
        "generator_stuck",
        "classes_ignored",
        "collapsed",
    }
    assert str(gan.diagnose(pd.DataFrame()))


def test_an_empty_or_unmeasured_history_is_no_failure():
    assert gan.diagnose(pd.DataFrame()).signs == ()
    assert gan.diagnose(_history().drop(columns=["label_agreement"])).signs == ()


def test_the_yardstick_tells_real_from_ignored_classes_and_collapse():
    exams = blobs(small(), 40)
    ruler = SampleMeasures(exams.suv, exams.labels, 3)
    fresh = blobs(small(), 34, seed=1)
    good = ruler.measure(fresh.suv, fresh.labels)
    assert (
        good["label_agreement"] > 0.9
        and ruler.ceiling > 0.9
        and 0.7 < good["diversity"] < 1.4
        and np.isnan(good["movement"])
    )
    shuffled = ruler.measure(fresh.suv, np.random.default_rng(0).permutation(fresh.labels))
    assert shuffled["label_agreement"] < 0.5
    assert shuffled["movement"] == 0  # the same pictures again
    one_each = np.stack([fresh.suv[fresh.labels == c][0] for c in fresh.labels])
    assert ruler.measure(one_each, fresh.labels)["diversity"] < 0.05


def test_provoked_in_training(tmp_path):
    """A generator that cannot move is called stuck; a label cut off from both networks is called
    ignored."""
    cfg = small(learning_rate=0.0, epochs=4, samples_every=1, bn_momentum=0.0)
    run = gan.train(cfg, blobs(cfg), tmp_path / "stuck")
    run.history["steps"] *= 1000
    found = gan.diagnose(run.history).signs
    assert "classes_ignored" in found
    frozen = run.history.assign(movement=[np.nan, 0, 0, 0])
    assert "generator_stuck" in gan.diagnose(frozen).signs


def test_one_class_only_has_no_agreement_to_measure():
    exams = blobs(small(), 10, n_classes=1)
    measured = SampleMeasures(exams.suv, exams.labels, 1).measure(exams.suv, exams.labels)
    assert np.isnan(measured["label_agreement"]) and measured["diversity"] > 0.5
