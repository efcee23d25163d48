"""The patient: habitus, pose and FDG uptake from a seed, and the map from a template body.

Template coordinates are millimetres in an adult of 1.70 m and 70 kg: x to the patient's right, y
forwards from the skin of the back, s down from the vertex. `Patient.at` bends and scales them to
the patient's body. What belongs to the person (sex, height, organ shapes) follows the patient's
seed; what belongs to the day (arms, field of view, bladder, glucose) follows the exam's. Neither
depends on the class.
"""

import copy
import functools
import zlib

import numpy as np

from petphantom.canvas import table, turn

# s, half width, depth, height of the skin of the back above the couch, fat under the skin; mm
OUTLINE = table(
    "150 60 150 40 4, 185 59 135 42 4, 212 58 122 43 5, 236 61 118 42 5, 258 74 130 32 6, "
    "282 108 150 17 7, 308 140 172 6 9, 346 154 196 0 11, 420 158 217 0 12, 480 156 230 0 13, "
    "560 150 226 5 14, 620 145 214 11 15, 680 146 208 14 17, 740 158 212 8 18, 800 170 216 0 20, "
    "850 174 210 0 20, 900 176 195 0 18"
)
# s, then mm per kg/m2 of body mass index: half width and depth of men, the same of women
PER_BMI = table(
    "150 0.3 0.5 0.3 0.5, 245 0.9 1.2 0.8 1.0, 325 2.0 2.4 1.8 2.2, 420 3.0 4.0 2.6 3.4, "
    "560 4.4 6.2 3.6 4.6, 680 5.2 7.2 4.6 5.8, 800 3.8 4.6 5.0 5.0, 900 3.0 3.4 4.6 4.2"
)
# How organs differ between persons: standard deviation of log size, and of the place in mm.
ORGANS = "liver spleen kidney heart stomach bowel brain bone lung".split()
ORGAN_SIZE = dict(zip(ORGANS, (0.09, 0.16, 0.08, 0.09, 0.12, 0.10, 0.03, 0.05, 0.05), strict=True))
PLACES = "liver spleen kidney_r kidney_l heart stomach colon".split()
ORGAN_PLACE = dict(
    zip(PLACES, table("4 4 9, 4 6 10, 4 4 11, 4 4 11, 6 5 9, 8 6 10, 6 6 12"), strict=True)
)
GULLET = table("-2 76 285, -6 72 380, -2 78 445, -16 92 498, -30 92 515")
HEAD_MM = 215  # the head scales less with height than the body below it


def patient_seed(seed: int) -> int:
    """The person behind an exam: every fortieth seed is a second exam of the person before it."""
    return seed - 1 if seed % 40 == 1 else seed


