"""Foci of uptake in a body: one lesion, the places where they arise, and a drawer that sets them with their spread.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from radiogan_lib.data.anatomy import Patient, head_map
from radiogan_lib.data.shapes import turn
from radiogan_lib.data.skeleton import spine


@dataclass
class Lesion:
    """One focus in body coordinates (mm)."""

    site: str
    kind: str  # "tumour" or "benign"
    centre: np.ndarray
    radii: np.ndarray
    suv: float
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    core: float = 0.0  # necrotic centre: its radius as a share of the lesion's

    def truth(self, top_mm: float) -> dict:
        """A plain description in the image's coordinates, whose z is `top_mm` at the vertex (s = 0)."""
        x, y, s = self.centre
        return {
            "site": self.site,
            "kind": self.kind,
            "centre_mm": (float(x), float(y), float(top_mm - s)),
            "diameter_mm": float(2 * np.prod(self.radii) ** (1 / 3)),
            "suv": float(self.suv),
        }


# template (x, y, s) and spread, mm, on the patient's right; stations outside MIDLINE exist on both sides
NODES = {
    "neck II": ((40, 82, 208), 7),
    "neck III": ((36, 84, 240), 8),
    "neck IV": ((36, 92, 275), 8),
    "neck V": ((52, 60, 255), 9),
    "neck I": ((22, 122, 222), 7),
    "supraclavicular": ((50, 105, 302), 10),
    "axillary": ((132, 98, 365), 14),
    "paratracheal": ((20, 100, 355), 8),
    "subcarinal": ((4, 92, 410), 7),
    "hilar": ((40, 100, 408), 8),
    "aortopulmonary": ((-26, 122, 385), 7),
    "prevascular": ((10, 162, 370), 14),
    "internal mammary": ((24, 180, 400), 8),
    "coeliac": ((2, 112, 575), 9),
    "gastrohepatic": ((-16, 122, 555), 10),
    "retroperitoneal": ((18, 100, 650), 16),
    "mesenteric": ((-8, 142, 670), 24),
    "iliac": ((52, 100, 768), 12),
    "inguinal": ((80, 158, 850), 12),
    "paraoesophageal": ((-10, 84, 430), 12),
}
MIDLINE = {
    "subcarinal",
    "aortopulmonary",
    "prevascular",
    "coeliac",
    "gastrohepatic",
    "mesenteric",
    "paraoesophageal",
}


class Drawer:
    """Draws foci for one patient from one random stream; `found` collects them."""

    def __init__(self, patient: Patient, r: np.random.Generator, kind: str):
        self.p, self.r, self.kind, self.found = patient, r, kind, []
        self.head = head_map(patient)

    def add(self, site, point, diameter, suv, stretch=(1, 1, 1), core=0.0, body=None):
        r = self.r
        radii = 0.5 * diameter * np.asarray(stretch, float) * np.exp(r.normal(0, 0.12, 3))
        centre = (self.head if point[2] < 262 else self.p.at)(point) if body is None else body
        self.found.append(
            Lesion(
                site,
                self.kind,
                np.asarray(centre),
                np.maximum(radii, 2.5),
                float(suv),
                turn(*r.uniform(-25, 25, 3)),
                core,
            )
        )

    def suv(self, median, sd=0.5, low=1.8, high=32):
        return float(np.clip(np.exp(self.r.normal(np.log(median), sd)), low, high))

    def mm(self, median, sd=0.4, low=6, high=110):
        return float(np.clip(np.exp(self.r.normal(np.log(median), sd)), low, high))

    def node(self, station, side, diameter, suv):
        (x, y, s), spread = NODES[station]
        x = x if station in MIDLINE else x * side
        point = np.array([x, y, s]) + self.r.normal(0, spread * 0.6, 3) * [1, 0.7, 1]
        self.add(f"{station} node", point, diameter, suv, (1, 1, self.r.uniform(1, 1.5)))

    def several(self, stations, side, mean, size, suv, faint=1.0):
        for _ in range(self.r.poisson(mean)):
            station = stations[int(self.r.integers(len(stations)))]
            self.node(station, side, self.mm(size, 0.35), self.suv(suv, 0.45) * faint)

    # --- groups that several classes draw ------------------------------------------------------------------------

    def in_lung(self, side, central=False):
        r = self.r
        s = r.uniform(318, 500)
        reach = np.interp(s, [300, 340, 400, 520], [45, 75, 105, 118])
        x = r.uniform(38, 60) if central else r.uniform(42, reach)
        y = 105 + r.uniform(-1, 1) * np.interp(s, [310, 360, 420], [18, 45, 62]) * np.sqrt(
            max(1 - (x / 125) ** 2, 0.1)
        )
        return np.array([side * x, y, s + (45 if y < 90 and s > 450 else 0)])

    def lung_focus(self, n, size, suv):
        for _ in range(n):
            self.add(
                "lung metastasis",
                self.in_lung(self.r.choice([-1, 1])),
                self.mm(size, 0.3),
                self.suv(suv, 0.4),
            )

    def bones(self, n, suv):
        column = spine(self.p)
        for _ in range(n):
            if self.r.random() < 0.6:
                point = np.array(column[int(self.r.integers(5, len(column)))][0]) + self.r.normal(
                    0, 4, 3
                )
            else:
                places = (
                    (60, 62, 735),
                    (92, 105, 728),
                    (80, 95, 800),
                    (60, 70, 860),
                    (0, 205, 420),
                    (100, 60, 420),
                    (92, 104, 820),
                )
                point = np.array(places[int(self.r.integers(7))]) * [self.r.choice([-1, 1]), 1, 1]
                point = point + self.r.normal(0, 6, 3)
            self.add("bone", point, self.mm(17, 0.35), max(suv * np.exp(self.r.normal(0, 0.3)), 2))

    def metastases(self, organs):
        r = self.r
        for organ in organs:
            if r.random() > 0.55:
                continue
            if organ == "liver":
                for _ in range(1 + r.poisson(2)):
                    point = np.array([r.uniform(20, 105), r.uniform(90, 165), r.uniform(520, 590)])
                    self.add("liver metastasis", point, self.mm(20, 0.4), self.suv(8, 0.35, 4))
            elif organ == "bone":
                self.bones(1 + r.poisson(2), self.suv(7, 0.4))
            else:
                self.add(
                    "adrenal",
                    np.array([r.choice([-1, 1]) * 40, 80, 572]),
                    self.mm(22, 0.3),
                    self.suv(7, 0.4),
                )
