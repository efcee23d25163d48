"""SUV → grey → SUV is the identity inside the range, for every curve."""

import numpy as np
import pytest

from radiogan_lib.config import ConfigError
from radiogan_lib.data import dataset as intensity


@pytest.mark.parametrize("curve", intensity.CURVES)
def test_round_trip(curve):
    suv = np.random.default_rng(1).uniform(0, 30, (3, 10, 6)).astype(np.float32)
    grey = intensity.encode(suv, curve, 30.0)
    assert grey.shape == (3, 10, 6, 1) and grey.dtype == np.float32
    back = intensity.decode(grey, curve, 30.0)
    assert back.shape == suv.shape and back.dtype == np.float32
    assert back == pytest.approx(suv, abs=2e-5)


@pytest.mark.parametrize(
    "curve, values",
    [("linear", [-1, -0.5, 0, 1, 1]), ("sqrt", [-1, 0, 2 * np.sqrt(0.5) - 1, 1, 1])],
)
def test_known_values_and_clipping(curve, values):
    suv = np.array([[[0, 2.5, 5, 10, 99]]], np.float32)
    assert intensity.encode(suv, curve, 10.0)[0, 0, :, 0] == pytest.approx(values, abs=1e-6)
    assert intensity.encode(-suv, curve, 10.0).max() == -1  # below 0 counts as 0


@pytest.mark.parametrize("curve", intensity.CURVES)
def test_decode_clips_what_tanh_may_give(curve):
    images = np.linspace(-1.2, 1.2, 25, dtype=np.float32).reshape(1, 5, 5, 1)
    suv = intensity.decode(images, curve, 7.0)
    assert suv.min() == 0 and suv.max() == 7 and (np.diff(suv.ravel()) >= 0).all()


def test_input_is_left_alone():
    suv = np.full((1, 2, 2), 40.0, np.float32)
    intensity.encode(suv)
    assert (suv == 40).all()


@pytest.mark.parametrize("wrong", [dict(curve="log"), dict(suv_max=0.0)])
def test_wrong_names_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        intensity.encode(np.ones((1, 2, 2)), **wrong)


def test_decode_wants_a_channel():
    with pytest.raises(ValueError, match="n, h, w, 1"):
        intensity.decode(np.ones((2, 5, 3)))
