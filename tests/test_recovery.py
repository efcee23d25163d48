"""Latent recovery: a generator that stores its training exams is made to draw them, and cannot draw strangers."""

import keras
import numpy as np
import pytest
import toy_mips
from keras import layers

from radiogan_lib.data.intensity import encode
from radiogan_lib.evaluation import EvaluationError, latent_recovery
from radiogan_lib.evaluation.recovery import invert
from radiogan_lib.gan.networks import SuvImage


def memory(suv):
    """G([z, label]): the direction of z picks one stored exam; between two directions it cross-fades."""
    n, h, w = suv.shape
    z, label = keras.Input((n,), name="z"), keras.Input((), dtype="int32", name="label")
    picked = layers.Dense(
        n, "softmax", use_bias=False, kernel_initializer=keras.initializers.Constant(8 * np.eye(n))
    )(z)
    stored = np.arctanh(np.clip(encode(suv, "sqrt", 30.0, "symmetric"), -0.999, 0.999)).reshape(
        n, -1
    )
    x = layers.Dense(h * w, use_bias=False, kernel_initializer=keras.initializers.Constant(stored))(
        picked
    )
    x = layers.Reshape((h, w, 1))(x)
    x = SuvImage("sqrt", 30.0, "symmetric", name="suv")(x)
    return keras.Model([z, label], x)


@pytest.fixture(scope="module")
def world():
    (t, ty), (p, py), _ = toy_mips.split(81, n_train=12, n_holdout=12, n_fresh=1, shape=(20, 12))
    return memory(t), t, p, ty, py


def test_a_stored_exam_is_recovered_and_a_stranger_is_not(world):
    generator, t, p, ty, py = world
    r = latent_recovery(generator, t, p, ty, py, n=12, steps=150)
    assert r["recovery_auc"]["value"] > 0.85 and r["recovery_auc"]["p"] < 0.01 and r["ks_p"] < 0.01
    assert r["gap"]["low"] > 0.1 and r["median_train"] < 0.8 * r["median_holdout"] and r["n"] == 12


def test_two_sets_of_strangers_are_alike(world):
    generator, _, p, _, py = world
    q, qy = toy_mips.split(82, n_train=12, n_holdout=1, n_fresh=1, shape=(20, 12))[0]
    r = latent_recovery(generator, q, p, qy, py, n=12, steps=20)
    assert r["recovery_auc"]["low"] < 0.5 < r["recovery_auc"]["high"]


def test_errors_are_those_of_the_found_z(world):
    generator, t, _, ty, _ = world
    trainable = [layer.trainable for layer in generator.layers]
    errors, z = invert(generator, t[:4], ty[:4], steps=30, restarts=1, seed=3)
    drawn = generator.layers[-1].to_suv(np.asarray(generator([z, ty[:4]], training=False)))
    np.testing.assert_allclose(errors, np.sqrt(((drawn - t[:4]) ** 2).mean(axis=(1, 2))), rtol=1e-3)
    assert [layer.trainable for layer in generator.layers] == trainable
    again, _ = invert(generator, t[:4], ty[:4], steps=30, restarts=1, seed=3)
    np.testing.assert_allclose(errors, again, rtol=1e-3)
    with pytest.raises(EvaluationError, match="20 × 12"):
        invert(generator, np.zeros((2, 40, 24), np.float32), np.zeros(2, int))
