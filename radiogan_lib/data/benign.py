"""Benign foci: inflammation, arthritis, injection site, polyp, brown fat; as often in every class.

They are why a hot spot is not yet a cancer. Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np


def draw(foci) -> None:
    """Add today's benign foci to a `lesions.Drawer`."""
    r, p = foci.r, foci.p
    if r.random() < 0.13:
        side = r.choice([-1, 1])
        for _ in range(1 + r.poisson(0.8)):
            station = ("neck II", "neck II", "neck III", "neck I")[int(r.integers(4))]
            same = side if r.random() < 0.7 else -side
            foci.node(station, same, foci.mm(9, 0.2, 6, 14), foci.suv(2.6, 0.25, 1.8, 4.5))
    if r.random() < 0.09:  # granulomatous hila are symmetric
        value = foci.suv(3, 0.25, 1.8, 5.5)
        for side in (-1, 1):
            foci.node("hilar", side, foci.mm(12, 0.2, 8, 18), value)
        foci.node("subcarinal", 1, foci.mm(12, 0.2), value)
    if r.random() < 0.07:
        foci.node("axillary", r.choice([-1, 1]), foci.mm(9, 0.2), foci.suv(2.3, 0.3, 1.5, 5))
    if r.random() < 0.08:
        foci.node("inguinal", r.choice([-1, 1]), foci.mm(10, 0.2), foci.suv(2.2, 0.25, 1.5, 4))
    if r.random() < 0.06:
        foci.add(
            "lung inflammation",
            foci.in_lung(r.choice([-1, 1])),
            foci.mm(16, 0.3),
            foci.suv(2.3, 0.3, 1.2, 4.5),
        )
    if r.random() < 0.22:
        for _ in range(1 + r.poisson(0.6)):
            side = r.choice([-1, 1])
            limb = p.shoulders[0 if side == 1 else 1]
            if r.random() < 0.5:
                foci.add(
                    "shoulder arthritis",
                    (0, 0, 300),
                    foci.mm(20, 0.25),
                    foci.suv(2.3, 0.3, 1.5, 5),
                    body=limb + r.normal(0, 12, 3),
                )
            else:
                foci.add(
                    "hip or facet arthritis",
                    np.array([side * 98, 108, 812])
                    if r.random() < 0.5
                    else np.array([side * 16, 50, r.uniform(640, 735)]),
                    foci.mm(11, 0.25),
                    foci.suv(2.6, 0.3, 1.6, 5),
                )
    if r.random() < 0.05:
        foci.add(
            "rib fracture",
            np.array([r.choice([-1, 1]) * 128, r.uniform(80, 140), r.uniform(400, 540)]),
            foci.mm(10, 0.2),
            foci.suv(3, 0.3, 1.8, 6),
        )
    if r.random() < 0.06:
        foci.add(
            "tonsillitis",
            np.array([r.choice([-1, 1]) * 17, 98, 190]),
            foci.mm(15, 0.2),
            foci.suv(4.5, 0.3, 2.5, 8),
        )
    if r.random() < 0.035:
        side = r.choice([-1, 1])
        foci.add(
            "thyroid nodule",
            np.array([side * 17, 92, 284]),
            foci.mm(13, 0.25),
            foci.suv(4.5, 0.45, 2, 14),
        )
    if r.random() < 0.035:
        place = np.array(
            [(96, 100, 680), (-104, 84, 690), (-40, 120, 775), (0, 184, 650)][int(r.integers(4))]
        )
        foci.add("colon polyp", place, foci.mm(13, 0.2), foci.suv(6, 0.35, 3, 14))
    if r.random() < 0.09:
        points = p.limbs[1 + 2 * int(r.integers(2))][0]
        foci.add(
            "injection site",
            (0, 0, 300),
            foci.mm(10, 0.3),
            foci.suv(9, 0.7, 2, 60),
            body=points[3] + r.normal(0, 12, 3),
        )
    if p.brown_fat:
        for side in (-1, 1):
            for point in (
                (40, 88, 272),
                (58, 92, 292),
                (80, 92, 306),
                (100, 90, 322),
                (20, 60, 300),
                (18, 52, 350),
                (16, 52, 396),
            ):
                if r.random() < 0.75:
                    foci.add(
                        "brown fat",
                        np.array([side * point[0], *point[1:]]) + r.normal(0, 4, 3),
                        foci.mm(13, 0.25),
                        p.brown_fat * np.exp(r.normal(0, 0.3)),
                        (1.2, 0.8, 1),
                    )
