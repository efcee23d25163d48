"""A patient's normal FDG uptake: vessels, heart, abdomen, urine, bowel, pelvis, head and neck.

Numbers are template millimetres (patient.py) and SUV relative to the patient's own blood, liver or
marrow.
"""

import numpy as np

from petphantom.body import Body, skeleton, texture
from petphantom.canvas import Canvas, curve, table, turn
from petphantom.patient import GULLET, Patient, head_map


def paint(canvas: Canvas, patient: Patient) -> None:
    """Fill the canvas with the patient's normal uptake (SUV before the scan)."""
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
    aorta = table(
        "6 140 432, 14 146 390, 6 128 362, -14 98 358, -22 76 390, -20 70 450, -15 76 545, "
        "-10 98 610, -5 104 690"
    )
    radii = np.interp(np.arange(17), [0, 7, 12, 16], [15, 12.5, 11, 8.5]) * z * age
    c.tube(curve(p.at(aorta), 17), radii, b)
    c.tube(p.at([(26, 130, 345), (26, 128, 430)]), 9 * z, b)
    c.tube(p.at([(20, 108, 480), (20, 98, 560), (16, 102, 695)]), np.array([12, 11, 10]) * z, b)
    c.tube(p.at([(-16, 148, 420), (-12, 130, 395), (-34, 112, 392)]), np.array([14, 13, 10]) * z, b)
    c.tube(p.at([(-8, 122, 396), (38, 112, 398)]), np.array([11, 10]) * z, b)
    for side in (1, -1):
        carotid = p.at(table("14 125 345, 26 98 300, 28 72 240, 32 72 195") * [side, 1, 1])
        c.tube(carotid, np.array([9, 7, 6.5, 6]) * z, b * 0.95)
        subclavian = p.at(table("14 118 335, 60 118 305, 115 110 322") * [side, 1, 1])
        c.tube(subclavian, np.array([7, 6, 5.5]) * z, b * 0.9)
        iliac = table("4 104 692, 34 92 735, 56 100 775, 70 135 818, 78 150 850, 84 135 935")
        radii = np.array([8, 7, 6.5, 6.5, 6.5, 5.5]) * z
        c.tube(p.at(iliac * [side, 1, 1]), radii, b * 0.95)


def heart(c: Canvas, p: Patient) -> None:
    """Chambers, then the left ventricle: a thick cup, from cold to the hottest organ."""
    z, r = p.size("heart"), p.stream("heart", person=True)
    o = np.array([-2, 0, -4]) + p.shift["heart"]

    def at(x, y, s):
        return p.at(np.array([x, y, s]) + o)

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
    # lateral wall and papillary muscles differ from the septum
    if hot > 1.7 * p.blood and p.myocardium_patchy > 0.35:
        for _ in range(3):
            d = axes.T @ np.array([*(day.normal(0, 1, 2)), day.normal(0, 0.7)])
            d = d / np.linalg.norm(d) * 30 * z
            value = hot * day.uniform(0.35, 1.15)
            c.ellipsoid(lv + d, np.array([17, 17, 17]) * z, value, softness_mm=10)
    c.ellipsoid(lv - apex * 7 * z, outer - wall, p.blood, axes)
    c.ellipsoid(lv - apex * 44 * z, np.array([27, 27, 22]) * z, p.blood, axes, softness_mm=3)
    if hot > 3:
        radii = np.array([26, 8, 26]) * z
        c.ellipsoid(at(8, 168, 462), radii, p.blood * 1.25, turn(-25), softness_mm=4)


