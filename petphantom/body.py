"""The body's bulk: skin, fat, muscle, cavities, lungs, liver, skeleton and the texture of fat.

Numbers are template millimetres (patient.py).
"""

import numpy as np

from petphantom.canvas import Canvas, table, turn
from petphantom.patient import Patient, head_map

# template s, then chest and belly cavity as a share of the half width of the body's inside
CAVITY = table(
    "265 0.05, 278 0.38, 298 0.62, 325 0.76, 365 0.84, 420 0.87, 480 0.88, 560 0.88, 640 0.84, "
    "720 0.80, 790 0.66, 850 0.55, 880 0.3"
)
FIELD_MM = 14.0  # distance between the nodes of the soft-tissue texture


class Body:
    """The trunk as stacked superellipses: a voxel's depth below the skin and inside the cavity."""

    def __init__(self, canvas: Canvas, patient: Patient):
        self.c, self.p = canvas, patient
        self.ts = patient.from_s(canvas.s.astype(float))
        self.half, self.depth, self.back, self.fat, self.x0, couch = patient.outline(self.ts)
        self.y0 = couch + self.back + self.depth / 2
        self.power = patient.trunk_power

    def column(self, half, half_y, y0, box) -> np.ndarray:
        """1 on the axis, 0 on the surface, negative outside, for the voxels of a box."""
        i, j, k = box
        u = np.abs(self.c.x[i].astype(float)[:, None] - self.x0[k]) / half[k]
        w = np.abs(self.c.y[j].astype(float)[:, None] - y0[k]) / half_y[k]
        across = (1 - u**self.power).astype(np.float32)
        return across[:, None, :] - (w**self.power).astype(np.float32)[None]

    def box(self, low, high):
        """The box of the trunk between two template levels; None if it is out of view."""
        k = np.flatnonzero((self.ts > low) & (self.ts < high))
        if not len(k):
            return None
        k = slice(k[0], k[-1] + 1)
        x, y = self.half[k].max() + 8, self.depth[k].max() / 2 + 8
        low = self.x0[k].min() - x, self.y0[k].min() - y, 0
        high = self.x0[k].max() + x, self.y0[k].max() + y, 0
        return self.c.box(low, high)[:2] + (k,)

    def wall(self) -> None:
        """Skin, fat and muscle of the limbs, head and trunk, each layer inside the one before."""
        c, p = self.c, self.p
        skin, fat, muscle = p.skin_suv, p.fat_suv, p.muscle_suv
        under = np.clip(0.005 * (p.bmi - 13), 0.01, 0.14)
        limbs = p.limbs
        for points, radii in limbs:
            c.tube(points, radii, 1.0, layers=((0, skin), (2.2, fat)))
        at, h = head_map(p), p.head_scale
        centres = table("0 82 92, 0 108 148, 0 118 196")
        radii = table("78 98 94, 67 72 74, 55 48 34")
        for inset, value in ((0, skin), (2.2, fat), (7, muscle * 0.9)):
            for centre, size in zip(centres, radii, strict=True):
                c.ellipsoid(at(centre), h * size - inset, value)
        box = self.box(175, 905)
        if box is None:
            return
        k = box[2]
        mean = np.sqrt(self.half * self.depth / 2)[k]
        voxels = (mean / self.power / c.edge).astype(np.float32)
        top = np.clip((self.ts[k] - 175) / 20, 0, 1) * np.clip((905 - self.ts[k]) / 20, 0, 1)
        deep = self.fat[k] * (1 - 0.7 * self.fat[k] / mean)
        for i in range(box[0].start, box[0].stop, 8):  # a few planes at a time stay in the cache
            part = (slice(i, min(i + 8, box[0].stop)), *box[1:])
            f = self.column(self.half, self.depth / 2, self.y0, part)
            f *= voxels  # depth below the skin in voxels, near enough
            for inset, value in ((0 * deep, skin), (0 * deep + 2.2, fat), (deep, muscle)):
                w = f + (0.5 - inset / c.edge).astype(np.float32)
                np.clip(w, 0, 1, out=w)
                w *= top.astype(np.float32)
                c.blend(part, w, value)
        # last, so that the trunk's fat does not cut the muscles of the shoulder and hip
        for points, radii in limbs:
            c.tube(points, radii * (1 - under) - 3, muscle)
        if p.breast:
            for side in (1, -1):
                if side != p.mastectomy:
                    r = np.array([56, 34, 58]) * p.breast**0.7
                    nipple = p.at((side * 74, 214, 440 + 22 * p.breast))
                    c.ellipsoid(nipple, r, skin)
                    c.ellipsoid(nipple, r - 2.2, fat)
                    c.ellipsoid(nipple + [0, 5, 2], r * 0.58, p.gland_suv, softness_mm=12)

    def cavity(self, box, inset=0.0) -> np.ndarray:
        """Signed depth (mm, roughly) inside the chest and belly cavity."""
        half = np.maximum((self.half - self.fat) * np.interp(self.ts, *CAVITY.T) - inset, 4)
        inner = self.depth - 1.6 * self.fat
        levels, share = [268, 310, 420, 700, 860], [0.25, 0.34, 0.39, 0.38, 0.28]
        half_y = np.maximum(inner * np.interp(self.ts, levels, share) - inset, 4)
        f = self.column(half, half_y, self.y0 + inner * 0.045, box)
        f *= (np.sqrt(half * half_y) / self.power)[box[2]].astype(np.float32)
        return f

    def fill(self, box, depth: np.ndarray, value) -> None:
        """Paint where the signed depth (mm; used up) is positive, with an edge of one voxel."""
        self.c.blend(box, self.c.ramp(depth, 1.0, self.c.edge), value)

    def chest(self) -> None:
        """Mediastinal and visceral fat, then the two lungs above their domes."""
        c, p = self.c, self.p
        box = self.box(270, 870)
        if box is not None:
            k, region = box[2], c.v[box]
            fat = [0.5 * p.blood, 0.5 * p.blood, 0.5, 0.45, 0.6]
            soft = np.interp(self.ts[k], [300, 480, 560, 760, 840], fat)
            w = c.ramp(self.cavity(box), 1.0, c.edge)
            w *= soft.astype(np.float32) * np.float32(1.1) - region
            region += w
        box = self.box(272, 610)
        if box is None:
            return
        k, inside = box[2], self.cavity(box, 4.0)
        x, y, s = c.offsets(box, (0, 0, 0))
        for side, dome in ((1, 470), (-1, 484)):
            centre = p.at([side * 74, 128, dome]) + [0, 0, p.breath_mm]
            rho = np.square((x - np.float32(centre[0])) / np.float32(78))
            rho = rho + np.square((y - np.float32(centre[1])) / np.float32(82))
            floor = np.minimum(rho * np.float32(88), np.float32(100)) + np.float32(centre[2])
            medial = np.interp(self.ts[k], [280, 330, 400, 450, 560], [16, 22, 26, 30, 30])
            medial = (medial * p.size()).astype(np.float32)
            d = side * (x - self.x0[k].astype(np.float32)) - medial
            d = np.minimum(np.minimum(inside, d), floor - s)
            self.fill(box, d, 0.27 * p.blood + 0.05)

    def liver(self) -> None:
        """A round right lobe under its dome, a flat left lobe, an oblique lower edge."""
        c, p = self.c, self.p
        size, shift = p.size("liver"), p.shift["liver"] + [0, 0, p.breath_mm]
        right, left = p.at(np.array([66, 118, 574]) + shift), p.at(np.array([-4, 150, 556]) + shift)
        radii = np.array([[88, 86, 100], [p.left_lobe_mm, 48, 46]]) * size
        low = np.minimum(right - radii[0], left - radii[1])
        high = np.maximum(right + radii[0], left + radii[1])
        box = c.box(low - 5, high + 5)
        if any(b.start >= b.stop for b in box):
            return
        d = None
        for centre, r in ((right, radii[0]), (left, radii[1])):
            parts = [np.square(a * np.float32(1 / b)) for a, b in zip(c.offsets(box, centre), r)]
            lobe = (np.float32(1) - np.sqrt(sum(parts))) * np.float32(r.min())
            d = lobe if d is None else np.maximum(d, lobe)
        x, y, s = c.offsets(box, p.at(np.array([48, 125, 580]) + shift))
        edge = np.float32(p.liver_slope) * x + np.float32(0.25) * y + np.float32(4 * size) - s
        d = np.minimum(np.minimum(d, edge * np.float32(0.85)), self.cavity(box, 3.0))
        self.fill(box, d, p.liver)


