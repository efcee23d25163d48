"""From the values a PET scanner stores to SUVbw: every rule as a function of the header alone.

SUVbw = activity concentration (Bq/ml) · body weight (g) / injected activity (Bq) at the time of the voxel values. The
scanner may store Bq/ml, counts with a private factor, or another kind of SUV, corrected for decay to one of three
instants; a header that does not say which is refused, never guessed.
Rules: QIBA vendor-neutral pseudo-code and the manual of the IBSI SUV project (oncoray.github.io/suv_computation).
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from radiogan_lib.data import suv_kinds as kinds
from radiogan_lib.data.dicom_values import (
    items,
    private_number,
    tag,
    text,
    unvalidated,
    value,
    words,
)
from radiogan_lib.data.errors import ExamError
from radiogan_lib.data.suv_activity import INJECTION, SuvFactor, from_activity, injected_bq
from radiogan_lib.data.tracer import check_fdg

__all__ = ["SuvFactor", "factor", "injected_bq"]

REFUSED_UNITS = {
    "PROPCNTS",
    "PROPCPS",
    "CPS",
    "1CM",
    "NONE",
    "PCNT",
    "MGMINML",
    "UMOLML",
    "MLMING",
    "MLG",
    "UMOLMINML",
    "CM2",
    "BQ",
    "STDDEV",
}
SERIES_WIDE = (
    "Units",
    "SUVType",
    "DecayCorrection",
    "CorrectedImage",
    "PatientWeight",
    "PatientSize",
    "PatientSex",
    "SeriesDate",
    "SeriesTime",
)
INJECTION_WIDE = (
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
)


@unvalidated()
def factor(headers: Dataset | Sequence[Dataset]) -> SuvFactor:
    """SUVbw per rescaled pixel value (value = pixel · Rescale Slope of that slice + Rescale Intercept).

    Args:
        headers: one pydicom header, or those of all slices of one series in any order.

    Raises:
        ExamError: not attenuation-corrected, not FDG, units or decay correction that do not lead to SUVbw, or a missing
            weight, dose, time or half-life; the message names the tag.
    """
    headers = [headers] if isinstance(headers, Dataset) else list(headers)
    _same_everywhere(headers)
    first, notes = headers[0], []
    if "ATTN" not in words(first, "CorrectedImage"):
        raise ExamError(
            f"{tag('CorrectedImage')} does not list ATTN: the images are not corrected for attenuation",
            "Give the attenuation-corrected series.",
        )
    if text(first, "DecayCorrection") == "START" and "DECY" not in words(first, "CorrectedImage"):
        raise ExamError(
            f"{tag('DecayCorrection')} is START, but {tag('CorrectedImage')} does not list DECY"
        )
    notes += check_fdg(first)
    units, suv_type = text(first, "Units"), text(first, "SUVType")
    if suv_type and suv_type not in kinds.SUV_TYPES:
        raise ExamError(f"{tag('SUVType')} holds a value that DICOM does not define")
    scale, steps = np.ones(len(headers)), ()
    if units == "GML":
        if suv_type == "BSA":
            raise ExamError(f"{tag('Units')} GML and {tag('SUVType')} BSA contradict each other")
        scale, steps = kinds.to_body_weight(headers, suv_type or "BW", notes)
    elif units == "CM2ML":
        if suv_type not in ("", "BSA"):
            raise ExamError(
                f"{tag('Units')} CM2ML and {tag('SUVType')} {suv_type} contradict each other"
            )
        scale, steps = kinds.to_body_weight(headers, "BSA", notes)
    elif units == "CNTS":
        return _counts(headers, suv_type, notes)
    elif units == "BQML":
        return from_activity(headers, scale, "BQML", notes)
    else:
        name = units if units in REFUSED_UNITS else "missing" if not units else "an unknown value"
        raise ExamError(
            f"{tag('Units')} is {name}; only BQML, GML, CM2ML and Philips CNTS lead to SUV"
        )
    return SuvFactor(
        scale, f"{units} {suv_type or ('BW' if units == 'GML' else 'BSA')}", steps, tuple(notes)
    )


def _same_everywhere(headers: list[Dataset]) -> None:
    """Refuse a series whose slices disagree on what holds for the whole series."""
    for name in SERIES_WIDE:
        if len({tuple(words(ds, name)) for ds in headers}) > 1:
            raise ExamError(f"{tag(name)} differs between slices; they do not belong to one series")
    for name in INJECTION_WIDE:
        if (
            len({tuple(str(value(item, name)) for item in items(ds, INJECTION)) for ds in headers})
            > 1
        ):
            raise ExamError(f"{tag(name)} differs between slices; they do not belong to one series")


def _counts(headers, suv_type: str, notes: list[str]) -> SuvFactor:
    """Philips counts: the private factor to SUVbw, else the one to Bq/ml."""
    direct = [private_number(ds, "philips_suv") for ds in headers]
    activity = [private_number(ds, "philips_activity") for ds in headers]
    if None not in direct:
        if suv_type not in ("", "BW"):
            raise ExamError(
                f"{tag('Units')} CNTS with the Philips SUV factor gives SUVbw, but {tag('SUVType')} is {suv_type}"
            )
        if text(headers[0], "DecayCorrection") == "NONE":
            notes.append("Philips' own SUV factor was used although Decay Correction is NONE")
        return SuvFactor(
            np.array(direct),
            "CNTS Philips SUV",
            (f"Philips (7053,1000) turns counts into SUVbw: {direct[0]:.6g}.",),
            tuple(notes),
        )
    if None not in activity:
        return from_activity(headers, np.array(activity), "CNTS Philips activity", notes)
    raise ExamError(
        f"{tag('Units')} is CNTS, and neither Philips factor (7053,1000) or (7053,1009) is usable in every slice",
        "Export the series again with its private tags.",
    )
