"""Paints a patient's normal FDG uptake: body wall, skeleton, brain, chest, abdomen, pelvis, urine, vessels.

Numbers are template millimetres (see anatomy.py) and SUV relative to the patient's own blood, liver or marrow.
Explained in notebooks/01_pet_to_mip.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.data.anatomy import HEAD_MM, Patient
from radiogan_lib.data.shapes import Canvas, curve, turn

# thoracic and abdominal cavity as a share of the inside's half width, at template s
CAVITY = np.array([[275, .05], [290, .38], [310, .62], [335, .74], [370, .83], [420, .87], [480, .88], [560, .88],
                   [640, .84], [720, .80], [790, .66], [850, .55], [880, .3]])
FIELD_MM = 14.0  # nodes of the soft-tissue texture


def paint(canvas: Canvas, patient: Patient) -> None:
    """Fill the canvas with the patient's normal uptake (SUV before the scanner)."""
    body = _Body(canvas, patient)
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


class _Body:
    """The trunk as stacked superellipses: each voxel's depth below the skin and inside the cavity."""

    def __init__(self, canvas: Canvas, patient: Patient):
        self.c, self.p = canvas, patient
        self.ts = patient.from_s(canvas.s.astype(float))
        self.half, self.depth, self.back, self.fat, self.x0, table = patient.outline(self.ts)
        self.y0 = table + self.back + self.depth / 2
        self.power = patient._shape

    def column(self, half, half_y, y0, box):
        """1 on the axis, 0 on the surface, negative outside, for the voxels of a box."""
        i, j, k = box
        u = np.abs(self.c.x[i].astype(float)[:, None] - self.x0[k]) / half[k]
        w = np.abs(self.c.y[j].astype(float)[:, None] - y0[k]) / half_y[k]
        f = (1 - u**self.power).astype(np.float32)[:, None, :]
        return f - (w**self.power).astype(np.float32)[None]

    def rows(self, low, high) -> slice:
        """The slice of s between two template levels."""
        k = np.flatnonzero((self.ts > low) & (self.ts < high))
        return slice(k[0], k[-1] + 1) if len(k) else slice(0, 0)

    def wall(self) -> None:
        """Skin, fat and muscle of the limbs, head and trunk."""
        c, p = self.c, self.p
        skin, fat, muscle = 0.55, p.fat_suv, p.muscle_suv
        at = head_map(p)
        h = p.head_scale
        head = [((0, 82, 92), (78, 98, 93)), ((0, 112, 150), (64, 68, 72)), ((0, 128, 196), (46, 40, 30))]
        thickness = 0.045 * max(p.bmi - 15, 2)
        limbs = p.limbs()
        for layer, value in ((0.0, skin), (2.2, fat), (None, muscle)):
            for points, radii in limbs:
                under = 0.13 * radii * thickness if layer is None else layer
                c.tube(points, np.maximum(radii - under - (2 if layer is None else 0), 6), value)
            for centre, radii in head:
                depth = 6.5 if layer is None else layer
                c.ellipsoid(at(centre), [h * r - depth for r in radii], value * (0.9 if layer is None else 1))
            self.trunk(layer, value)

    def trunk(self, layer, value) -> None:
        c = self.c
        k = self.rows(175, 905)
        if k.stop <= k.start:
            return
        widest, deepest = self.half[k].max() + 8, (self.depth[k] / 2).max() + 8
        box = c.box((self.x0[k].min() - widest, (self.y0[k]).min() - deepest, 0),
                    (self.x0[k].max() + widest, self.y0[k].max() + deepest, 0))[:2] + (k,)
        # muscle lies under the fat; behind and beside the spine it is thick, so the cavity is painted on top of it
        less = np.zeros_like(self.half) if layer == 0 else np.full_like(self.half, 2.2) if layer else self.fat
        half, half_y = self.half - less, self.depth / 2 - 0.8 * less
        f = self.column(half, half_y, self.y0, box)
        f *= (np.sqrt(half * half_y) / self.power / c.edge)[k].astype(np.float32)
        f += np.float32(0.5)
        np.clip(f, 0, 1, out=f)
        top = np.clip((self.ts[k] - 175) / 20, 0, 1) * np.clip((900 - self.ts[k]) / 12, 0, 1)
        f *= top.astype(np.float32)
        c.blend(box, f, value)

    def cavity(self, box, inset=0.0):
        """Signed depth (mm, roughly) inside the chest and belly cavity."""
        share = np.interp(self.ts, CAVITY[:, 0], CAVITY[:, 1])
        half = np.maximum((self.half - self.fat) * share - inset, 4)
        inner = self.depth - 1.6 * self.fat
        half_y = np.maximum(inner * np.interp(self.ts, [280, 320, 420, 700, 860], [.25, .34, .39, .38, .28]) - inset, 4)
        y0 = self.y0 + inner * 0.045
        f = self.column(half, half_y, y0, box)
        f *= (np.sqrt(half * half_y) / self.power)[box[2]].astype(np.float32)
        return f

    def chest(self) -> None:
        """Cavity contents, then the two lungs with their domes."""
        c, p = self.c, self.p
        k = self.rows(280, 870)
        if k.stop <= k.start:
            return
        w = self.half[k].max()
        box = c.box((self.x0[k].min() - w, self.y0[k].min() - self.depth[k].max() / 2, 0),
                    (self.x0[k].max() + w, self.y0[k].max() + self.depth[k].max() / 2, 0))[:2] + (k,)
        f = self.cavity(box)
        f *= np.float32(1 / c.edge)
        f += np.float32(0.5)
        np.clip(f, 0, 1, out=f)
        tissue = np.interp(self.ts[k], [300, 480, 560, 760, 840], [.75 * p.blood, .75 * p.blood, .55, .45, .62])
        region = c.v[box]
        region += f * (tissue.astype(np.float32) * (0.85 + 0.15 * region) - region)
        k = self.rows(284, 600)
        if k.stop <= k.start:
            return
        box = box[:2] + (k,)
        inside = self.cavity(box, 4.0)
        x, y, s = c.offsets(box, (0, 0, 0))
        for side, dome in ((1, 470), (-1, 484)):
            centre = p.at([side * 74, 128, dome]) - [0, 0, 4 * p.organ["lung"] * p.shift["liver"][2]]
            rho = np.square((x - np.float32(centre[0])) / np.float32(78)) + np.square((y - np.float32(centre[1])) / np.float32(82))
            floor = np.minimum(rho * np.float32(88), np.float32(100)) + np.float32(centre[2])
            medial = np.interp(self.ts[k], [290, 330, 400, 450, 560], [17, 24, 28, 30, 30]) * p.size() + 0 * self.x0[k]
            gap = side * (x - self.x0[k].astype(np.float32)) - medial.astype(np.float32)
            d = np.minimum(np.minimum(inside, gap), floor - s)
            d *= np.float32(1 / c.edge)
            d += np.float32(0.5)
            np.clip(d, 0, 1, out=d)
            base = 0.30 * p.blood + 0.05
            c.blend(box, d, base)

    def liver(self) -> None:
        """Right lobe under the dome, tapering left lobe, an oblique lower edge."""
        c, p = self.c, self.p
        size = p.size("liver")
        centre = p.at(np.array([48, 125, 577]) + p.shift["liver"])
        radii = np.array([132, 88, 97]) * size
        box = c.box(centre - radii - 5, centre + radii + 5)
        if any(b.start >= b.stop for b in box):
            return
        x, y, s = c.offsets(box, centre)
        q = np.sqrt(sum(np.square(a * np.float32(1 / r)) for a, r in zip((x, y, s), radii)))
        d = (np.float32(1) - q) * np.float32(90)
        slope = 0.50 + 0.12 * p.shift["liver"][0] / 4
        edge = np.float32(slope) * x + np.float32(0.25) * y + np.float32(2 * size) - s
        d = np.minimum(np.minimum(d, edge * np.float32(.85)), self.cavity(box, 2.0))
        d *= np.float32(1 / c.edge)
        d += np.float32(0.5)
        np.clip(d, 0, 1, out=d)
        c.blend(box, d, p.liver)


