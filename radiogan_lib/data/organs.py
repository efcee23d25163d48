"""Paints a patient's normal FDG uptake: vessels, heart, abdomen, urine, bowel, pelvis here; the rest next door.

Numbers are template millimetres (anatomy.py) and SUV relative to the patient's own blood, liver or marrow.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.data.anatomy import Patient
from radiogan_lib.data.body import Body, texture
from radiogan_lib.data.head import head_and_neck
from radiogan_lib.data.shapes import Canvas, curve, turn
from radiogan_lib.data.skeleton import skeleton


def paint(canvas: Canvas, patient: Patient) -> None:
    """Fill the canvas with the patient's normal uptake (SUV before the scanner)."""
    body = Body(canvas, patient)
    body.wall()
    texture(canvas, patient)
    body.chest()
    skeleton(canvas, patient)
    vessels(canvas, patient)
    heart(canvas, patient)
    body.liver()
    abdomen(canvas, patient)
    pelvis(canvas, patient)
    head_and_neck(canvas, patient)


def vessels(c: Canvas, p: Patient) -> None:
    """Blood pool: great vessels of chest, belly, neck and groin."""
    b, z = p.blood, p.size("heart")
    age = 1 + 0.004 * (p.age - 50)
    aorta = curve(
        p.at(
            [
                (6, 140, 432),
                (14, 146, 390),
                (6, 128, 362),
                (-14, 98, 358),
                (-22, 76, 390),
                (-20, 70, 450),
                (-15, 76, 545),
                (-10, 98, 610),
                (-5, 104, 690),
            ]
        ),
        17,
    )
    c.tube(aorta, np.interp(np.arange(17), [0, 7, 12, 16], [15, 12.5, 11, 8.5]) * z * age, b)
    c.tube(p.at([(26, 130, 345), (26, 128, 430)]), 9 * z, b)
    c.tube(p.at([(20, 108, 480), (20, 98, 560), (16, 102, 695)]), np.array([12, 11, 10]) * z, b)
    c.tube(p.at([(-16, 148, 420), (-12, 130, 395), (-34, 112, 392)]), np.array([14, 13, 10]) * z, b)
    c.tube(p.at([(-8, 122, 396), (38, 112, 398)]), np.array([11, 10]) * z, b)
    for side in (1, -1):
        at = lambda pts: p.at([(side * a, q, s) for a, q, s in pts])  # noqa: E731
        c.tube(
            at([(14, 125, 345), (26, 98, 300), (28, 72, 240), (32, 72, 195)]),
            np.array([9, 7, 6.5, 6]) * z,
            b * 0.95,
        )
        c.tube(
            at([(14, 118, 335), (60, 118, 305), (115, 110, 322)]),
            np.array([7, 6, 5.5]) * z,
            b * 0.9,
        )
        c.tube(
            at(
                [
                    (4, 104, 692),
                    (34, 92, 735),
                    (56, 100, 775),
                    (70, 135, 818),
                    (78, 150, 850),
                    (84, 135, 935),
                ]
            ),
            np.array([8, 7, 6.5, 6.5, 6.5, 5.5]) * z,
            b * 0.95,
        )


def heart(c: Canvas, p: Patient) -> None:
    """Chambers, then the left ventricle as a thick cup open towards the base, from cold to the hottest organ."""
    z, r = p.size("heart"), p.stream("heart", person=True)
    o = np.array([-2, 0, -4]) + p.shift["heart"]
    at = lambda x, y, s: p.at(np.array([x, y, s]) + o)  # noqa: E731
    axes = turn(-48 + r.normal(0, 8), 26 + r.normal(0, 6), 28 + r.normal(0, 8))
    c.ellipsoid(at(-8, 142, 448), np.array([50, 42, 40]) * z, p.blood * 0.92, turn(-30))
    c.ellipsoid(at(30, 132, 440), np.array([24, 28, 32]) * z, p.blood)
    c.ellipsoid(at(-2, 104, 432), np.array([32, 22, 25]) * z, p.blood)
    c.ellipsoid(at(-2, 160, 458), np.array([38, 26, 32]) * z, p.blood)
    lv, apex = at(-31, 134, 458), axes[2]
    wall = 10.5 * z
    outer = np.array([33, 33, 46]) * z
    hot = p.myocardium
    c.ellipsoid(lv, outer, hot, axes)
    day = p.stream("heart day")
    if (
        hot > 1.7 * p.blood and p.myocardium_patchy > 0.35
    ):  # lateral wall and papillary muscles differ from the septum
        for _ in range(3):
            d = axes.T @ np.array([*(day.normal(0, 1, 2)), day.normal(0, 0.7)])
            d = d / np.linalg.norm(d) * 30 * z
            c.ellipsoid(
                lv + d, np.array([17, 17, 17]) * z, hot * day.uniform(0.35, 1.15), softness_mm=10
            )
    c.ellipsoid(lv - apex * 7 * z, outer - wall, p.blood, axes)
    c.ellipsoid(lv - apex * 44 * z, np.array([27, 27, 22]) * z, p.blood, axes, softness_mm=3)
    if hot > 3:
        c.ellipsoid(
            at(8, 168, 462), np.array([26, 8, 26]) * z, p.blood * 1.25, turn(-25), softness_mm=4
        )


