"""DiffAugment: exact shifts, the same kind of change for every image, and never a flip."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from gan_tools import small
from keras import ops

from radiogan_lib.config import ConfigError
from radiogan_lib.gan import improvements
from radiogan_lib.gan.improvements import AIR, KINDS, DiffAugment


def _image(h=40, w=24):
    """Every pixel has a value of its own, so that a shift can be told from a flip."""
    return np.linspace(-0.9, 0.9, h * w, dtype="float32").reshape(1, h, w, 1)


def test_translation_moves_whole_pixels_and_reveals_air():
    x = np.repeat(_image(), 64, 0)
    y = ops.convert_to_numpy(DiffAugment("translation", 0)(x))
    h, w, found = 40, 24, set()
    for image in y[..., 0]:
        match = [
            (dy, dx)
            for dy in range(-5, 6)
            for dx in range(-3, 4)
            if np.allclose(image, _moved(x[0, ..., 0], dy, dx), atol=1e-6)
        ]
        assert len(match) == 1
        found.add(match[0])
    assert (
        len(found) > 20
        and max(abs(dy) for dy, _ in found) == h // 8
        and max(abs(dx) for _, dx in found) == w // 8
    )


def _moved(x, dy, dx):
    out = np.full_like(x, AIR)
    h, w = x.shape
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = x[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def test_off_outside_training_and_without_a_policy():
    x = _image()
    assert DiffAugment("translation", 0)(x, training=False) is x
    assert DiffAugment("", 0)(x) is x


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_share_is_how_many_images_are_changed(share):
    x = np.repeat(_image(), 2000, 0)
    y = ops.convert_to_numpy(DiffAugment("translation", 0, share)(x))
    changed = np.abs(y - x).max(axis=(1, 2, 3)) > 1e-6
    assert abs(changed.mean() - share) < 0.04  # four standard errors of 2000 draws at 0.25
    np.testing.assert_allclose(y[~changed], x[~changed], atol=1e-6)


def test_messages_name_the_setting_that_is_wrong():
    with pytest.raises(ConfigError, match="auxiliary_augment = 'flip'"):
        DiffAugment("flip", 0, setting="auxiliary_augment")


def test_no_flips_on_offer():
    assert not any("flip" in k for k in KINDS)
    for wrong in ("flip", "translation,mirror", "brightness"):
        with pytest.raises(ConfigError, match=wrong.split(",")[-1]):
            DiffAugment(wrong, 0)


def test_gradient_passes_through():
    tf = pytest.importorskip("tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("reads the gradient with TensorFlow's tape")
    x = tf.constant(_image())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(DiffAugment("translation", 3)(x))
    gradient = tape.gradient(y, x).numpy()
    assert set(np.unique(gradient)) <= {0.0, 1.0} and gradient.mean() > 0.7


def test_log_power_names_the_band_of_a_wave():
    h, w, bands = 40, 24, 8
    matching = improvements.SpectralMatching(small(intensity="linear"), bands)
    for k in (4, 12, 19):  # periods over the height: frequency k / 20 of Nyquist
        wave = np.cos(2 * np.pi * (np.arange(h) + 0.5) * k / h)[None, :, None, None]
        found = ops.convert_to_numpy(matching.log_power(wave * np.ones((1, 1, w, 1))))[0]
        assert found.argmax() == int(k / 20 * bands)
    white = np.random.default_rng(0).normal(size=(50, h, w, 1)).astype("float32")
    assert ops.convert_to_numpy(matching.log_power(white)).mean(0).std() < 0.1


def test_spectral_matching_takes_power_away_where_there_is_too_much():
    """Plain gradient steps on the fakes alone bring mean and spread of every band near the real
    images' own."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    real = 0.2 * rng.normal(size=(64, 40, 24, 1)) * rng.uniform(0.5, 2, (64, 1, 1, 1))
    fake = tf.Variable(0.5 * rng.normal(size=(64, 40, 24, 1)).astype("float32"))
    matching = improvements.SpectralMatching(small(intensity="linear"), 8)
    adam = keras.optimizers.Adam(3e-3)
    wanted = ops.convert_to_numpy(matching.log_power(real))

    def away():
        found = ops.convert_to_numpy(matching.log_power(fake))
        shift = (found.mean(0) - wanted.mean(0)) / wanted.std(0)
        return np.abs(shift).max(), np.abs(np.log(found.std(0) / wanted.std(0))).max()

    @tf.function  # as `fit` runs it
    def step():
        with tf.GradientTape() as tape:
            cost = matching(real, fake)
        adam.apply([tape.gradient(cost, fake)], [fake])

    before = away()
    adam.build([fake])
    for _ in range(600):
        step()
    after = away()
    assert before[0] > 2 and after[0] < 0.5
    assert before[1] > 2 and after[1] < 0.5
