"""The canvas keeps the mean, keeps pixels at the paper's size, and starts at the head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiogan_lib.config import ConfigError
from radiogan_lib.data import fit_to_canvas


@pytest.mark.parametrize("shape", [(429, 341), (430, 342), (640, 384), (900, 700), (10, 5)])
def test_at_seven_doublings_every_pixel_is_an_input_pixel(shape):
    mip = np.random.default_rng(0).gamma(2, 3, shape).astype(np.float32)
    out = fit_to_canvas(mip, (640, 384), (1280, 768))
    rows, left = min(shape[0], 640), (384 - shape[1]) // 2
    expected = np.zeros((640, 384), np.float32)
    if left >= 0:
        expected[:rows, left : left + shape[1]] = mip[:rows]
    else:
        expected[:rows] = mip[:rows, -left : -left + 384]
    assert out.dtype == np.float32 and np.array_equal(out, expected)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 90),
    cols=st.integers(1, 70),
    d=st.integers(1, 4),
    spare=st.floats(0, 50),
    seed=st.integers(0, 9),
)
def test_the_mean_over_the_field_of_view_is_kept(rows, cols, d, spare, seed):
    mip = np.random.default_rng(seed).random((rows, cols), np.float32)
    fov = (
        rows * 2.0 + spare,
        (cols + 1) * 2.0 + spare,
    )  # one column spare, for centring to a whole pixel
    out = fit_to_canvas(mip, (5 * 2**d, 3 * 2**d), fov)
    assert out.mean(dtype=float) == pytest.approx(
        mip.sum(dtype=float) * 4 / (fov[0] * fov[1]), rel=1e-5
    )
    assert out.min() >= 0 and out.max() <= mip.max() * (1 + 1e-6)


def test_a_fractional_pixel_counts_by_its_share():
    mip = np.array([[4.0], [8.0], [0.0]], np.float32)  # 1 mm rows into canvas rows of 1.5 mm
    out = fit_to_canvas(mip, (2, 1), (3.0, 1.0), spacing_mm=1.0)
    assert out[:, 0] == pytest.approx([(4 + 0.5 * 8) / 1.5, 0.5 * 8 / 1.5])


def test_top_is_kept_and_left_right_is_centred():
    mip = np.zeros((100, 11), np.float32)
    mip[0], mip[-1] = 1, 9
    assert fit_to_canvas(mip, (50, 11), (100, 22))[0].tolist() == [1] * 11
    assert 9 not in fit_to_canvas(
        mip, (50, 11), (100, 22)
    )  # the bottom falls out of a short field of view
    wide = np.zeros((4, 21), np.float32)
    wide[:, 10] = 5
    for width in (
        6,
        10,
        22,
        42,
        98,
    ):  # odd numbers of 2 mm pixels: the middle stays the middle, cropped or padded
        n = width // 2
        out = fit_to_canvas(wide, (4, n), (8, width))
        assert out[:, n // 2].tolist() == [5] * 4 and out.sum() == 20


@pytest.mark.parametrize("fov", [(900,), (900, 0), (900, float("nan"))])
def test_a_bad_field_of_view_is_named(fov):
    with pytest.raises(ConfigError, match="field_of_view_mm"):
        fit_to_canvas(np.ones((4, 4)), (5, 3), fov)


def test_a_volume_is_not_a_projection():
    with pytest.raises(ValueError, match="two dimensions"):
        fit_to_canvas(np.ones((4, 4, 4)), (5, 3), (900, 540))