def abdomen(c: Canvas, p: Patient) -> None:
    """Spleen, stomach, pancreas, kidneys with pelvis and ureters, bowel."""
    r, day = p.stream("abdomen", person=True), p.stream("abdomen day")
    pancreas = p.at(table("8 150 622, -10 118 604, -40 96 588, -72 82 566"))
    c.tube(pancreas, np.array([11, 9, 9, 8]), 0.62 * p.liver)
    z = p.size("stomach")
    stomach = table("-30 88 515, -66 98 512, -78 120 548, -58 150 590, -22 162 618, 16 140 604")
    pts = curve(p.at(stomach + p.shift["stomach"]), 10)
    radii = np.interp(np.arange(10), [0, 2, 5, 9], [20, 34, 24, 13]) * z
    full = day.uniform(0.35, 0.95)
    c.tube(pts, radii * (0.55 + 0.45 * full), p.stomach_suv * np.exp(day.normal(0, 0.12, 9)))
    c.tube(pts[1:-2], radii[1:-2] * (0.55 + 0.45 * full) - 8.5, 0.55)
    if not p.no_spleen:
        z = p.size("spleen")
        tilt = turn(18 + r.normal(0, 8), -18, 25)
        spleen, hilum = p.at(table("-98 64 534, -75 80 530") + p.shift["spleen"])
        c.ellipsoid(spleen, np.array([22, 34, 44]) * z, p.spleen, tilt)
        c.ellipsoid(hilum, np.array([14, 22, 26]) * z, p.fat_suv + 0.3, tilt)
    for side, k in ((1, "kidney_r"), (-1, "kidney_l")):
        if side != p.no_kidney:
            kidney(c, p, side, np.array([side * 60, 66, 618 if side > 0 else 604]) + p.shift[k])
    bowel(c, p)


def kidney(c: Canvas, p: Patient, side: int, centre) -> None:
    """Cortex, cooler medulla, hot calyces and pelvis, and a ureter cut by peristalsis."""
    r, z = p.stream(f"kidney{side}"), p.size("kidney")
    tilt = turn(-side * (14 + r.normal(0, 4)), 10 + r.normal(0, 4), side * 25)
    at = p.at(centre)
    c.ellipsoid(at, np.array([25, 21, 53]) * z, p.kidney, tilt)
    c.ellipsoid(at, np.array([13, 11, 38]) * z, p.kidney * 0.72, tilt)
    inward = np.array([-side, 0.45, 0])
    urine = p.urine * np.exp(r.normal(0, 0.35))
    spread = float(np.exp(r.normal(0, 0.35)))
    hilum = at + inward * 14 * z + [0, 0, 5]
    drained = r.permutation(6)[: r.integers(1, 6)]  # calyces that hold urine
    for s in np.linspace(-30, 30, 6)[drained]:
        calyx = at + tilt.T @ np.array([0, 0, s * z]) + inward * r.uniform(-2, 5)
        c.ellipsoid(calyx, np.array([1, 1, 1.2]) * r.uniform(3.5, 6), urine * r.uniform(0.25, 0.8))
        if r.random() < 0.6:
            c.tube([calyx, hilum], np.array([2.2, 3.5]) * spread**0.5, urine * r.uniform(0.2, 0.6))
    if r.random() < 0.75:
        c.ellipsoid(hilum, np.array([5.5, 5, 9]) * spread, urine, turn(side * 25))
    if r.random() < 0.25:
        return
    course = table("38 88 0, 36 98 690, 44 88 735, 50 78 780, 34 92 812, 14 118 815")
    course[0, 2] = centre[2] + 40
    course = p.at(course * [side, 1, 1])
    path = curve(np.concatenate([hilum[None] + [[-side * 3, 2, 12]], course]), 30)
    path += np.cumsum(r.normal(0, 0.8, path.shape), 0) * [1, 0.5, 0]
    level = np.convolve(r.normal(0, 1, 33), [0.6, 0.8, 0.6, 0.3], "valid")
    for k in range(29):
        if level[k] > 0.35:
            radius = 2.2 + 1.2 * r.random()
            c.tube(path[k : k + 2], radius, urine * min(0.25 + 0.5 * level[k], 1.2) * 0.8)