def normal(r: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    """One draw from a normal distribution, clipped to [low, high]."""
    return float(np.clip(r.normal(mean, sd), low, high))


def lognormal(r: np.random.Generator, median: float, sd: float, low: float, high: float) -> float:
    """One draw whose logarithm is normal with standard deviation `sd`, clipped to [low, high]."""
    return float(np.clip(np.exp(r.normal(np.log(median), sd)), low, high))


class Patient:
    """One person on one day.

    Public attributes are mm, SUV or plain flags; `at` maps template points to body mm.

    Args:
        seed: of the exam; `patient_seed` gives the person's.
    """

    def __init__(self, seed: int):
        self.seed, self.person = int(seed), patient_seed(int(seed))
        self._draw_person(self.stream("habitus", person=True))
        self._draw_day(self.stream("day"))

    def stream(self, name: str, person: bool = False) -> np.random.Generator:
        """An independent random stream by name: no part shifts another's draws."""
        root = self.person if person else self.seed
        return np.random.Generator(np.random.PCG64([root, zlib.crc32(name.encode()), int(person)]))

    def _draw_person(self, r: np.random.Generator) -> None:
        """What two exams of one person share: habitus, and size and place of the organs."""
        self.sex = "F" if r.random() < 0.42 else "M"
        man = self.sex == "M"
        self.age = normal(r, 60, 14, 20, 90)
        self.height_mm = normal(r, 1745 if man else 1620, 72, 1450, 1980)
        self.bmi = float(np.clip(17 + r.gamma(4.2, 2.15), 16, 44))
        self.muscle = normal(r, 1.0 if man else 0.9, 0.07, 0.75, 1.2)  # frame and muscle, not fat
        belly = float(r.normal(0, 1))  # above 0 the fat sits at the waist, below 0 at the hips
        self.stature = self.height_mm / 1700
        head = r.normal(1.0 if man else 0.98, 0.025)
        self.head_scale = float((0.55 + 0.45 * self.stature) * head)
        self.trunk_scale = float(self.stature * r.normal(1.0 if man else 1.012, 0.022))
        s, half, depth, back, fat = OUTLINE.T
        extra = self.bmi - 23
        columns = (1, 2) if man else (3, 4)
        wide, deep = [np.interp(s, PER_BMI[:, 0], PER_BMI[:, c]) * extra for c in columns]
        shift = 1 + 0.16 * belly * np.interp(s, [420, 640, 760, 860], [0.3, 1, -0.6, -1])
        if extra > 0:
            wide, deep = wide * shift, deep * shift
        narrower = [0, 0, 0, 0, 0, 0] if man else [-6, -14, -12, -7, 2, 4]
        shoulders = np.interp(s, [245, 330, 420, 640, 760, 900], narrower)
        frame = 1 + (self.muscle - 1) * np.interp(s, [150, 330, 560, 900], [0.5, 1, 1, 0.6])
        self._half = half * frame + shoulders + wide
        self._depth = depth * frame * (1 if man else 0.965) + deep
        bump = np.exp(-(((s - 640) / 90) ** 2))
        self._back = back * r.normal(1, 0.15) + r.normal(0, 6) * bump
        low_down = np.interp(s, [300, 420, 600], [0.35, 0.5, 1])
        fat = fat * (1 if man else 1.35) + (0.62 if man else 0.8) * wide * low_down
        self._fat = np.clip(fat, 3, 0.4 * self._half)
        self.trunk_power = float(r.uniform(2.15, 2.75))  # superellipse exponent of the trunk
        self.bend = r.normal(0, [3.5, 5.0, 4.0])  # mm: scoliosis, and a body not quite straight
        self.kyphosis_mm = float(r.normal(0, 5) + 0.25 * max(self.age - 65, 0))
        self.organ = {k: float(np.exp(r.normal(0, sd))) for k, sd in ORGAN_SIZE.items()}
        self.shift = {k: r.normal(0, sd, 3) for k, sd in ORGAN_PLACE.items()}
        self.no_kidney = int(r.choice([0, -1, 1], p=[0.98, 0.01, 0.01]))
        self.no_spleen = bool(r.random() < 0.02)
        self.no_uterus = bool(r.random() < 0.25 or self.age > 78)
        self.breast, self.mastectomy = 0.0, 0
        if not man:
            self.breast = float(np.clip(r.normal(0.75, 0.25) + 0.035 * extra, 0.3, 1.7))
            self.mastectomy = int(r.choice([0, -1, 1], p=[0.95, 0.025, 0.025]))
        self.left_lobe_mm = float(r.uniform(58, 92))
        self.liver_slope = float(r.normal(0.55, 0.12))
        self.goitre = float(r.choice([0, 1, 2], p=[0.90, 0.07, 0.03]))

    def _draw_day(self, r: np.random.Generator) -> None:
        """Pose, field of view, scanner, and each organ's SUV an hour after injection."""
        self.arms_up = bool(r.random() < 0.62)
        self.arm = r.normal(0, 1, (2, 5))  # how each arm lies
        start = r.choice(3, p=[0.36, 0.44, 0.20])  # vertex; orbits; skull base to mouth
        top = [r.uniform(-45, 8), r.uniform(30, 85), r.uniform(85, 150)][start]
        self.fov_start_mm = float(top * (self.head_scale if start else 1))
        self.off_centre = r.normal(0, [7, 6])  # mm: the body on the couch
        self.head_tilt = r.normal(0, [4.5, 5, 9])  # degrees: to the side, nodding, turning
        self.resolution_mm = float(r.uniform(5.0, 7.0))  # FWHM
        noise = r.normal(0.115, 0.02) + 0.0025 * (self.bmi - 25)
        self.noise = float(np.clip(noise, 0.075, 0.19))  # coefficient of variation in the liver
        self.blood = normal(r, 1.55, 0.22, 1.0, 2.4)
        self.liver = float(np.clip(self.blood * r.normal(1.45, 0.13), 1.5, 4.0))
        self.spleen = float(self.liver * np.clip(r.normal(0.84, 0.08), 0.6, 1.1))
        self.marrow = float(normal(r, 1.35, 0.25, 0.8, 2.2) * (1.25 if self.age < 40 else 1))
        if r.random() < 0.05:  # after chemotherapy or growth factor, in any class
            self.marrow *= r.uniform(1.7, 2.8)
            self.spleen *= r.uniform(1.1, 1.7)
        self.brain = lognormal(r, 8.5, 0.25, 4, 16)
        heart = r.random()  # fasting hearts range from nothing to the hottest organ
        if heart < 0.38:
            self.myocardium = float(self.blood * r.uniform(0.9, 1.5))
        elif heart < 0.62:
            self.myocardium = float(r.uniform(2.2, 5))
        else:
            self.myocardium = float(np.exp(r.normal(np.log(9), 0.35)))
        self.myocardium_patchy = float(r.random())
        self.muscle_suv = normal(r, 0.68, 0.09, 0.45, 0.95)
        if r.random() < 0.03:  # after exercise or insulin
            self.muscle_suv *= float(r.uniform(1.6, 2.6))
        self.skin_suv = float(r.uniform(0.45, 0.75))
        self.gland_suv = float(r.uniform(0.4, 0.8) if self.age > 50 else r.uniform(0.6, 1.4))
        self.breath_mm = float(r.normal(0, 7))
        self.fat_suv = float(r.uniform(0.18, 0.32))
        self.kidney = lognormal(r, 2.6, 0.22, 1.5, 5)
        self.urine = lognormal(r, 14, 0.6, 3, 60)
        self.bladder = lognormal(r, 16, 0.75, 2, 90)
        self.bladder_fill = lognormal(r, 0.75, 0.45, 0.3, 2.2)
        # bowel: quiet, mild, active colon, metformin
        self.bowel_kind = int(r.choice(4, p=[0.45, 0.31, 0.18, 0.06]))
        levels = r.uniform(0.8, 1.4), r.uniform(1.3, 2.4), r.uniform(2.2, 4.5), r.uniform(3.5, 8)
        self.bowel = float(levels[self.bowel_kind])
        self.stomach_suv = lognormal(r, 1.9, 0.35, 0.9, 5)
        brown = r.random() < (0.09 if self.age < 45 else 0.03)
        self.brown_fat = float(r.uniform(3, 14)) if brown else 0.0

    def to_s(self, s):
        """Patient's s (mm below the vertex) of a template s."""
        s = np.asarray(s, float)
        head = np.minimum(s, HEAD_MM) * self.head_scale
        return head + np.maximum(s - HEAD_MM, 0) * self.trunk_scale

    def from_s(self, s):
        """Template s of a patient's s."""
        neck = HEAD_MM * self.head_scale
        return np.where(s < neck, s / self.head_scale, HEAD_MM + (s - neck) / self.trunk_scale)

    def outline(self, ts):
        """Half width, depth, back height, fat (mm) at template s; midline x and couch y."""
        ts = np.asarray(ts, float)
        body = self._half, self._depth, self._back, self._fat
        half, depth, back, fat = [np.interp(ts, OUTLINE[:, 0], a) for a in body]
        t = np.clip((ts - 215) / 640, 0, 1.2)
        x0 = self.bend[0] * np.sin(2 * np.pi * t) + self.bend[1] * (t - 0.5)
        x0 = x0 + self.bend[2] * np.sin(np.pi * t)
        back = back + self.kyphosis_mm * np.exp(-(((ts - 230) / 75) ** 2))
        return half, depth, back, fat, x0 + self.off_centre[0], self.off_centre[1] - 112.0

    def at(self, points):
        """Body coordinates (mm) of template points (…, 3): stretched and bent with the body."""
        p = np.asarray(points, float)
        half, depth, back, fat, x0, couch = self.outline(p[..., 2])
        s, half0, depth0, _, fat0 = OUTLINE.T
        reference = np.interp(p[..., 2], s, half0 - fat0)
        reference_depth = np.interp(p[..., 2], s, depth0 - 1.6 * fat0)
        x = x0 + p[..., 0] * (half - fat) / reference
        inner = p[..., 1] - np.interp(p[..., 2], s, fat0) * 0.8
        y = couch + back + fat * 0.8 + inner * (depth - 1.6 * fat) / reference_depth
        return np.stack([x, y, self.to_s(p[..., 2])], -1)

    def size(self, organ: str = "bone") -> float:
        """Linear scale of an organ's size: height, muscle, its own variation; little fat."""
        return float(
            (0.35 + 0.65 * self.stature) * (0.6 + 0.4 * self.muscle) * self.organ.get(organ, 1.0)
        )

    @property
    def half_width_mm(self) -> float:
        """The trunk's greatest half width."""
        return float(self._half.max())

    def bounds(self):
        """Corners (x, y) in mm of the box that holds the whole body, arms included."""
        reach = max([self.half_width_mm + 25] + [np.abs(p[:, 0]).max() + 70 for p, _ in self.limbs])
        reach, y = reach + abs(self.off_centre[0]), self.off_centre[1] - 112
        return (-reach, y - 30), (reach, y + self._depth.max() + 75)

    @functools.cached_property
    def limbs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Right trapezius and arm, left ones, right and left leg: chains of (points, radii), mm."""
        thick = 1 + 0.022 * (self.bmi - 23)
        out = []
        up = self.arms_up
        for side, a in zip((1, -1), self.arm, strict=True):
            shoulder = self.at([side * (146 if up else 160), 95, 284 if up else 320])
            upper, fore = 300 * self.stature, 265 * self.stature
            if up:
                out_deg, back = np.clip(24 + 13 * a[0], -4, 60), 30 + 20 * a[1]
                fold = np.clip(28 + 42 * a[2], -10, 125)
            else:
                out_deg = 180 - np.clip(11 + 4 * a[0] + 0.5 * (self.bmi - 24), 5, 26)
                back = -2 + 9 * a[1]
                fold = -np.clip(6 + 10 * a[2], -4, 75 if a[3] > 1 else 22)
            u = np.deg2rad([out_deg, out_deg - fold])
            along = [np.array([side * np.sin(k), 0, -np.cos(k)]) for k in u]
            elbow = shoulder + upper * along[0] + [0, back, 0]
            wrist = elbow + fore * along[1] + [0, 10 + 12 * a[4], 0]
            hand = wrist + (wrist - elbow) / fore * 110 * self.stature
            m = self.muscle * thick
            root = self.at([side * 104, 90, 430 if up else 345])
            neck = self.at([side * 32, 54, 224])
            radii = np.array([24, 42 * self.muscle]) * (1.2 if up else 1)
            out.append((np.array([neck, shoulder]), radii))
            middle = (shoulder + 1.2 * elbow) / 2.2
            chain = [root, shoulder, middle, elbow, (elbow * 2 + wrist) / 3, wrist, hand]
            radii = [(34 if up else 58) * self.muscle, 54 * m, 45 * m, 38 * m, 40 * m, 27, 24]
            out.append((np.array(chain), np.array(radii)))
        for side in (1, -1):
            half = self._half[-1]
            hip = self.at([0, 102, 850]) + [side * 0.5 * half, 0, 0]
            knee = hip + [side * 16, -10, 430 * self.stature]
            out.append((np.array([hip, (hip + knee) / 2, knee]), np.array([0.5, 0.42, 0.3]) * half))
        return out

    @property
    def shoulders(self):
        """Both shoulder joints (right, left) in body mm."""
        return [self.limbs[k][0][1] for k in (1, 3)]

    @property
    def thighs(self):
        """Both thighs (right, left) as (hip, mid-thigh, knee) in body mm."""
        return [self.limbs[k][0] for k in (4, 5)]


def between(first: Patient, second: Patient, share: float) -> Patient:
    """The first patient, its continuous features moved towards the second's by `share`, 0 to 1.

    What has nothing in between stays the first's: sex, arms up or down, a missing organ, and the
    random streams.
    """
    mixed = copy.copy(first)
    mixed.__dict__.pop("limbs", None)  # made again for the new body
    for name in vars(mixed):
        setattr(mixed, name, _between(getattr(first, name), getattr(second, name), share))
    return mixed


def _between(a, b, share: float):
    if isinstance(a, dict):
        return {key: _between(a[key], b[key], share) for key in a}
    if isinstance(a, (float, np.ndarray)):
        return (1 - share) * a + share * b
    return a


def head_map(p: Patient):
    """Template → body for the head, which nods, tilts and turns on the neck."""
    pivot = p.at((0, 60, 190))
    rotation = turn(*p.head_tilt).T

    def at(points):
        q = p.at(points)
        return q + ((q - pivot) @ rotation.T - (q - pivot))

    return at