def texture(canvas: Canvas, patient: Patient) -> None:
    """Multiply soft tissue by a smooth random field: fat and muscle are never even."""
    v = patient.stream("texture", person=True).standard_normal((60, 36, 90)) * 0.25 + 1
    near, where = [], []
    for a, low, n in zip(canvas.axes, (-420, -252, -90), v.shape):
        t = (a.astype(float) - low) / FIELD_MM
        i = np.clip(t.astype(int), 0, n - 2)
        near.append(slice(i.min(), i.max() + 2))
        where.append((i - i.min(), t - i))
    v = v[tuple(near)]
    (ix, wx), (iy, wy), (iz, wz) = where
    v = v[:, :, iz] * (1 - wz) + v[:, :, iz + 1] * wz
    rows = np.empty((len(v), len(iy), len(iz)), np.float32)
    for j, (i, w) in enumerate(zip(iy, wy, strict=True)):
        rows[:, j] = v[:, i] * (1 - w) + v[:, i + 1] * w
    one, two = np.empty((2, *rows.shape[1:]), np.float32)
    for plane, i, w in zip(canvas.v, ix, wx, strict=True):
        np.multiply(rows[i], np.float32(1 - w), out=one)
        one += np.multiply(rows[i + 1], np.float32(w), out=two)
        plane *= one