def bowel(c: Canvas, p: Patient) -> None:
    """Colon as a haustrated tube of varying uptake, and loops of small bowel."""
    r, day, z = p.stream("bowel", person=True), p.stream("bowel day"), p.size("bowel")
    sag = 40 + r.normal(0, 28)
    frame = table(
        "64 135 762, 82 114 722, 94 92 672, 90 112 622, 52 172 640, 0 184 628, -56 168 600, "
        "-95 86 572, -100 78 630, -97 84 700, -86 110 760, -40 120 775, -4 100 752, -8 60 790, "
        "0 46 825, 0 52 862"
    )
    frame[4:7, 2] += [0.5 * sag, sag, 0.4 * sag]
    frame[11, [0, 2]] += [r.normal(0, 14), r.normal(0, 12)]
    frame[12, [0, 2]] += [r.normal(0, 20), r.normal(0, 14)]
    frame += r.normal(0, 5, (16, 3))
    frame[:12] += p.shift["colon"] * [1, 1, 0.5]
    n = 54
    pts = curve(p.at(frame), n)
    radii = np.interp(np.arange(n), [0, 8, 20, 34, 48, 53], [22, 19, 16, 13, 14, 10])
    radii = radii * z * (1 + 0.2 * np.sin(np.arange(n) * 2.1))
    walk = np.convolve(day.normal(0, 1, n + 6), np.ones(6) / 6, "valid")[: n - 1] * 2.4
    tonic = (0.12, 0.25, 0.45, 0.55)[p.bowel_kind]
    level = p.bowel * np.exp(tonic * walk)
    if p.bowel_kind == 2:  # one or two parts of the colon are active, the rest quiet
        along = np.arange(n - 1)
        active = np.exp(-0.5 * ((along - day.uniform(0, 52)) / 6) ** 2)
        second = day.random() < 0.6
        active = active + second * np.exp(-0.5 * ((along - day.choice([4, 42, 46])) / 4) ** 2)
        level = 1.1 + (level - 1.1) * np.clip(active, 0.08, 1)
    c.tube(pts, radii, np.maximum(level, 0.7))
    for k in np.flatnonzero(radii[:-1] > 13 * z):  # where the lumen is open
        c.tube(pts[k : k + 2], radii[k : k + 2] * 0.5, max(level[k] * 0.55, 0.4))
    loops = curve(p.at(np.array([-6, 142, 700]) + r.normal(0, 1, (26, 3)) * [44, 22, 36]), 56)
    level = np.exp(0.3 * np.convolve(day.normal(0, 1, 60), np.ones(5) / 2.2, "valid")[:55])
    level = level * (0.85, 1.2, 1.2, 0.45 * p.bowel)[p.bowel_kind]
    c.tube(loops, 9.5 * z, np.maximum(level, 0.6))
    duodenum = p.at(table("20 138 602, 42 118 612, 44 100 650, 10 100 672, -30 112 640"))
    c.tube(duodenum, 10 * z, max(1.3, 0.45 * p.bowel) * np.exp(day.normal(0, 0.2, 4)))


