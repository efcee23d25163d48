"""DiffAugment: exact shifts, the same kind of change for every image, and never a flip."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from radiogan_lib.config import ConfigError
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
