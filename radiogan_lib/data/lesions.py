"""Lesions: what each class adds to a body, beside the benign foci that every class may have.

A class draws its sites from the tables of foci.py; SUV and size are log-normal, some lesions are faint or have
vanished, and node stations, reflux, inflammation and arthritis overlap between classes, as they do in real readings.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.data import benign
from radiogan_lib.data.anatomy import Patient
from radiogan_lib.data.foci import Drawer, Lesion
from radiogan_lib.data.shapes import Canvas

GULLET = np.array(
    [(-2, 76, 285), (-6, 72, 380), (-2, 78, 445), (-16, 92, 498), (-30, 92, 515)], float
)


def draw(class_name: str, patient: Patient) -> list[Lesion]:
    """The exam's foci: benign ones from a stream that ignores the class, then the class's own."""
    everyday = Drawer(patient, patient.stream("benign"), "benign")
    benign.draw(everyday)
    tumour = Disease(patient, patient.stream("lesions " + class_name, person=True), "tumour")
    getattr(tumour, class_name)()
    if (
        patient.seed != patient.person
    ):  # the same disease on another day: it has shrunk, grown, faded or gone
        r = patient.stream("course")
        kept = [item for item in tumour.found if r.random() < 0.85] or tumour.found[:1]
        response = r.normal(-0.25, 0.4)
        for item in kept:
            item.suv = float(np.clip(item.suv * np.exp(response + r.normal(0, 0.15)), 1.6, 40))
            item.radii = item.radii * float(
                np.clip(np.exp(0.4 * response + r.normal(0, 0.08)), 0.5, 1.5)
            )
        tumour.found = kept
    return everyday.found + tumour.found


def paint(canvas: Canvas, patient: Patient, found: list[Lesion]) -> None:
    """Add the foci to the activity, each with a soft rim, a necrotic centre if it has one."""
    for item in found:
        canvas.ellipsoid(item.centre, item.radii, item.suv, item.turn, softness_mm=2.0)
        if item.core:
            canvas.ellipsoid(
                item.centre, item.radii * item.core, min(1.2, item.suv), item.turn, softness_mm=3.0
            )


class Disease(Drawer):
    """The malignant foci of the five classes: one method each, named like the class."""

    def normal(self):
        """No malignant lesion."""

    def head_neck(self):
        r, side = self.r, self.r.choice([-1, 1])
        sites = {
            "tonsil": (18 * side, 98, 192),
            "base of tongue": (6 * side, 108, 204),
            "larynx": (6 * side, 92, 248),
            "hypopharynx": (12 * side, 82, 232),
            "nasopharynx": (5 * side, 80, 152),
            "oral tongue": (14 * side, 138, 190),
        }
        name = list(sites)[r.choice(6, p=[0.34, 0.18, 0.2, 0.12, 0.07, 0.09])]
        faint = r.uniform(0.25, 0.5) if r.random() < 0.06 else 1.0
        if r.random() > 0.06:
            d = self.mm(28, 0.33, 10, 62)
            self.add(
                name,
                np.array(sites[name]) + r.normal(0, 3, 3),
                d,
                max(self.suv(12, 0.4) * faint, 2),
                (1, 1, r.uniform(0.9, 1.4)),
                0.45 if d > 42 and r.random() < 0.5 else 0,
            )
        self.several(
            ("neck II", "neck II", "neck III", "neck III", "neck IV", "neck V", "neck I"),
            side,
            1.9,
            15,
            7.5,
            faint,
        )
        if r.random() < 0.3:
            self.several(("neck II", "neck III"), -side, 1.3, 12, 6, faint)
        if r.random() < 0.07:
            self.several(("paratracheal", "hilar", "supraclavicular"), side, 1.2, 12, 5)
            self.lung_focus(1 + r.poisson(1), 10, 4.5)

    def oesophagus(self):
        r = self.r
        t = r.choice([0.12, 0.38, 0.62, 0.9], p=[0.08, 0.24, 0.38, 0.30]) + r.normal(0, 0.06)
        length, width = self.mm(68, 0.35, 25, 140), self.mm(29, 0.22, 16, 52)
        faint = r.uniform(0.25, 0.45) if r.random() < 0.06 else 1.0
        value = max(self.suv(13, 0.38) * faint, 2.2)
        steps = max(2, int(length / (width * 0.25)))
        where = lambda u: np.array(
            [np.interp(u, np.linspace(0, 1, 5), GULLET[:, k]) for k in range(3)]
        )  # noqa: E731
        span = length / 250
        for u in np.linspace(t - span / 2, t + span / 2, steps):
            u = min(max(u, 0.02), 1.06)
            point = where(min(u, 1)) + max(u - 1, 0) * np.array([-250, 40, 150])
            taper = 1 - 0.45 * abs(u - t) / span
            self.add(
                "oesophagus",
                point + r.normal(0, 1.2, 3),
                width * taper,
                value * np.exp(r.normal(0, 0.08)),
                (1, 0.9, 1.1),
            )
        near = (
            ("paraoesophageal", "subcarinal")
            if t < 0.7
            else ("gastrohepatic", "coeliac", "paraoesophageal")
        )
        self.several(near, 1, 1.1, 13, 5.5, faint)
        if r.random() < 0.2:
            self.several(("supraclavicular", "paratracheal"), r.choice([-1, 1]), 1.3, 12, 5.5)
        if r.random() < 0.12:
            self.metastases(("liver", "bone"))

    def lung(self):
        r, side = self.r, self.r.choice([-1, 1], p=[0.42, 0.58])
        faint = r.uniform(0.2, 0.45) if r.random() < 0.06 else 1.0
        d = self.mm(43, 0.4, 14, 100)
        point = self.in_lung(side, central=r.random() < 0.25)
        self.add(
            "lung",
            point,
            d,
            max(self.suv(12.5, 0.4) * faint, 1.8),
            (1, 1, 1),
            r.uniform(0.4, 0.6) if d > 48 and r.random() < 0.5 else 0,
        )
        if r.random() < 0.6:
            self.several(
                ("hilar", "hilar", "paratracheal", "subcarinal"), side, 1.7, 17, 7.5, faint
            )
        if r.random() < 0.25:
            self.several(
                ("paratracheal", "aortopulmonary", "hilar", "supraclavicular"),
                -side,
                1.4,
                13,
                5.5,
                faint,
            )
        if r.random() < 0.14:
            self.lung_focus(1 + r.poisson(2), 11, 4.5)
        if r.random() < 0.2:
            self.metastases(("bone", "liver", "adrenal"))

    def lymphoma(self):
        r = self.r
        pattern = r.choice(5, p=[0.29, 0.08, 0.43, 0.15, 0.05])
        faint = (
            r.uniform(0.3, 0.55) if r.random() < 0.09 else 1.0
        )  # indolent types and partial responses
        value = self.suv(12.5, 0.42) * faint

        def one(station, side, size):
            self.node(
                station,
                side,
                self.mm(size, 0.4, 7, 70),
                max(value * np.exp(r.normal(0, 0.22)), 1.8),
            )

        chest = ("prevascular", "paratracheal", "aortopulmonary", "hilar", "internal mammary")
        neck = ("neck II", "neck III", "neck IV", "neck V", "supraclavicular")
        belly = ("retroperitoneal", "mesenteric", "coeliac", "iliac")
        sides = lambda: r.choice([-1, 1])  # noqa: E731
        pick = lambda group: group[int(r.integers(len(group)))]  # noqa: E731
        if pattern == 0:  # neck and mediastinum, often bulky
            for _ in range(2 + r.poisson(3)):
                one("prevascular" if r.random() < 0.5 else pick(chest), sides(), 28)
            side = sides()
            for _ in range(1 + r.poisson(3)):
                one(pick(neck), side if r.random() < 0.75 else -side, 19)
        elif pattern == 1:  # one or two stations
            group = (neck, ("axillary",), ("inguinal", "iliac"), chest)[
                r.choice(4, p=[0.3, 0.3, 0.25, 0.15])
            ]
            side = sides()
            for _ in range(2 + r.poisson(3)):
                one(pick(group), side, 22)
        elif pattern == 2:  # many stations above and below the diaphragm
            for group, mean in (
                (neck, 4),
                (("axillary",), 4.5),
                (chest, 2),
                (belly, 5),
                (("inguinal",), 3.5),
            ):
                for _ in range(r.poisson(mean)):
                    one(pick(group), sides(), 21)
        elif pattern == 3:  # abdominal bulk
            for _ in range(3 + r.poisson(4)):
                one(pick(belly), sides(), 33)
        else:  # marrow or an organ first
            self.bones(3 + r.poisson(6), value)
        if r.random() < 0.25 and not self.p.no_spleen:
            at = np.array([-98, 64, 534]) + self.p.shift["spleen"]
            z = self.p.size("spleen")
            if r.random() < 0.5:
                self.add(
                    "spleen", at, 78 * z, max(0.55 * value, 1.4 * self.p.spleen), (0.55, 0.85, 1.2)
                )
            else:
                for _ in range(1 + r.poisson(3)):
                    self.add(
                        "spleen", at + r.normal(0, 1, 3) * [8, 12, 20], self.mm(16, 0.3), value
                    )
        if r.random() < 0.15:
            self.bones(2 + r.poisson(5), value * 0.8)
