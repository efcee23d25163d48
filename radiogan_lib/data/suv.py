"""From the values a PET scanner stores to SUVbw: every rule as a function of the header alone.

SUVbw = activity concentration (Bq/ml) · body weight (g) / injected activity (Bq) at the time of the voxel values. The
scanner may store Bq/ml, counts with a private factor, or another kind of SUV, corrected for decay to one of three
instants; a header that does not say which is refused, never guessed.
Rules: QIBA vendor-neutral pseudo-code and the manual of the IBSI SUV project (oncoray.github.io/suv_computation).
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from radiogan_lib.data import suv_kinds as kinds, suv_times
from radiogan_lib.data.dicom_values import (
    items,
    positive,
    private_number,
    tag,
    text,
    unvalidated,
    utc_offset,
    value,
    words,
)
from radiogan_lib.data.errors import ExamError
from radiogan_lib.data.tracer import check_fdg

MBQ_BELOW = 1e5  # an injected "dose" below this is in MBq: 0.1 MBq is no FDG injection, 100 000 MBq kills
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
INJECTION = "RadiopharmaceuticalInformationSequence"
INJECTION_WIDE = (
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
)


@dataclass(frozen=True, eq=False)
class SuvFactor:
    """What turns rescaled pixel values into SUVbw (g/ml).

    Attributes:
        per_slice: (slices,) float64; one value repeated unless the images are not corrected for decay.
        rule: short name, such as `BQML START`.
        explanation: sentences that derive the number; they hold no date, time of day or identifier.
        notes: what was put right on the way (a dose in MBq, a weight in grams).
    """

    per_slice: np.ndarray = field(repr=False)
    rule: str
    explanation: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The factor; the median where slices differ (Decay Correction NONE)."""
        return float(np.median(self.per_slice))


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
        raise ExamError(f"{tag('DecayCorrection')} is START, but {tag('CorrectedImage')} does not list DECY")
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
            raise ExamError(f"{tag('Units')} CM2ML and {tag('SUVType')} {suv_type} contradict each other")
        scale, steps = kinds.to_body_weight(headers, "BSA", notes)
    elif units == "CNTS":
        return _counts(headers, suv_type, notes)
    elif units == "BQML":
        return _activity(headers, scale, "BQML", notes)
    else:
        name = units if units in REFUSED_UNITS else "missing" if not units else "an unknown value"
        raise ExamError(f"{tag('Units')} is {name}; only BQML, GML, CM2ML and Philips CNTS lead to SUV")
    return SuvFactor(scale, f"{units} {suv_type or ('BW' if units == 'GML' else 'BSA')}", steps, tuple(notes))


def _same_everywhere(headers: list[Dataset]) -> None:
    """Refuse a series whose slices disagree on what holds for the whole series."""
    for name in SERIES_WIDE:
        if len({tuple(words(ds, name)) for ds in headers}) > 1:
            raise ExamError(f"{tag(name)} differs between slices; they do not belong to one series")
    for name in INJECTION_WIDE:
        if len({tuple(str(value(item, name)) for item in items(ds, INJECTION)) for ds in headers}) > 1:
            raise ExamError(f"{tag(name)} differs between slices; they do not belong to one series")


def injected_bq(item: Dataset, notes: list[str]) -> float:
    """Injected activity in Bq; below 1e5 it is in MBq."""
    found = positive(item, "RadionuclideTotalDose", "SUVbw is undefined")
    if found < MBQ_BELOW:
        notes.append(f"{tag('RadionuclideTotalDose')} was in MBq")
        found *= 1e6
    return found


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
        return _activity(headers, np.array(activity), "CNTS Philips activity", notes)
    raise ExamError(
        f"{tag('Units')} is CNTS, and neither Philips factor (7053,1000) or (7053,1009) is usable in every slice",
        "Export the series again with its private tags.",
    )


def _activity(headers, to_bq_ml: np.ndarray, name: str, notes: list[str]) -> SuvFactor:
    """Bq/ml (after `to_bq_ml`) → SUVbw by weight, dose and decay."""
    first, injections = headers[0], items(headers[0], INJECTION)
    if len(injections) != 1:
        raise ExamError(
            f"{tag(INJECTION)} has {len(injections)} items; one injection is needed"
        )
    item, decay = injections[0], text(first, "DecayCorrection")
    grams, dose = 1000 * kinds.weight_kg(first, notes), injected_bq(item, notes)
    steps = [f"Body weight {grams / 1000:g} kg, injected {dose / 1e6:.6g} MBq."]
    if decay == "ADMIN":
        steps.append("Corrected for decay to the injection (ADMIN): the dose is not decayed.")
        return SuvFactor(to_bq_ml * grams / dose, f"{name} ADMIN", tuple(steps), tuple(notes))
    if decay not in ("START", "NONE"):
        raise ExamError(f"{tag('DecayCorrection')} is {'missing' if not decay else 'not START, ADMIN or NONE'}")
    half_life = positive(item, "RadionuclideHalfLife", "the decay of the dose is unknown")
    zone = utc_offset(value(first, "TimezoneOffsetFromUTC"))
    if decay == "START":
        reference, why = suv_times.reference_time(headers, half_life)
        injected, how = suv_times.injection_time(item, reference, zone)
        seconds = (reference - injected).total_seconds()
        decayed = dose * 2 ** (-seconds / half_life)
        steps += [
            f"Corrected for decay to the start (START): {why}.",
            f"The dose was {how}.",
            f"{seconds / 60:.2f} min of decay with a half-life of {half_life:g} s leave {decayed / 1e6:.6g} MBq.",
            f"{grams:g} g / {decayed:.9g} Bq = {grams / decayed:.10g}.",
        ]
        return SuvFactor(to_bq_ml * grams / decayed, f"{name} START", tuple(steps), tuple(notes))
    if "DECY" in words(first, "CorrectedImage"):
        notes.append(f"{tag('CorrectedImage')} lists DECY, but {tag('DecayCorrection')} NONE was followed")
    starts = [suv_times.acquired(ds) for ds in headers]
    if None in starts:
        raise ExamError(f"{tag('AcquisitionTime')} is missing; {tag('DecayCorrection')} NONE needs it in every slice")
    injected, how = suv_times.injection_time(item, min(starts), zone)
    rate = math.log(2) / half_life
    per_slice = [
        math.exp(
            rate
            * (
                (start - injected).total_seconds()
                + suv_times.average_activity_time(
                    positive(ds, "ActualFrameDuration", f"{tag('DecayCorrection')} NONE needs it") / 1000, half_life
                )
            )
        )
        for ds, start in zip(headers, starts, strict=True)
    ]
    steps += [
        f"The dose was {how}.",
        "Not corrected for decay (NONE): every slice is corrected from its own "
        f"acquisition; the factors lie between {min(per_slice):.4g} and {max(per_slice):.4g}.",
    ]
    return SuvFactor(to_bq_ml * np.array(per_slice) * grams / dose, f"{name} NONE", tuple(steps), tuple(notes))
