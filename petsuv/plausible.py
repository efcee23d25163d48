"""Can these values be SUV? The checks that need no header, because NIfTI files do not say what they hold."""

from __future__ import annotations

import numpy as np

from petsuv.errors import ExamError

MAX_SUV = 2000.0  # bladders and injection sites reach hundreds
MAX_P999 = (
    200.0  # one voxel in a thousand above this is Bq/ml: 100 times what the hottest organs hold
)
MIN_SUV = -100.0  # air is -1000 HU in CT; noise below zero in PET stays near zero
SAMPLE = 500_000  # voxels looked at for the shares; the extremes come from every voxel

_BQ = "Convert Bq/ml to SUV (for autoPET: SUV.nii.gz, not PET.nii.gz), or give the DICOM series."


def check_suv(lowest: float, highest: float, sample: np.ndarray) -> None:
    """Refuse values that are not SUVbw.

    Args:
        lowest: of all voxels.
        highest: of all voxels; NaN if any voxel is.
        sample: an even share of the voxels, any shape.

    Raises:
        ExamError: NaN or infinite, CT, Bq/ml, mostly negative, or empty.
    """
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ExamError(
            "the image holds values that are not finite numbers (NaN or infinite)",
            "Export it again without them; a mask outside the body should be 0.",
        )
    if lowest < MIN_SUV:
        raise ExamError(
            f"the lowest value is {lowest:.4g}: this looks like CT in Hounsfield units, not SUV",
            "Give the PET in SUV.",
        )
    sample = np.asarray(sample).ravel()
    p999 = float(np.percentile(sample, 99.9)) if sample.size else highest
    if highest > MAX_SUV or p999 > MAX_P999:
        raise ExamError(
            f"the highest value is {highest:.4g} and the 99.9th percentile {p999:.4g}: this looks like Bq/ml, not SUV",
            _BQ,
        )
    if sample.size and (np.mean(sample < -0.5) > 0.01 or np.mean(sample < -0.1) > 0.05):
        raise ExamError(
            "many values are below zero: this is not SUV (standardised or filtered values?)",
            "Give the PET in SUV.",
        )
    if not highest > 0:
        raise ExamError("the image is empty: no value is above zero")


def stride(voxels: int) -> int:
    """Every how-manieth voxel makes a sample of about SAMPLE. Odd, so that it does not keep in step with even rows."""
    return max(1, voxels // SAMPLE) | 1
