"""The skeleton as red marrow: vertebrae, ribs, sternum, shoulders, pelvis, hips. Cold cortical bone is left out.

Numbers are template millimetres (anatomy.py). Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.data.anatomy import Patient
from radiogan_lib.data.shapes import Canvas, turn


def spine(p: Patient):
    """Vertebral bodies from C2 to L5: list of (template centre, radii) in mm."""
    out = [((0, 52 + 2 * (k > 3), 168 + 18.5 * k), (10 + 0.6 * k, 8, 7)) for k in range(6)]
    for k in range(12):
        out.append(
            (
                (0, 50 + 5 * np.sin(np.pi * k / 11) + 0.6 * k, 290 + 23.2 * k),
                (12.5 + 0.7 * k, 10.5 + 0.6 * k, 9.6 + 0.15 * k),
            )
        )
    for k in range(5):
        out.append(((0, 66 + (8, 12, 13, 9, 3)[k], 576 + 34.5 * k), (21.5 + k, 16, 12.6)))
    return out


def skeleton(c: Canvas, p: Patient) -> None:
    """Red marrow: vertebrae, ribs, sternum, shoulder, pelvis, hips; cold cortical bone is left out."""
    r, m, z = p.stream("skeleton", person=True), p.marrow, p.size("bone")
    for k in range(12):
        level = 296 + 22.5 * k
        half, depth, back, fat, x0, table = p.outline(level + 20)
        for side in (1, -1):
            far = (115 + 3 * k) if k < 7 else 150 - 22 * (k - 6)
            a = np.deg2rad(np.linspace(18, max(far, 62), 7))
            w, h = half - fat - 9, (depth - 1.6 * fat) * 0.43
            squash = np.interp(level, [290, 330, 380], [0.55, 0.82, 1])
            drop = np.array([0, 3, 10, 20, 32, 44, 54]) * (0.75 + 0.04 * k)
            pts = np.stack(
                [
                    x0 + side * w * squash * np.sin(a),
                    table + back + depth / 2 - h * np.cos(a),
                    p.to_s(level + drop),
                ],
                1,
            )
            c.tube(pts, 4.6 * z, m * 0.48)
    for centre, radii in spine(p):
        tilt = turn(r.normal(0, 2.5))
        c.ellipsoid(p.at(centre), [k * z for k in radii], m * r.normal(1, 0.06), tilt)
        if centre[2] > 280:
            c.tube(
                [
                    p.at((0, centre[1] - 24, centre[2] + 6)),
                    p.at((0, centre[1] - 36, centre[2] + 14)),
                ],
                5 * z,
                m * 0.6,
            )
    c.tube(
        p.at([(0, 172, 322), (0, 190, 350), (0, 202, 400), (0, 208, 455)]),
        np.array([19, 17, 15, 11]) * z,
        m * 0.72,
        flat=0.38,
    )
    for side in (1, -1):
        at = lambda pts: p.at([(side * a, b, s) for a, b, s in pts])  # noqa: E731
        shoulder = p.shoulders[0 if side == 1 else 1]
        c.ellipsoid(shoulder, np.array([20, 20, 20]) * z, m * 0.6)
        c.tube(
            np.concatenate(
                [at([(22, 158, 318), (70, 140, 308)]), shoulder[None] - [side * 18, -8, 12]]
            ),
            5.5 * z,
            m * 0.5,
        )
        c.tube(
            at([(62, 22, 330), (95, 28, 350), (78, 20, 440)]),
            np.array([5, 8, 4]) * z,
            m * 0.5,
            flat=0.6,
        )
        c.ellipsoid(at([(58, 62, 735)])[0], np.array([13, 34, 40]) * z, m * 0.9, turn(-22, 20))
        c.ellipsoid(at([(92, 105, 728)])[0], np.array([9, 30, 34]) * z, m * 0.75, turn(-25, 15))
        c.tube(at([(75, 85, 770), (84, 100, 815)]), np.array([15, 20]) * z, m * 0.75)
        c.tube(
            at([(66, 80, 840), (58, 68, 868), (35, 110, 880), (16, 150, 845), (50, 125, 815)]),
            8 * z,
            m * 0.6,
        )
        hip, mid, knee = p.thighs[0 if side == 1 else 1]
        c.ellipsoid(at([(92, 104, 820)])[0], np.array([21, 21, 21]) * z, m * 0.55)
        c.tube(
            [
                at([(92, 104, 820)])[0],
                at([(128, 98, 850)])[0],
                (hip + 2 * mid) / 3 + [side * 14, 0, 0],
            ],
            np.array([14, 17, 13]) * z,
            m * 0.4,
        )
    c.tube(
        p.at([(0, 58, 735), (0, 44, 765), (0, 34, 800)]),
        np.array([30, 26, 12]) * z,
        m * 0.95,
        flat=0.5,
    )
    for side in (1, -1):
        c.ellipsoid(p.at((side * 34, 52, 745)), np.array([19, 14, 24]) * z, m * 0.85)
