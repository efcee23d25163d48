"""The image that most tests write as a series."""

import nibabel as nib
import numpy as np
import pytest
from exam_builder import SHAPE


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    affine = np.diag([4.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = [-11, 7, -80]
    volume = rng.gamma(2, 1, SHAPE).astype(np.float32)
    volume[:, :, 1] *= 12  # one hot slice, so that slopes differ by far
    return nib.Nifti1Image(volume, affine)