def spine(p: Patient) -> list[tuple]:
    """Vertebral bodies from C2 to L5: list of (template centre, radii) in mm."""
    out: list[tuple] = [
        ((0, 52 + 2 * (k > 3), 168 + 18.5 * k), (10 + 0.6 * k, 8, 7)) for k in range(6)
    ]
    for k in range(12):
        centre = (0, 50 + 5 * np.sin(np.pi * k / 11) + 0.6 * k, 290 + 23.2 * k)
        out.append((centre, (12.5 + 0.7 * k, 10.5 + 0.6 * k, 9.6 + 0.15 * k)))
    for k in range(5):
        out.append(((0, 66 + (8, 12, 13, 9, 3)[k], 576 + 34.5 * k), (21.5 + k, 16, 12.6)))
    return out


def skeleton(c: Canvas, p: Patient) -> None:
    """Red marrow: vertebrae, ribs, sternum, shoulder, pelvis, hips; no cold cortical bone."""
    r, m, z = p.stream("skeleton", person=True), p.marrow, p.size("bone")
    for k in range(12):
        level = 296 + 22.5 * k
        half, depth, back, fat, x0, couch = p.outline(level + 20)
        for side in (1, -1):
            far = (115 + 3 * k) if k < 7 else 150 - 22 * (k - 6)
            a = np.deg2rad(np.linspace(18, max(far, 62), 7))
            w, h = half - fat - 9, (depth - 1.6 * fat) * 0.43
            squash = np.interp(level, [290, 330, 380], [0.55, 0.82, 1])
            drop = np.array([0, 3, 10, 20, 32, 44, 54]) * (0.75 + 0.04 * k)
            x = x0 + side * w * squash * np.sin(a)
            y = couch + back + depth / 2 - h * np.cos(a)
            pts = np.stack([x, y, p.to_s(level + drop)], 1)
            c.tube(pts, 4.6 * z, m * 0.48)
    for centre, radii in spine(p):
        tilt = turn(r.normal(0, 2.5))
        c.ellipsoid(p.at(centre), [k * z for k in radii], m * r.normal(1, 0.06), tilt)
        if centre[2] > 280:
            process = [(0, centre[1] - 24, centre[2] + 6), (0, centre[1] - 36, centre[2] + 14)]
            c.tube(p.at(process), 5 * z, m * 0.6)
    sternum = table("0 172 322, 0 190 350, 0 202 400, 0 208 455")
    c.tube(p.at(sternum), np.array([19, 17, 15, 11]) * z, m * 0.72, flat=0.38)
    for side in (1, -1):

        def at(rows, side=side):
            return p.at(table(rows) * [side, 1, 1])

        shoulder = p.shoulders[0 if side == 1 else 1]
        c.ellipsoid(shoulder, np.array([20, 20, 20]) * z, m * 0.6)
        collar_bone = [*at("22 158 318, 70 140 308"), shoulder - [side * 18, -8, 12]]
        c.tube(collar_bone, 5.5 * z, m * 0.5)
        shoulder_blade = at("62 22 330, 95 28 350, 78 20 440")
        c.tube(shoulder_blade, np.array([5, 8, 4]) * z, m * 0.5, flat=0.6)
        c.ellipsoid(at("58 62 735")[0], np.array([13, 34, 40]) * z, m * 0.9, turn(-22, 20))
        c.ellipsoid(at("92 105 728")[0], np.array([9, 30, 34]) * z, m * 0.75, turn(-25, 15))
        c.tube(at("75 85 770, 84 100 815"), np.array([15, 20]) * z, m * 0.75)
        pelvic_ring = at("66 80 840, 58 68 868, 35 110 880, 16 150 845, 50 125 815")
        c.tube(pelvic_ring, 8 * z, m * 0.6)
        hip, mid, _ = p.thighs[0 if side == 1 else 1]
        joint, trochanter = at("92 104 820, 128 98 850")
        c.ellipsoid(joint, np.array([21, 21, 21]) * z, m * 0.55)
        femur = [joint, trochanter, (hip + 2 * mid) / 3 + [side * 14, 0, 0]]
        c.tube(femur, np.array([14, 17, 13]) * z, m * 0.4)
    sacrum = p.at(table("0 58 735, 0 44 765, 0 34 800"))
    c.tube(sacrum, np.array([30, 26, 12]) * z, m * 0.95, flat=0.5)
    for side in (1, -1):
        c.ellipsoid(p.at((side * 34, 52, 745)), np.array([19, 14, 24]) * z, m * 0.85)