def texture(canvas: Canvas, patient: Patient) -> None:
    """Multiply the soft tissue by a smooth random field: fat lobules and muscle bundles are never even."""
    r = patient.stream("texture", person=True)
    v = r.standard_normal((60, 36, 90)) * 0.2 + 1
    for axis, (a, low) in enumerate(zip(canvas.axes, (-420, -252, -90))):
        t = (a.astype(float) - low) / FIELD_MM
        i = np.clip(t.astype(int), 0, v.shape[axis] - 2)
        shape = [1, 1, 1]
        shape[axis] = -1
        w = (t - i).reshape(shape)
        if axis < 2:
            v = np.take(v, i, axis) * (1 - w) + np.take(v, i + 1, axis) * w
        else:
            w, v = w.astype(np.float32), v.astype(np.float32)
            near = np.take(v, i, axis)
            near += w * (np.take(v, i + 1, axis) - near)
            canvas.v *= near


def spine(p: Patient):
    """Vertebral bodies from C2 to L5: list of (template centre, radii) in mm."""
    out = [((0, 52 + 2 * (k > 3), 168 + 18.5 * k), (10 + .6 * k, 8, 7)) for k in range(6)]
    for k in range(12):
        out.append(((0, 50 + 5 * np.sin(np.pi * k / 11) + .6 * k, 290 + 23.2 * k), (12.5 + .7 * k, 10.5 + .6 * k, 9.6 + .15 * k)))
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
            w, h = half - fat - 9, (depth - 1.6 * fat) * .43
            squash = np.interp(level, [290, 330, 380], [.55, .82, 1])
            drop = np.array([0, 3, 10, 20, 32, 44, 54]) * (.75 + .04 * k)
            pts = np.stack([x0 + side * w * squash * np.sin(a), table + back + depth / 2 - h * np.cos(a),
                            p.to_s(level + drop)], 1)
            c.tube(pts, 4.6 * z, m * .58)
    for centre, radii in spine(p):
        tilt = turn(r.normal(0, 2.5))
        c.ellipsoid(p.at(centre), [k * z for k in radii], m * r.normal(1, .06), tilt)
        if centre[2] > 280:
            c.tube([p.at((0, centre[1] - 24, centre[2] + 6)), p.at((0, centre[1] - 36, centre[2] + 14))], 5 * z, m * .6)
    c.tube(p.at([(0, 172, 322), (0, 190, 350), (0, 202, 400), (0, 208, 455)]), np.array([19, 17, 15, 11]) * z, m * .72, flat=.38)
    for side in (1, -1):
        at = lambda pts: p.at([(side * a, b, s) for a, b, s in pts])  # noqa: E731
        shoulder = p.limbs()[0 if side == 1 else 1][0][1]
        c.ellipsoid(shoulder, np.array([20, 20, 20]) * z, m * .6)
        c.tube(np.concatenate([at([(22, 158, 318), (70, 140, 308)]), shoulder[None] - [side * 18, -8, 12]]), 5.5 * z, m * .5)
        c.tube(at([(62, 22, 330), (95, 28, 350), (78, 20, 440)]), np.array([5, 8, 4]) * z, m * .5, flat=.6)
        c.ellipsoid(at([(58, 62, 735)])[0], np.array([13, 34, 40]) * z, m * .9, turn(-22, 20))
        c.ellipsoid(at([(92, 105, 728)])[0], np.array([9, 30, 34]) * z, m * .75, turn(-25, 15))
        c.tube(at([(75, 85, 770), (84, 100, 815)]), np.array([15, 20]) * z, m * .75)
        c.tube(at([(66, 80, 840), (58, 68, 868), (35, 110, 880), (16, 150, 845), (50, 125, 815)]), 8 * z, m * .6)
        hip, mid, knee = p.limbs()[2 if side == 1 else 3][0]
        c.ellipsoid(at([(92, 104, 820)])[0], np.array([21, 21, 21]) * z, m * .55)
        c.tube([at([(92, 104, 820)])[0], at([(128, 98, 850)])[0], (hip + 2 * mid) / 3 + [side * 14, 0, 0]], np.array([14, 17, 13]) * z, m * .4)
    c.tube(p.at([(0, 58, 735), (0, 44, 765), (0, 34, 800)]), np.array([30, 26, 12]) * z, m * .95, flat=.5)
    for side in (1, -1):
        c.ellipsoid(p.at((side * 34, 52, 745)), np.array([19, 14, 24]) * z, m * .85)


