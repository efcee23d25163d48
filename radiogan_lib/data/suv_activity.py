"""Bq/ml → SUVbw: weight, injected dose, and the decay between injection and the instant of the voxel values.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from radiogan_lib.data import suv_times
from radiogan_lib.data.dicom_times import utc_offset
from radiogan_lib.data.dicom_values import items, positive, tag, text, value, words
from radiogan_lib.data.errors import ExamError
from radiogan_lib.data.suv_kinds import weight_kg

INJECTION = "RadiopharmaceuticalInformationSequence"
MBQ_BELOW = (
    1e5  # an injected "dose" below this is in MBq: 0.1 MBq is no FDG injection, 100 000 MBq kills
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


def injected_bq(item: Dataset, notes: list[str]) -> float:
    """Injected activity in Bq; below 1e5 it is in MBq."""
    found = positive(item, "RadionuclideTotalDose", "SUVbw is undefined")
    if found < MBQ_BELOW:
        notes.append(f"{tag('RadionuclideTotalDose')} was in MBq")
        found *= 1e6
    return found


def from_activity(headers, to_bq_ml: np.ndarray, name: str, notes: list[str]) -> SuvFactor:
    """Bq/ml (after `to_bq_ml`) → SUVbw by weight, dose and decay."""
    first, injections = headers[0], items(headers[0], INJECTION)
    if len(injections) != 1:
        raise ExamError(f"{tag(INJECTION)} has {len(injections)} items; one injection is needed")
    item, decay = injections[0], text(first, "DecayCorrection")
    grams, dose = 1000 * weight_kg(first, notes), injected_bq(item, notes)
    steps = [f"Body weight {grams / 1000:g} kg, injected {dose / 1e6:.6g} MBq."]
    if decay == "ADMIN":
        steps.append("Corrected for decay to the injection (ADMIN): the dose is not decayed.")
        return SuvFactor(to_bq_ml * grams / dose, f"{name} ADMIN", tuple(steps), tuple(notes))
    if decay not in ("START", "NONE"):
        raise ExamError(
            f"{tag('DecayCorrection')} is {'missing' if not decay else 'not START, ADMIN or NONE'}"
        )
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
        notes.append(
            f"{tag('CorrectedImage')} lists DECY, but {tag('DecayCorrection')} NONE was followed"
        )
    starts = suv_times.acquisitions(headers)
    if None in starts:
        raise ExamError(
            f"{tag('AcquisitionTime')} is missing; {tag('DecayCorrection')} NONE needs it in every slice"
        )
    injected, how = suv_times.injection_time(item, min(starts), zone)
    rate = math.log(2) / half_life
    per_slice = [
        math.exp(
            rate
            * (
                (start - injected).total_seconds()
                + suv_times.average_activity_time(
                    positive(ds, "ActualFrameDuration", f"{tag('DecayCorrection')} NONE needs it")
                    / 1000,
                    half_life,
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
    return SuvFactor(
        to_bq_ml * np.array(per_slice) * grams / dose, f"{name} NONE", tuple(steps), tuple(notes)
    )