def pelvis(c: Canvas, p: Patient) -> None:
    """Bladder, uterus or prostate and testes, anal canal."""
    r, f = p.stream("pelvis"), p.bladder_fill
    z = p.size()
    if p.sex == "F" and not p.no_uterus:
        at = p.at((r.normal(0, 9), 112, 792))
        radii = np.array([24, 22, 26]) * z * (1 if p.age < 52 else 0.75)
        c.ellipsoid(at, radii, p.blood * r.uniform(0.8, 1.5), turn(r.normal(0, 12), 30))
        if p.age < 48 and r.random() < 0.3:
            c.ellipsoid(p.at((r.choice([-38, 38]), 100, 782)), (9, 9, 9), r.uniform(2.5, 6))
    bottom = 838 if p.sex == "F" else 832
    high = 24 * f**0.5
    at = p.at((r.normal(0, 5), 128, bottom - high / z))
    radii = np.array([36 * f**0.33, 29 * f**0.33, high]) * z
    c.ellipsoid(at, radii, p.bladder, turn(r.normal(0, 6), -14))
    if p.sex == "M":
        c.ellipsoid(p.at((0, 112, 848)), np.array([22, 16, 15]) * z, 1.6)
        if r.random() < 0.5:
            urethra = p.at([(0, 118, 842), (0, 124, 868), (0, 160, 890)])
            c.tube(urethra, 3, p.bladder * r.uniform(0.05, 0.35))
        for side in (1, -1):
            at = p.at((side * 17, 176, 912 + r.normal(0, 5)))
            c.ellipsoid(at, np.array([13, 14, 20]) * z, r.uniform(1.6, 3.2))
    c.tube(p.at([(0, 55, 852), (0, 62, 882)]), 9, r.uniform(1.2, 3.0))


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
        brain_stem = at([(0, 72, 112), (0, 62, 145), (0, 58, 172)])
        c.tube(brain_stem, np.array([14, 11, 7]) * h, [g * 0.6, g * 0.35])
        c.tube(at([(0, 175, 120), (0, 165, 150)]), 11 * h, r.uniform(0.9, 1.8))
    mouth = np.exp(r.normal(0, 0.25))
    c.ellipsoid(at((0, 128, 188)), np.array([24, 30, 17]) * h, 1.15 * mouth, tilt, softness_mm=4)
    palate = at(table("30 118 168, 26 150 160, 0 164 160, -26 150 160, -30 118 168"))
    c.tube(palate, 6 * h, 1.5 * mouth)
    c.tube(at([(0, 84, 150), (0, 86, 185), (0, 88, 225)]), np.array([10, 9, 9]) * h, 0.9)
    adenoid = 1.4 * np.exp(r.normal(0, 0.25))
    c.ellipsoid(at((0, 76, 150)), np.array([15, 6, 9]) * h, adenoid, tilt)
    tonsil = 2.2 * np.exp(r.normal(0, 0.38))
    for side in (1, -1):
        value = tonsil * np.exp(r.normal(0, 0.1))
        c.ellipsoid(at((side * 17, 98, 190)), np.array([7, 9, 12]) * h, value, tilt)
        c.ellipsoid(at((side * 56, 72, 165)), np.array([11, 16, 24]) * h, 1.5 * mouth, tilt)
        c.ellipsoid(at((side * 30, 102, 216)), np.array([9, 14, 11]) * h, 1.9 * mouth, tilt)
        c.tube(at([(side * 48, 105, 150), (side * 46, 108, 195)]), 9 * h, p.muscle_suv * 1.15)
        neck = [*at([(side * 50, 62, 180), (side * 38, 85, 250)]), p.at((side * 16, 148, 312))]
        c.tube(neck, 8, p.muscle_suv * 1.15)
    c.ellipsoid(at((0, 118, 208)), np.array([14, 16, 7]) * h, 1.7 * mouth, tilt)
    larynx = r.uniform(1.1, 2.6) if r.random() < 0.8 else r.uniform(2.5, 4.5)
    for side in (1, -1):
        c.tube(at([(side * 8, 80, 252), (side * 4, 102, 248)]), 3.5 * h, larynx)
    c.tube(p.at([(0, 92, 232), (0, 92, 275), (2, 98, 330), (3, 100, 384)]), 8, 0.35)
    for side in (1, -1):
        c.tube(p.at([(3, 100, 384), (side * 30, 100, 412)]), 6, 0.4)
        radii = np.array([8, 8, 19]) * (1 + 0.15 * p.goitre)
        thyroid = 1.3 if p.goitre < 2 else 4.5
        c.ellipsoid(p.at((side * 17, 90, 282)), radii, thyroid, turn(side * 10))
    reflux = r.random()
    gullet = p.blood * (1.0 if reflux < 0.7 else r.uniform(1.1, 1.6))
    c.tube(p.at(GULLET), 6, gullet)
    if reflux > 0.9:
        c.tube(p.at([(-2, 78, 440), (-16, 92, 500)]), np.array([6, 7.5]), r.uniform(2, 3.6))
