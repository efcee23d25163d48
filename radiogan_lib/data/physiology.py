"""The day of the exam: arms, field of view, scanner, and how much FDG each organ takes up (SUV).

Ranges follow what is usual an hour after injection; none depends on the class.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np


def draw(patient, r: np.random.Generator) -> None:
    """Set the day's attributes of an `anatomy.Patient`: pose, view, scanner, and SUV of every organ."""
    patient.arms_up = bool(r.random() < 0.62)
    patient.arm = r.normal(0, 1, (2, 5))  # how each arm lies
    start = r.choice(3, p=[0.36, 0.44, 0.20])  # vertex; orbits; skull base to mouth
    patient.fov_start_mm = float(
        [r.uniform(-45, 8), r.uniform(30, 85), r.uniform(85, 150)][start]
        * (patient.head_scale if start else 1)
    )
    patient.off_centre = r.normal(0, [7, 6])  # the body on the table, mm
    patient.head_tilt = r.normal(0, [4.5, 5, 9])  # degrees: to the side, nodding, turning
    patient.resolution_mm = float(r.uniform(5.0, 7.0))  # FWHM
    patient.noise = float(
        np.clip(r.normal(0.115, 0.02) + 0.0025 * (patient.bmi - 25), 0.075, 0.19)
    )  # liver COV
    patient.blood = float(np.clip(r.normal(1.55, 0.22), 1.0, 2.4))
    patient.liver = float(np.clip(patient.blood * r.normal(1.45, 0.13), 1.5, 4.0))
    patient.spleen = float(patient.liver * np.clip(r.normal(0.84, 0.08), 0.6, 1.1))
    patient.marrow = float(
        np.clip(r.normal(1.35, 0.25), 0.8, 2.2) * (1.25 if patient.age < 40 else 1)
    )
    if (
        r.random() < 0.05
    ):  # after chemotherapy or growth factor: bright marrow (and spleen) in any class
        patient.marrow *= r.uniform(1.7, 2.8)
        patient.spleen *= r.uniform(1.1, 1.7)
    patient.brain = float(np.clip(np.exp(r.normal(np.log(8.5), 0.25)), 4, 16))
    heart = r.random()  # fasting hearts range from nothing to the hottest organ
    patient.myocardium = float(
        patient.blood * r.uniform(0.9, 1.5)
        if heart < 0.38
        else r.uniform(2.2, 5)
        if heart < 0.62
        else np.exp(r.normal(np.log(9), 0.35))
    )
    patient.myocardium_patchy = float(r.random())
    patient.muscle_suv = float(np.clip(r.normal(0.68, 0.09), 0.45, 0.95))
    if r.random() < 0.03:  # after exercise or insulin
        patient.muscle_suv *= float(r.uniform(1.6, 2.6))
    patient.skin_suv = float(r.uniform(0.45, 0.75))
    patient.gland_suv = float(r.uniform(0.4, 0.8) if patient.age > 50 else r.uniform(0.6, 1.4))
    patient.breath_mm = float(r.normal(0, 7))
    patient.fat_suv = float(r.uniform(0.18, 0.32))
    patient.kidney = float(np.clip(np.exp(r.normal(np.log(2.6), 0.22)), 1.5, 5))
    patient.urine = float(np.clip(np.exp(r.normal(np.log(14), 0.6)), 3, 60))
    patient.bladder = float(np.clip(np.exp(r.normal(np.log(16), 0.75)), 2, 90))
    patient.bladder_fill = float(np.clip(np.exp(r.normal(np.log(0.75), 0.45)), 0.3, 2.2))
    kind = r.choice(4, p=[0.45, 0.31, 0.18, 0.06])  # bowel: quiet, mild, colon, metformin
    patient.bowel = float(
        [r.uniform(0.8, 1.4), r.uniform(1.3, 2.4), r.uniform(2.2, 4.5), r.uniform(3.5, 8)][kind]
    )
    patient.bowel_kind = int(kind)
    patient.stomach_suv = float(np.clip(np.exp(r.normal(np.log(1.9), 0.35)), 0.9, 5))
    patient.brown_fat = (
        float(r.uniform(3, 14)) if r.random() < (0.09 if patient.age < 45 else 0.03) else 0.0
    )