def abdomen(c: Canvas, p: Patient) -> None:
    """Spleen, stomach, pancreas, kidneys with pelvis and ureters, bowel."""
    r, day = p.stream("abdomen", person=True), p.stream("abdomen day")
    c.tube(
        p.at([(8, 150, 622), (-10, 118, 604), (-40, 96, 588), (-72, 82, 566)]),
        np.array([11, 9, 9, 8]),
        0.62 * p.liver,
    )
    z, o = p.size("stomach"), p.shift["stomach"]
    pts = curve(
        p.at(
            np.array(
                [
                    (-30, 88, 515),
                    (-66, 98, 512),
                    (-78, 120, 548),
                    (-58, 150, 590),
                    (-22, 162, 618),
                    (16, 140, 604),
                ]
            )
            + o
        ),
        10,
    )
    radii = np.interp(np.arange(10), [0, 2, 5, 9], [20, 34, 24, 13]) * z
    full = day.uniform(0.35, 0.95)
    c.tube(pts, radii * (0.55 + 0.45 * full), p.stomach_suv * np.exp(day.normal(0, 0.12, 9)))
    c.tube(pts[1:-2], radii[1:-2] * (0.55 + 0.45 * full) - 8.5, 0.55)
    if not p.no_spleen:
        z = p.size("spleen")
        tilt = turn(18 + r.normal(0, 8), -18, 25)
        c.ellipsoid(
            p.at(np.array([-98, 64, 534]) + p.shift["spleen"]),
            np.array([22, 34, 44]) * z,
            p.spleen,
            tilt,
        )
        c.ellipsoid(
            p.at(np.array([-75, 80, 530]) + p.shift["spleen"]),
            np.array([14, 22, 26]) * z,
            p.fat_suv + 0.3,
            tilt,
        )
    for side, k in ((1, "kidney_r"), (-1, "kidney_l")):
        if side == p.no_kidney:
            continue
        kidney(c, p, side, np.array([side * 60, 66, 618 if side > 0 else 604]) + p.shift[k])
    bowel(c, p)


def kidney(c: Canvas, p: Patient, side: int, centre) -> None:
    """Cortex, cooler medulla, hot calyces and pelvis, and a ureter that the peristalsis cuts into pieces."""
    r, z = p.stream(f"kidney{side}"), p.size("kidney")
    tilt = turn(-side * (14 + r.normal(0, 4)), 10 + r.normal(0, 4), side * 25)
    at = p.at(centre)
    c.ellipsoid(at, np.array([25, 21, 53]) * z, p.kidney, tilt)
    c.ellipsoid(at, np.array([13, 11, 38]) * z, p.kidney * 0.72, tilt)
    inward = np.array([-side, 0.45, 0])
    urine = p.urine * np.exp(r.normal(0, 0.35))
    spread = float(np.exp(r.normal(0, 0.35)))
    hilum = at + inward * 14 * z + [0, 0, 5]
    for s in np.linspace(-30, 30, 6)[
        r.permutation(6)[: r.integers(1, 6)]
    ]:  # calyces drain into the pelvis
        calyx = at + tilt.T @ np.array([0, 0, s * z]) + inward * r.uniform(-2, 5)
        c.ellipsoid(calyx, np.array([1, 1, 1.2]) * r.uniform(3.5, 6), urine * r.uniform(0.25, 0.8))
        if r.random() < 0.6:
            c.tube([calyx, hilum], np.array([2.2, 3.5]) * spread**0.5, urine * r.uniform(0.2, 0.6))
    if r.random() < 0.75:
        c.ellipsoid(hilum, np.array([5.5, 5, 9]) * spread, urine, turn(side * 25))
    if r.random() < 0.25:
        return
    course = p.at(
        [
            (side * 38, 88, centre[2] + 40),
            (side * 36, 98, 690),
            (side * 44, 88, 735),
            (side * 50, 78, 780),
            (side * 34, 92, 812),
            (side * 14, 118, 815),
        ]
    )
    path = curve(np.concatenate([hilum[None] + [[-side * 3, 2, 12]], course]), 30)
    path += np.cumsum(r.normal(0, 0.8, path.shape), 0) * [1, 0.5, 0]
    level = np.convolve(r.normal(0, 1, 33), [0.6, 0.8, 0.6, 0.3], "valid")
    for k in range(29):
        if level[k] > 0.35:
            c.tube(
                path[k : k + 2],
                2.2 + 1.2 * r.random(),
                urine * min(0.25 + 0.5 * level[k], 1.2) * 0.8,
            )