def vessels(c: Canvas, p: Patient) -> None:
    """Blood pool: great vessels of chest, belly, neck and groin."""
    b, z = p.blood, p.size("heart")
    age = 1 + .004 * (p.age - 50)
    aorta = curve(p.at([(6, 140, 432), (14, 146, 390), (6, 128, 362), (-14, 98, 358), (-22, 76, 390), (-20, 70, 450),
                        (-15, 76, 545), (-10, 98, 610), (-5, 104, 690)]), 17)
    c.tube(aorta, np.interp(np.arange(17), [0, 7, 12, 16], [15, 12.5, 11, 8.5]) * z * age, b)
    c.tube(p.at([(26, 130, 345), (26, 128, 430)]), 9 * z, b)
    c.tube(p.at([(20, 108, 480), (20, 98, 560), (16, 102, 695)]), np.array([12, 11, 10]) * z, b)
    c.tube(p.at([(-16, 148, 420), (-12, 130, 395), (-34, 112, 392)]), np.array([14, 13, 10]) * z, b)
    c.tube(p.at([(-8, 122, 396), (38, 112, 398)]), np.array([11, 10]) * z, b)
    for side in (1, -1):
        at = lambda pts: p.at([(side * a, q, s) for a, q, s in pts])  # noqa: E731
        c.tube(at([(14, 125, 345), (26, 98, 300), (28, 72, 240), (32, 72, 195)]), np.array([9, 7, 6.5, 6]) * z, b * .95)
        c.tube(at([(14, 118, 335), (60, 118, 305), (115, 110, 322)]), np.array([7, 6, 5.5]) * z, b * .9)
        c.tube(at([(4, 104, 692), (34, 92, 735), (56, 100, 775), (70, 135, 818), (78, 150, 850), (84, 135, 935)]),
               np.array([8, 7, 6.5, 6.5, 6.5, 5.5]) * z, b * .95)


