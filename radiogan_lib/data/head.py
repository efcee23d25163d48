"""Head and neck: brain, eyes, glands, mucosa, tonsils, larynx, thyroid, airway and gullet.

Numbers are template millimetres (anatomy.py). Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.data.anatomy import Patient, head_map
from radiogan_lib.data.shapes import Canvas, turn


def head_and_neck(c: Canvas, p: Patient) -> None:
    """Brain (grey matter over white), eyes, glands, mucosa, tonsils, larynx, thyroid, airway."""
    at, h, r = head_map(p), p.head_scale * p.organ["brain"], p.stream("head")
    g = p.brain
    tilt = turn(*p.head_tilt)
    if p.to_s(150) > c.s[0] - 40:
        for side in (1, -1):
            c.ellipsoid(at((side * 30, 82, 76)), np.array([37, 80, 58]) * h, g, tilt)
            c.ellipsoid(at((side * 29, 82, 78)), np.array([19, 60, 40]) * h, g * 0.42, tilt)
            c.ellipsoid(at((side * 14, 88, 88)), np.array([10, 24, 14]) * h, g * 1.1, tilt)
            c.ellipsoid(at((side * 36, 100, 118)), np.array([20, 34, 18]) * h, g * 0.85, tilt)
            c.ellipsoid(at((side * 24, 38, 128)), np.array([25, 29, 21]) * h, g * 0.85, tilt)
            c.ellipsoid(at((side * 32, 158, 108)), np.array([13, 13, 12]) * h, 0.5, tilt)
            c.ellipsoid(at((side * 32, 146, 106)), np.array([7, 10, 7]) * h, 2.6, tilt)
        c.ellipsoid(at((0, 82, 72)), np.array([14, 70, 50]) * h, g * 0.9, tilt)
        c.tube(
            at([(0, 72, 112), (0, 62, 145), (0, 58, 172)]),
            np.array([14, 11, 7]) * h,
            [g * 0.6, g * 0.35],
        )
        c.tube(at([(0, 175, 120), (0, 165, 150)]), 11 * h, r.uniform(0.9, 1.8))
    mouth = np.exp(r.normal(0, 0.25))
    c.ellipsoid(at((0, 128, 188)), np.array([24, 30, 17]) * h, 1.15 * mouth, tilt, softness_mm=4)
    c.tube(
        at([(30, 118, 168), (26, 150, 160), (0, 164, 160), (-26, 150, 160), (-30, 118, 168)]),
        6 * h,
        1.5 * mouth,
    )
    c.tube(at([(0, 84, 150), (0, 86, 185), (0, 88, 225)]), np.array([10, 9, 9]) * h, 0.9)
    adenoid = 1.4 * np.exp(r.normal(0, 0.25))
    c.ellipsoid(at((0, 76, 150)), np.array([15, 6, 9]) * h, adenoid, tilt)
    tonsil = 2.2 * np.exp(r.normal(0, 0.38))
    for side in (1, -1):
        c.ellipsoid(
            at((side * 17, 98, 190)),
            np.array([7, 9, 12]) * h,
            tonsil * np.exp(r.normal(0, 0.1)),
            tilt,
        )
        c.ellipsoid(at((side * 56, 72, 165)), np.array([11, 16, 24]) * h, 1.5 * mouth, tilt)
        c.ellipsoid(at((side * 30, 102, 216)), np.array([9, 14, 11]) * h, 1.9 * mouth, tilt)
        c.tube(at([(side * 48, 105, 150), (side * 46, 108, 195)]), 9 * h, p.muscle_suv * 1.15)
        c.tube(
            at([(side * 50, 62, 180), (side * 38, 85, 250)]).tolist()
            + [p.at((side * 16, 148, 312))],
            8,
            p.muscle_suv * 1.15,
        )
    c.ellipsoid(at((0, 118, 208)), np.array([14, 16, 7]) * h, 1.7 * mouth, tilt)
    larynx = r.uniform(1.1, 2.6) if r.random() < 0.8 else r.uniform(2.5, 4.5)
    for side in (1, -1):
        c.tube(at([(side * 8, 80, 252), (side * 4, 102, 248)]), 3.5 * h, larynx)
    c.tube(p.at([(0, 92, 232), (0, 92, 275), (2, 98, 330), (3, 100, 384)]), 8, 0.35)
    for side in (1, -1):
        c.tube(p.at([(3, 100, 384), (side * 30, 100, 412)]), 6, 0.4)
        c.ellipsoid(
            p.at((side * 17, 90, 282)),
            np.array([8, 8, 19]) * (1 + 0.15 * p.goitre),
            1.3 if p.goitre < 2 else 4.5,
            turn(side * 10),
        )
    reflux = r.random()
    gullet = p.blood * (1.0 if reflux < 0.7 else r.uniform(1.1, 1.6))
    c.tube(
        p.at([(-2, 76, 285), (-6, 72, 380), (-2, 78, 445), (-16, 92, 498), (-30, 92, 515)]),
        6,
        gullet,
    )
    if reflux > 0.9:
        c.tube(p.at([(-2, 78, 440), (-16, 92, 500)]), np.array([6, 7.5]), r.uniform(2, 3.6))
