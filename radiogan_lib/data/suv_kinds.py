"""The kinds of SUV that a scanner may store, and how each becomes SUVbw.

SUV divides by the patient's weight, or by lean mass, ideal weight or body surface in its place; the ratio of the two
needs weight, height and sex from the header.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from radiogan_lib.data.dicom_values import positive, tag, text
from radiogan_lib.data.errors import ExamError

GRAMS_ABOVE = 1000.0  # a "weight" above this is in grams
CM_ABOVE = 3.0  # a "size" above this is in centimetres
HEIGHT_M = (0.3, 2.6)
SUV_TYPES = {"BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW", "BSA"}


def weight_kg(ds: Dataset, notes: list[str]) -> float:
    """Patient's weight in kg; above 1000 it is in grams."""
    found = positive(ds, "PatientWeight", "SUVbw is undefined")
    if found > GRAMS_ABOVE:
        notes.append(f"{tag('PatientWeight')} was in grams")
        found /= 1000
    return found


def body_measure(
    suv_type: str, weight_kg: float, height_m: float | None = None, sex: str = ""
) -> float:
    """What this kind of SUV divides by: grams of (lean, ideal) body, or cm² of body surface.

    Args:
        suv_type: DICOM SUV Type (0054,1006). LBM is Morgan 1994, LBMJAMES128 James 1976, LBMJANMA Janmahasatian
            2005, IBW Sugawara 1999, BSA DuBois 1916.
        weight_kg: kg.
        height_m: m; not needed for BW.
        sex: M, F, or O for the mean of the two; not needed for BW and BSA.
    """
    w, h = weight_kg, height_m
    if suv_type == "BW":
        return 1000 * w
    if suv_type == "BSA":
        return 1e4 * 0.007184 * w**0.425 * (100 * h) ** 0.725
    if sex == "O":
        return (body_measure(suv_type, w, h, "M") + body_measure(suv_type, w, h, "F")) / 2
    man = sex == "M"
    return (
        1000
        * {
            "LBM": (1.10 * w - 0.0120 * (w / h) ** 2)
            if man
            else (1.07 * w - 0.0148 * (w / h) ** 2),
            "LBMJAMES128": (1.10 * w - 0.0128 * (w / h) ** 2)
            if man
            else (1.07 * w - 0.0148 * (w / h) ** 2),
            "LBMJANMA": 9270 * w / ((6680 if man else 8780) + (216 if man else 244) * w / h**2),
            "IBW": (48.0 + 1.06 * (100 * h - 152)) if man else (45.5 + 0.91 * (100 * h - 152)),
        }[suv_type]
    )


def to_body_weight(headers, suv_type: str, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Another kind of SUV → SUVbw: times weight, divided by what that kind uses in its place."""
    if suv_type == "BW":
        return np.ones(len(headers)), ("The values are SUVbw already (GML).",)
    first = headers[0]
    kg = weight_kg(first, notes)
    height = positive(first, "PatientSize", f"SUV of type {suv_type} cannot be turned into SUVbw")
    if height > CM_ABOVE:
        notes.append(f"{tag('PatientSize')} was in centimetres")
        height /= 100
    if not HEIGHT_M[0] <= height <= HEIGHT_M[1]:
        raise ExamError(
            f"{tag('PatientSize')} is no body height in m or cm; SUV of type {suv_type} cannot be turned into SUVbw"
        )
    sex = text(first, "PatientSex")
    if suv_type != "BSA" and sex not in ("M", "F", "O"):
        raise ExamError(
            f"{tag('PatientSex')} is not M, F or O; SUV of type {suv_type} cannot be turned into SUVbw"
        )
    measure = body_measure(suv_type, kg, height, sex)
    if not measure > 0:
        raise ExamError(
            f"{tag('PatientWeight')} and {tag('PatientSize')} give no positive body measure for {suv_type}"
        )
    ratio = 1000 * kg / measure
    return np.full(len(headers), ratio), (
        f"The values are SUV of type {suv_type}; times {ratio:.4g} they are SUVbw.",
    )