def heart(c: Canvas, p: Patient) -> None:
    """Chambers, then the left ventricle as a thick cup open towards the base, from cold to the hottest organ."""
    z, r = p.size("heart"), p.stream("heart", person=True)
    o = np.array([-2, 0, -4]) + p.shift["heart"]
    at = lambda x, y, s: p.at(np.array([x, y, s]) + o)  # noqa: E731
    axes = turn(-48 + r.normal(0, 8), 26 + r.normal(0, 6), 28 + r.normal(0, 8))
    c.ellipsoid(at(-8, 142, 448), np.array([50, 42, 40]) * z, p.blood * .92, turn(-30))
    c.ellipsoid(at(30, 132, 440), np.array([24, 28, 32]) * z, p.blood)
    c.ellipsoid(at(-2, 104, 432), np.array([32, 22, 25]) * z, p.blood)
    c.ellipsoid(at(-2, 160, 458), np.array([38, 26, 32]) * z, p.blood)
    lv, apex = at(-38, 134, 460), axes[2]
    wall = 10.5 * z
    outer = np.array([33, 33, 46]) * z
    hot = p.myocardium
    c.ellipsoid(lv, outer, hot, axes)
    day = p.stream("heart day")
    if hot > 1.7 * p.blood and p.myocardium_patchy > .35:  # lateral wall and papillary muscles differ from the septum
        for _ in range(3):
            d = axes.T @ np.array([*(day.normal(0, 1, 2)), day.normal(0, .7)])
            d = d / np.linalg.norm(d) * 30 * z
            c.ellipsoid(lv + d, np.array([17, 17, 17]) * z, hot * day.uniform(.35, 1.15), softness_mm=10)
    c.ellipsoid(lv - apex * 7 * z, outer - wall, p.blood, axes)
    c.ellipsoid(lv - apex * 44 * z, np.array([27, 27, 22]) * z, p.blood, axes, softness_mm=3)
    if hot > 3:
        c.ellipsoid(at(8, 168, 462), np.array([26, 8, 26]) * z, p.blood * 1.25, turn(-25), softness_mm=4)