def bowel(c: Canvas, p: Patient) -> None:
    """Colon as a haustrated tube with uptake that comes and goes along it, and loops of small bowel."""
    r, day, z = p.stream("bowel", person=True), p.stream("bowel day"), p.size("bowel")
    o = p.shift["colon"]
    sag = 40 + r.normal(0, 28)
    frame = np.array(
        [
            (64, 135, 762),
            (82, 114, 722),
            (94, 92, 672),
            (90, 112, 622),
            (52, 172, 640 + 0.5 * sag),
            (0, 184, 628 + sag),
            (-56, 168, 600 + 0.4 * sag),
            (-95, 86, 572),
            (-100, 78, 630),
            (-97, 84, 700),
            (-86, 110, 760),
            (-40 + r.normal(0, 14), 120, 775 + r.normal(0, 12)),
            (-4 + r.normal(0, 20), 100, 752 + r.normal(0, 14)),
            (-8, 60, 790),
            (0, 46, 825),
            (0, 52, 862),
        ]
    ) + r.normal(0, 5, (16, 3))
    frame[:12] += o * [1, 1, 0.5]
    n = 54
    pts = curve(p.at(frame), n)
    radii = (
        np.interp(np.arange(n), [0, 8, 20, 34, 48, 53], [22, 19, 16, 13, 14, 10])
        * z
        * (1 + 0.2 * np.sin(np.arange(n) * 2.1))
    )
    walk = np.convolve(day.normal(0, 1, n + 6), np.ones(6) / 6, "valid")[: n - 1] * 2.4
    tonic = {0: 0.12, 1: 0.25, 2: 0.45, 3: 0.55}[p.bowel_kind]
    level = p.bowel * np.exp(tonic * walk)
    if p.bowel_kind == 2:  # one or two parts of the colon are active, the rest quiet
        a = np.exp(-0.5 * ((np.arange(n - 1) - day.uniform(0, 52)) / 6) ** 2) + (
            day.random() < 0.6
        ) * np.exp(-0.5 * ((np.arange(n - 1) - day.choice([4, 42, 46])) / 4) ** 2)
        level = 1.1 + (level - 1.1) * np.clip(a, 0.08, 1)
    c.tube(pts, radii, np.maximum(level, 0.7))
    open_lumen = radii > 13 * z
    for k in np.flatnonzero(open_lumen[:-1]):
        c.tube(pts[k : k + 2], radii[k : k + 2] * 0.5, max(level[k] * 0.55, 0.4))
    loops = curve(p.at(np.array([-6, 142, 700]) + r.normal(0, 1, (26, 3)) * [44, 22, 36]), 56)
    level = np.exp(0.3 * np.convolve(day.normal(0, 1, 60), np.ones(5) / 2.2, "valid")[:55])
    c.tube(
        loops,
        9.5 * z,
        np.maximum(level * {0: 0.85, 1: 1.2, 2: 1.2, 3: 0.45 * p.bowel}[p.bowel_kind], 0.6),
    )
    c.tube(
        p.at([(20, 138, 602), (42, 118, 612), (44, 100, 650), (10, 100, 672), (-30, 112, 640)]),
        10 * z,
        max(1.3, 0.45 * p.bowel) * np.exp(day.normal(0, 0.2, 4)),
    )


def pelvis(c: Canvas, p: Patient) -> None:
    """Bladder, uterus or prostate and testes, anal canal."""
    r, f = p.stream("pelvis"), p.bladder_fill
    z = p.size()
    if p.sex == "F" and not p.no_uterus:
        c.ellipsoid(
            p.at((r.normal(0, 9), 112, 792)),
            np.array([24, 22, 26]) * z * (1 if p.age < 52 else 0.75),
            p.blood * r.uniform(0.8, 1.5),
            turn(r.normal(0, 12), 30),
        )
        if p.age < 48 and r.random() < 0.3:
            c.ellipsoid(p.at((r.choice([-38, 38]), 100, 782)), (9, 9, 9), r.uniform(2.5, 6))
    bottom = 838 if p.sex == "F" else 832
    high = 24 * f**0.5
    c.ellipsoid(
        p.at((r.normal(0, 5), 128, bottom - high / z)),
        np.array([36 * f**0.33, 29 * f**0.33, high]) * z,
        p.bladder,
        turn(r.normal(0, 6), -14),
    )
    if p.sex == "M":
        c.ellipsoid(p.at((0, 112, 848)), np.array([22, 16, 15]) * z, 1.6)
        if r.random() < 0.5:
            c.tube(
                p.at([(0, 118, 842), (0, 124, 868), (0, 160, 890)]),
                3,
                p.bladder * r.uniform(0.05, 0.35),
            )
        for side in (1, -1):
            c.ellipsoid(
                p.at((side * 17, 176, 912 + r.normal(0, 5))),
                np.array([13, 14, 20]) * z,
                r.uniform(1.6, 3.2),
            )
    c.tube(p.at([(0, 55, 852), (0, 62, 882)]), 9, r.uniform(1.2, 3.0))
