"""The patient: habitus, pose and physiology drawn from a seed, and the map from a template body to this one.

Template coordinates are millimetres in an adult of 1.70 m and 70 kg: x to the patient's right, y forwards from the
skin of the back, s down from the vertex. `Patient.at` bends and scales them to the patient's body. What belongs to
the person (sex, height, organ shapes) follows the patient's seed; what belongs to the day (arms, field of view,
bladder, glucose) follows the exam's. Neither knows the class.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np

from radiogan_lib.data import physiology
from radiogan_lib.data.shapes import turn

# s, half width, depth, height of the skin of the back above the table, fat under the skin: mm in the template
OUTLINE = np.array(
    [
        [150, 60, 150, 40, 4],
        [185, 59, 135, 42, 4],
        [212, 58, 122, 43, 5],
        [236, 61, 118, 42, 5],
        [258, 74, 130, 32, 6],
        [282, 108, 150, 17, 7],
        [308, 140, 172, 6, 9],
        [346, 154, 196, 0, 11],
        [420, 158, 217, 0, 12],
        [480, 156, 230, 0, 13],
        [560, 150, 226, 5, 14],
        [620, 145, 214, 11, 15],
        [680, 146, 208, 14, 17],
        [740, 158, 212, 8, 18],
        [800, 170, 216, 0, 20],
        [850, 174, 210, 0, 20],
        [900, 176, 195, 0, 18],
    ],
    float,
)
# mm per kg/m2 of body mass index: half width and depth, men then women, at s
PER_BMI = np.array(
    [
        [150, 0.3, 0.5, 0.3, 0.5],
        [245, 0.9, 1.2, 0.8, 1.0],
        [325, 2.0, 2.4, 1.8, 2.2],
        [420, 3.0, 4.0, 2.6, 3.4],
        [560, 4.4, 6.2, 3.6, 4.6],
        [680, 5.2, 7.2, 4.6, 5.8],
        [800, 3.8, 4.6, 5.0, 5.0],
        [900, 3.0, 3.4, 4.6, 4.2],
    ],
    float,
)
HEAD_MM = 215  # the head scales less with height than the body below it


def patient_seed(seed: int) -> int:
    """The person behind an exam: every fortieth seed is a second exam of the person before it."""
    return seed - 1 if seed % 40 == 1 else seed


class Patient:
    """One person on one day. Public attributes are mm, SUV or plain flags; `at` maps template points to body mm."""

    def __init__(self, seed: int):
        self.seed, self.person = int(seed), patient_seed(int(seed))
        self._habitus(self.stream("habitus", person=True))
        physiology.draw(self, self.stream("day"))

    def stream(self, name: str, person: bool = False) -> np.random.Generator:
        """An independent random stream by name, so that one part of the phantom never shifts another's draws."""
        root = self.person if person else self.seed
        return np.random.Generator(np.random.PCG64([root, zlib.crc32(name.encode()), int(person)]))

    def _habitus(self, r: np.random.Generator) -> None:
        self.sex = "F" if r.random() < 0.42 else "M"
        man = self.sex == "M"
        self.age = float(np.clip(r.normal(60, 14), 20, 90))
        self.height_mm = float(np.clip(r.normal(1745 if man else 1620, 72), 1450, 1980))
        self.bmi = float(np.clip(17 + r.gamma(4.2, 2.15), 16, 44))
        self.muscle = float(
            np.clip(r.normal(1.0 if man else 0.9, 0.07), 0.75, 1.2)
        )  # frame and muscle, not fat
        self.belly = float(r.normal(0, 1))  # above 0 the fat sits at the waist, below 0 at the hips
        self.stature = self.height_mm / 1700
        self.head_scale = float(
            (0.55 + 0.45 * self.stature) * r.normal(0.98 if not man else 1.0, 0.025)
        )
        self.trunk_scale = float(self.stature * r.normal(1.0 if man else 1.012, 0.022))
        s = OUTLINE[:, 0]
        extra = self.bmi - 23
        columns = (1, 2) if man else (3, 4)
        wide, deep = [np.interp(s, PER_BMI[:, 0], PER_BMI[:, c]) * extra for c in columns]
        shift = 1 + 0.16 * self.belly * np.interp(s, [420, 640, 760, 860], [0.3, 1, -0.6, -1])
        if extra > 0:
            wide, deep = wide * shift, deep * shift
        shoulders = np.interp(
            s,
            [245, 330, 420, 640, 760, 900],
            [0, 0, 0, 0, 0, 0] if man else [-6, -14, -12, -7, 2, 4],
        )
        frame = np.interp(s, [150, 330, 560, 900], [0.5, 1, 1, 0.6])
        self._s = s
        self._half = OUTLINE[:, 1] * (1 + (self.muscle - 1) * frame) + shoulders + wide
        self._depth = OUTLINE[:, 2] * (1 + (self.muscle - 1) * frame) * (1 if man else 0.965) + deep
        self._back = OUTLINE[:, 3] * r.normal(1, 0.15) + r.normal(0, 6) * np.exp(
            -(((s - 640) / 90) ** 2)
        )
        low_down = np.interp(s, [300, 420, 600], [0.35, 0.5, 1])
        fat = OUTLINE[:, 4] * (1 if man else 1.35) + (0.62 if man else 0.8) * wide * low_down
        self._fat = np.clip(fat, 3, 0.4 * self._half)
        self.trunk_power = float(r.uniform(2.15, 2.75))  # superellipse exponent of the trunk
        self.bend = r.normal(
            0, [3.5, 5.0, 4.0]
        )  # scoliosis and a body not quite straight on the table, mm
        self.kyphosis_mm = float(r.normal(0, 5) + 0.25 * max(self.age - 65, 0))
        self.organ = {
            k: float(np.exp(r.normal(0, sd)))
            for k, sd in dict(
                liver=0.09,
                spleen=0.16,
                kidney=0.08,
                heart=0.09,
                stomach=0.12,
                bowel=0.10,
                brain=0.03,
                bone=0.05,
                lung=0.05,
            ).items()
        }
        self.shift = {
            k: r.normal(0, sd, 3)
            for k, sd in dict(
                liver=(4, 4, 9),
                spleen=(4, 6, 10),
                kidney_r=(4, 4, 11),
                kidney_l=(4, 4, 11),
                heart=(6, 5, 9),
                stomach=(8, 6, 10),
                colon=(6, 6, 12),
            ).items()
        }
        self.no_kidney = int(r.choice([0, -1, 1], p=[0.98, 0.01, 0.01]))
        self.no_spleen, self.no_uterus = (
            bool(r.random() < 0.02),
            bool(r.random() < 0.25 or self.age > 78),
        )
        self.breast = (
            float(np.clip(r.normal(0.75, 0.25) + 0.035 * extra, 0.3, 1.7)) if not man else 0.0
        )
        self.mastectomy = int(r.choice([0, -1, 1], p=[0.95, 0.025, 0.025])) if not man else 0
        self.left_lobe_mm = float(r.uniform(58, 92))
        self.liver_slope = float(r.normal(0.55, 0.12))
        self.goitre = float(r.choice([0, 1, 2], p=[0.90, 0.07, 0.03]))

    # --- the body's shape -------------------------------------------------------------------------------------

    def to_s(self, s):
        """Patient's s (mm below the vertex) of a template s."""
        s = np.asarray(s, float)
        return (
            np.minimum(s, HEAD_MM) * self.head_scale + np.maximum(s - HEAD_MM, 0) * self.trunk_scale
        )

    def from_s(self, s):
        """Template s of a patient's s."""
        neck = HEAD_MM * self.head_scale
        return np.where(s < neck, s / self.head_scale, HEAD_MM + (s - neck) / self.trunk_scale)

    def outline(self, ts):
        """Half width, depth, back height, fat (mm) at template s, and the midline's x and the table's y."""
        ts = np.asarray(ts, float)
        half, depth, back, fat = [
            np.interp(ts, self._s, a) for a in (self._half, self._depth, self._back, self._fat)
        ]
        t = np.clip((ts - 215) / 640, 0, 1.2)
        x0 = (
            self.bend[0] * np.sin(2 * np.pi * t)
            + self.bend[1] * (t - 0.5)
            + self.bend[2] * np.sin(np.pi * t)
        )
        back = back + self.kyphosis_mm * np.exp(-(((ts - 230) / 75) ** 2))
        return half, depth, back, fat, x0 + self.off_centre[0], self.off_centre[1] - 112.0

    def at(self, points):
        """Body coordinates (mm) of template points (…, 3): stretched with the body's inside, bent with its spine."""
        p = np.asarray(points, float)
        half, depth, back, fat, x0, table = self.outline(p[..., 2])
        reference = np.interp(p[..., 2], OUTLINE[:, 0], OUTLINE[:, 1] - OUTLINE[:, 4])
        reference_depth = np.interp(p[..., 2], OUTLINE[:, 0], OUTLINE[:, 2] - 1.6 * OUTLINE[:, 4])
        x = x0 + p[..., 0] * (half - fat) / reference
        back_fat = np.interp(p[..., 2], OUTLINE[:, 0], OUTLINE[:, 4]) * 0.8
        y = (
            table
            + back
            + fat * 0.8
            + (p[..., 1] - back_fat) * (depth - 1.6 * fat) / reference_depth
        )
        return np.stack([x, y, self.to_s(p[..., 2])], -1)

    def size(self, organ: str = "bone") -> float:
        """Linear scale of an organ's own size: with height, muscle and its own variation; little with fat."""
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
        y = self.off_centre[1] - 112
        return (-reach - abs(self.off_centre[0]), y - 30), (
            reach + abs(self.off_centre[0]),
            y + self._depth.max() + 75,
        )

    @functools.cached_property
    def limbs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Right trapezius and arm, left ones, right and left leg: chains of (points, radii), mm."""
        thick = 1 + 0.022 * (self.bmi - 23)
        out = []
        for side, a in zip((1, -1), self.arm, strict=True):
            shoulder = self.at(
                [side * (146 if self.arms_up else 160), 95, 284 if self.arms_up else 320]
            )
            upper, fore = 300 * self.stature, 265 * self.stature
            if self.arms_up:
                out_deg, back = np.clip(24 + 13 * a[0], -4, 60), 30 + 20 * a[1]
                fold = np.clip(28 + 42 * a[2], -10, 125)
            else:
                out_deg, back = (
                    180 - np.clip(11 + 4 * a[0] + 0.5 * (self.bmi - 24), 5, 26),
                    -2 + 9 * a[1],
                )
                fold = -np.clip(6 + 10 * a[2], -4, 75 if a[3] > 1 else 22)
            u = np.deg2rad([out_deg, out_deg - fold])
            elbow = (
                shoulder + upper * np.array([side * np.sin(u[0]), 0, -np.cos(u[0])]) + [0, back, 0]
            )
            wrist = (
                elbow
                + fore * np.array([side * np.sin(u[1]), 0, -np.cos(u[1])])
                + [0, 10 + 12 * a[4], 0]
            )
            hand = wrist + (wrist - elbow) / fore * 110 * self.stature
            m = self.muscle * thick
            root = self.at([side * 104, 90, 430 if self.arms_up else 345])
            neck = self.at([side * 32, 54, 224])
            out.append(
                (
                    np.array([neck, shoulder]),
                    np.array([24, 42 * self.muscle]) * (1.2 if self.arms_up else 1),
                )
            )
            out.append(
                (
                    np.array(
                        [
                            root,
                            shoulder,
                            (shoulder + 1.2 * elbow) / 2.2,
                            elbow,
                            (elbow * 2 + wrist) / 3,
                            wrist,
                            hand,
                        ]
                    ),
                    np.array(
                        [
                            (34 if self.arms_up else 58) * self.muscle,
                            54 * m,
                            45 * m,
                            38 * m,
                            40 * m,
                            27,
                            24,
                        ]
                    ),
                )
            )
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


def head_map(p: Patient):
    """Template → body for the head, which nods, tilts and turns on the neck."""
    pivot = p.at((0, 60, 190))
    rotation = turn(*p.head_tilt).T

    def at(points):
        q = p.at(points)
        return q + ((q - pivot) @ rotation.T - (q - pivot))

    return at