def abdomen(c: Canvas, p: Patient) -> None:
    """Spleen, stomach, pancreas, kidneys with pelvis and ureters, bowel."""
    r, day = p.stream("abdomen", person=True), p.stream("abdomen day")
    c.tube(p.at([(8, 150, 622), (-10, 118, 604), (-40, 96, 588), (-72, 82, 566)]), np.array([11, 9, 9, 8]), .62 * p.liver)
    z, o = p.size("stomach"), p.shift["stomach"]
    pts = curve(p.at(np.array([(-30, 88, 515), (-66, 98, 512), (-78, 120, 548), (-58, 150, 590), (-22, 162, 618), (16, 140, 604)]) + o), 10)
    radii = np.interp(np.arange(10), [0, 2, 5, 9], [20, 34, 24, 13]) * z
    full = day.uniform(.35, .95)
    c.tube(pts, radii * (.55 + .45 * full), p.stomach_suv * np.exp(day.normal(0, .12, 9)))
    c.tube(pts[1:-2], radii[1:-2] * (.55 + .45 * full) - 8.5, .55)
    if not p.no_spleen:
        z = p.size("spleen")
        tilt = turn(18 + r.normal(0, 8), -18, 25)
        c.ellipsoid(p.at(np.array([-100, 66, 545]) + p.shift["spleen"]), np.array([23, 36, 50]) * z, p.spleen, tilt)
        c.ellipsoid(p.at(np.array([-76, 82, 540]) + p.shift["spleen"]), np.array([14, 22, 26]) * z, p.fat_suv + .3, tilt)
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
    c.ellipsoid(at, np.array([13, 11, 38]) * z, p.kidney * .72, tilt)
    inward = np.array([-side, .45, 0])
    urine = p.urine * np.exp(r.normal(0, .35))
    n = r.integers(1, 6)
    for s in np.linspace(-30, 30, 6)[r.permutation(6)[:n]]:
        q = at + tilt.T @ np.array([0, 0, s * z]) + inward * r.uniform(-2, 5)
        c.ellipsoid(q, np.array([1, 1, 1.2]) * r.uniform(3.5, 6.5), urine * r.uniform(.25, .9))
    pelvis_size = float(np.exp(r.normal(0, .35)))
    hilum = at + inward * 13 * z
    if r.random() < .8:
        c.ellipsoid(hilum, np.array([7, 6, 11]) * pelvis_size, urine, turn(side * 25))
    if r.random() < .25:
        return
    path = curve(np.concatenate([hilum[None] + [[-side * 3, 2, 12]], p.at([(side * 38, 88, centre[2] + 40), (side * 36, 98, 690),
                 (side * 44, 88, 735), (side * 50, 78, 780), (side * 34, 92, 812), (side * 14, 118, 815)])]), 30)
    path += np.cumsum(r.normal(0, .8, path.shape), 0) * [1, .5, 0]
    level = np.convolve(r.normal(0, 1, 33), [.6, .8, .6, .3], "valid")
    for k in range(29):
        if level[k] > .35:
            c.tube(path[k:k + 2], 2.2 + 1.2 * r.random(), urine * min(.25 + .5 * level[k], 1.2) * .8)


