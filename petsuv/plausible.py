"""Can these values be SUV? NIfTI files do not say what they hold, and DICOM headers may err."""

import numpy as np

from petsuv.errors import ExamError

# A small file can claim any size (gzip shrinks zeros a thousandfold). The largest total-body scans
# have about 600 × 600 × 1650 voxels, 2.4 GB of float32.
MAX_VOXELS = 600_000_000
VOXEL_MM = (0.2, 30.0)
MAX_SUV = 2000.0  # bladders and injection sites reach hundreds
MAX_P999 = 200.0  # one voxel in a thousand above this: 100 times what the hottest organs hold
MIN_SUV = -100.0  # air is -1000 HU in CT; noise below zero in PET stays near zero
MAX_WHOLE = 20.0  # whole numbers whose 99.9th percentile is above this are CT or a picture
LABELS = 5  # a volume with no more different values is a mask or a label map
MAX_SHARE = 1.0  # a highest value not above this: scaled to [0, 1], a probability or a mask
SAMPLE = 500_000  # voxels looked at for the shares; the extremes come from every voxel

_BQ = "Convert Bq/ml to SUV (for autoPET: SUV.nii.gz, not PET.nii.gz), or give the DICOM series."
_GIVE = "Give the PET in SUV."


def check_suv(lowest: float, highest: float, sample: np.ndarray, dicom: bool = False) -> list[str]:
    """Refuse values that are not SUVbw.

    Args:
        lowest, highest: of all voxels; NaN if any voxel is.
        sample: an even share of the voxels, any shape.
        dicom: the unit is known: a few voxels above 2000 are noted, whole numbers are allowed.

    Returns:
        notes.

    Raises:
        ExamError: not finite, CT, Bq/ml, a mask, scaled to [0, 1], mostly negative, or empty.
    """
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ExamError(
            "the image holds values that are not finite numbers (NaN or infinite)",
            "Export it again without them; a mask outside the body should be 0.",
        )
    if lowest < MIN_SUV:
        said = f"the lowest value is {lowest:.4g}: this looks like CT in Hounsfield units, not SUV"
        raise ExamError(said, _GIVE)
    sample = np.asarray(sample).ravel()
    p999 = float(np.percentile(sample, 99.9)) if sample.size else highest
    top = f"the highest value is {highest:.4g}"
    if p999 > MAX_P999 or (highest > MAX_SUV and not dicom):
        raise ExamError(
            f"{top} and the 99.9th percentile {p999:.4g}: this looks like Bq/ml or CT, not SUV",
            "Check weight, dose and units in the header." if dicom else _BQ,
        )
    if sample.size and (np.mean(sample < -0.5) > 0.01 or np.mean(sample < -0.1) > 0.05):
        said = "many values are below zero: this is not SUV (standardised or filtered values?)"
        raise ExamError(said, _GIVE)
    if not highest > 0:
        raise ExamError("the image is empty: no value is above zero")
    if highest > MAX_SUV:
        return [f"SUV reaches {highest:.0f}: check weight and dose in the header"]
    if dicom:
        return []
    if highest <= MAX_SHARE:
        raise ExamError(f"{top}: a mask, a probability or values scaled to [0, 1], not SUV", _GIVE)
    few = sample[:: max(1, sample.size // 50_000)]
    if not ((few == np.rint(few)).all() and float(highest).is_integer()):
        return []
    if p999 > MAX_WHOLE or len(np.unique(few)) <= LABELS:
        what = "a mask, a label map, a picture or CT, not SUV"
        raise ExamError(f"all values are whole numbers up to {highest:.4g}: {what}", _GIVE)
    return ["all values are whole numbers: SUV seems rounded"]


def stride(voxels: int) -> int:
    """Every how-manieth voxel makes about SAMPLE; odd, so that it does not run with even rows."""
    return max(1, voxels // SAMPLE) | 1