def bowel(c: Canvas, p: Patient) -> None:
    """Colon as a haustrated tube with uptake that comes and goes along it, and loops of small bowel."""
    r, day, z = p.stream("bowel", person=True), p.stream("bowel day"), p.size("bowel")
    o = p.shift["colon"]
    sag = 40 + r.normal(0, 28)
    frame = np.array([(82, 135, 760), (94, 112, 715), (98, 92, 665), (90, 112, 622), (52, 172, 640 + .5 * sag), (0, 184, 628 + sag),
                      (-56, 168, 600 + .4 * sag), (-100, 86, 572), (-108, 78, 630), (-104, 84, 700), (-86, 110, 760),
                      (-40 + r.normal(0, 14), 120, 775 + r.normal(0, 12)), (-4 + r.normal(0, 20), 100, 752 + r.normal(0, 14)),
                      (-8, 60, 790), (0, 46, 825), (0, 52, 862)]) + r.normal(0, 5, (16, 3))
    frame[:12] += o * [1, 1, .5]
    n = 54
    pts = curve(p.at(frame), n)
    radii = np.interp(np.arange(n), [0, 8, 20, 34, 48, 53], [22, 19, 16, 13, 14, 10]) * z * (1 + .2 * np.sin(np.arange(n) * 2.1))
    walk = np.convolve(day.normal(0, 1, n + 6), np.ones(6) / 6, "valid")[:n - 1] * 2.4
    tonic = {0: .12, 1: .25, 2: .45, 3: .25}[p.bowel_kind]
    level = p.bowel * np.exp(tonic * walk)
    if p.bowel_kind == 2:  # one or two parts of the colon are active, the rest quiet
        a = np.exp(-.5 * ((np.arange(n - 1) - day.uniform(0, 52)) / 6) ** 2) + (day.random() < .6) * np.exp(
            -.5 * ((np.arange(n - 1) - day.choice([4, 42, 46])) / 4) ** 2)
        level = 1.1 + (level - 1.1) * np.clip(a, 0.08, 1)
    c.tube(pts, radii, np.maximum(level, .7))
    open_lumen = radii > 13 * z
    for k in np.flatnonzero(open_lumen[:-1]):
        c.tube(pts[k:k + 2], radii[k:k + 2] * .5, max(level[k] * .55, .4))
    loops = curve(p.at(np.array([-6, 142, 700]) + r.normal(0, 1, (26, 3)) * [44, 22, 36]), 56)
    level = np.exp(.3 * np.convolve(day.normal(0, 1, 60), np.ones(5) / 2.2, "valid")[:55])
    c.tube(loops, 9.5 * z, np.maximum(level * {0: .85, 1: 1.2, 2: 1.2, 3: .45 * p.bowel}[p.bowel_kind], .6))
    c.tube(p.at([(20, 138, 602), (42, 118, 612), (44, 100, 650), (10, 100, 672), (-30, 112, 640)]), 10 * z,
           max(1.3, .45 * p.bowel) * np.exp(day.normal(0, .2, 4)))


def pelvis(c: Canvas, p: Patient) -> None:
    """Bladder, uterus or prostate and testes, anal canal."""
    r, f = p.stream("pelvis"), p.bladder_fill
    z = p.size()
    if p.sex == "F" and not p.no_uterus:
        c.ellipsoid(p.at((r.normal(0, 9), 112, 792)), np.array([24, 22, 26]) * z * (1 if p.age < 52 else .75), p.blood * r.uniform(.8, 1.5),
                    turn(r.normal(0, 12), 30))
        if p.age < 48 and r.random() < .3:
            c.ellipsoid(p.at((r.choice([-38, 38]), 100, 782)), (9, 9, 9), r.uniform(2.5, 6))
    bottom = 838 if p.sex == "F" else 832
    high = 24 * f**.5
    c.ellipsoid(p.at((r.normal(0, 5), 128, bottom - high / z)), np.array([36 * f**.33, 29 * f**.33, high]) * z * [1, 1, 1], p.bladder,
                turn(r.normal(0, 6), -14))
    if p.sex == "M":
        c.ellipsoid(p.at((0, 112, 848)), np.array([22, 16, 15]) * z, 1.6)
        if r.random() < .5:
            c.tube(p.at([(0, 118, 842), (0, 124, 868), (0, 160, 890)]), 3, p.bladder * r.uniform(.05, .35))
        for side in (1, -1):
            c.ellipsoid(p.at((side * 17, 176, 912 + r.normal(0, 5))), np.array([13, 14, 20]) * z, r.uniform(1.6, 3.2))
    c.tube(p.at([(0, 55, 852), (0, 62, 882)]), 9, r.uniform(1.2, 3.0))


def head_map(p: Patient):
    """Template → body for the head, which nods, tilts and turns on the neck."""
    pivot = p.at((0, 60, 190))
    rotation = turn(*p.head_tilt).T

    def at(points):
        q = p.at(points)
        return q + ((q - pivot) @ rotation.T - (q - pivot))
    return at


def head_and_neck(c: Canvas, p: Patient) -> None:
    """Brain (grey matter over white), eyes, glands, mucosa, tonsils, larynx, thyroid, airway."""
    at, h, r = head_map(p), p.head_scale * p.organ["brain"], p.stream("head")
    g = p.brain
    tilt = turn(*p.head_tilt)
    if p.to_s(150) > c.s[0] - 40:
        for side in (1, -1):
            c.ellipsoid(at((side * 32, 82, 76)), np.array([33, 79, 57]) * h, g, tilt)
            c.ellipsoid(at((side * 29, 82, 78)), np.array([19, 60, 40]) * h, g * .42, tilt)
            c.ellipsoid(at((side * 14, 88, 88)), np.array([10, 24, 14]) * h, g * 1.1, tilt)
            c.ellipsoid(at((side * 36, 100, 118)), np.array([20, 34, 18]) * h, g * .85, tilt)
            c.ellipsoid(at((side * 24, 38, 128)), np.array([25, 29, 21]) * h, g * .85, tilt)
            c.ellipsoid(at((side * 32, 158, 108)), np.array([13, 13, 12]) * h, .5, tilt)
            c.ellipsoid(at((side * 32, 146, 106)), np.array([7, 10, 7]) * h, 2.6, tilt)
        c.tube(at([(0, 72, 112), (0, 62, 145), (0, 58, 172)]), np.array([14, 11, 7]) * h, [g * .6, g * .35])
        c.tube(at([(0, 175, 120), (0, 165, 150)]), 11 * h, r.uniform(.9, 1.8))
    mouth = np.exp(r.normal(0, .25))
    c.ellipsoid(at((0, 128, 188)), np.array([24, 30, 17]) * h, 1.15 * mouth, tilt, softness_mm=4)
    c.tube(at([(30, 118, 168), (26, 150, 160), (0, 164, 160), (-26, 150, 160), (-30, 118, 168)]), 6 * h, 1.5 * mouth)
    c.tube(at([(0, 84, 150), (0, 86, 185), (0, 88, 225)]), np.array([10, 9, 9]) * h, .9)
    adenoid = 1.4 * np.exp(r.normal(0, .25))
    c.ellipsoid(at((0, 76, 150)), np.array([15, 6, 9]) * h, adenoid, tilt)
    tonsil = 2.2 * np.exp(r.normal(0, .38))
    for side in (1, -1):
        c.ellipsoid(at((side * 17, 98, 190)), np.array([7, 9, 12]) * h, tonsil * np.exp(r.normal(0, .1)), tilt)
        c.ellipsoid(at((side * 56, 72, 165)), np.array([11, 16, 24]) * h, 1.5 * mouth, tilt)
        c.ellipsoid(at((side * 30, 102, 216)), np.array([9, 14, 11]) * h, 1.9 * mouth, tilt)
        c.tube(at([(side * 48, 105, 150), (side * 46, 108, 195)]), 9 * h, p.muscle_suv * 1.15)
        c.tube(at([(side * 50, 62, 180), (side * 38, 85, 250)]).tolist() + [p.at((side * 16, 148, 312))], 8, p.muscle_suv * 1.15)
    c.ellipsoid(at((0, 118, 208)), np.array([14, 16, 7]) * h, 1.7 * mouth, tilt)
    larynx = r.uniform(1.1, 2.6) if r.random() < .8 else r.uniform(2.5, 4.5)
    for side in (1, -1):
        c.tube(at([(side * 8, 80, 252), (side * 4, 102, 248)]), 3.5 * h, larynx)
    c.tube(p.at([(0, 92, 232), (0, 92, 275), (2, 98, 330), (3, 100, 384)]), 8, .35)
    for side in (1, -1):
        c.tube(p.at([(3, 100, 384), (side * 30, 100, 412)]), 6, .4)
        c.ellipsoid(p.at((side * 17, 90, 282)), np.array([8, 8, 19]) * (1 + .15 * p.goitre), 1.3 if p.goitre < 2 else 4.5, turn(side * 10))
    reflux = r.random()
    gullet = p.blood * (1.0 if reflux < .7 else r.uniform(1.1, 1.6))
    c.tube(p.at([(-2, 76, 285), (-6, 72, 380), (-2, 78, 445), (-16, 92, 498), (-30, 92, 515)]), 6, gullet)
    if reflux > .9:
        c.tube(p.at([(-2, 78, 440), (-16, 92, 500)]), np.array([6, 7.5]), r.uniform(2, 3.6))
