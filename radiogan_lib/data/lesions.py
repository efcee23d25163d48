"""Lesions: what each class adds to a body, and the benign foci that every class may have.

A class draws its sites from the tables here; SUV and size are log-normal, some lesions are faint or have vanished,
and node stations, reflux, inflammation and arthritis overlap between classes, as they do in real readings.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from radiogan_lib.data import benign
from radiogan_lib.data.anatomy import Patient, head_map
from radiogan_lib.data.shapes import Canvas, turn
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
        return {"site": self.site, "kind": self.kind, "centre_mm": (float(x), float(y), float(top_mm - s)),
                "diameter_mm": float(2 * np.prod(self.radii) ** (1 / 3)), "suv": float(self.suv)}


# template (x, y, s) and spread, mm, on the patient's right; stations outside MIDLINE exist on both sides
NODES = {
    "neck II": ((40, 82, 208), 7), "neck III": ((36, 84, 240), 8), "neck IV": ((36, 92, 275), 8),
    "neck V": ((52, 60, 255), 9),
    "neck I": ((22, 122, 222), 7), "supraclavicular": ((50, 105, 302), 10), "axillary": ((132, 98, 365), 14),
    "paratracheal": ((20, 100, 355), 8), "subcarinal": ((4, 92, 410), 7), "hilar": ((40, 100, 408), 8),
    "aortopulmonary": ((-26, 122, 385), 7), "prevascular": ((10, 162, 370), 14),
    "internal mammary": ((24, 180, 400), 8),
    "coeliac": ((2, 112, 575), 9), "gastrohepatic": ((-16, 122, 555), 10), "retroperitoneal": ((18, 100, 650), 16),
    "mesenteric": ((-8, 142, 670), 24), "iliac": ((52, 100, 768), 12), "inguinal": ((80, 158, 850), 12),
    "paraoesophageal": ((-10, 84, 430), 12)}
MIDLINE = {"subcarinal", "aortopulmonary", "prevascular", "coeliac", "gastrohepatic", "mesenteric", "paraoesophageal"}
GULLET = np.array([(-2, 76, 285), (-6, 72, 380), (-2, 78, 445), (-16, 92, 498), (-30, 92, 515)], float)


def draw(class_name: str, patient: Patient) -> list[Lesion]:
    """The exam's foci: benign ones from a stream that ignores the class, then the class's own."""
    everyday = Drawer(patient, patient.stream("benign"), "benign")
    benign.draw(everyday)
    tumour = Drawer(patient, patient.stream("lesions " + class_name, person=True), "tumour")
    getattr(tumour, class_name)()
    if patient.seed != patient.person:  # the same disease on another day: it has shrunk, grown, faded or gone
        r = patient.stream("course")
        kept = [item for item in tumour.found if r.random() < .85] or tumour.found[:1]
        response = r.normal(-.25, .4)
        for item in kept:
            item.suv = float(np.clip(item.suv * np.exp(response + r.normal(0, .15)), 1.6, 40))
            item.radii = item.radii * float(np.clip(np.exp(.4 * response + r.normal(0, .08)), .5, 1.5))
        tumour.found = kept
    return everyday.found + tumour.found


def paint(canvas: Canvas, patient: Patient, found: list[Lesion]) -> None:
    """Add the foci to the activity, each with a soft rim, a necrotic centre if it has one."""
    for item in found:
        canvas.ellipsoid(item.centre, item.radii, item.suv, item.turn, softness_mm=2.0)
        if item.core:
            canvas.ellipsoid(item.centre, item.radii * item.core, min(1.2, item.suv), item.turn, softness_mm=3.0)


class Drawer:
    """Draws foci for one patient from one random stream; `found` collects them."""

    def __init__(self, patient: Patient, r: np.random.Generator, kind: str):
        self.p, self.r, self.kind, self.found = patient, r, kind, []
        self.head = head_map(patient)

    def add(self, site, point, diameter, suv, stretch=(1, 1, 1), core=0.0, body=None):
        r = self.r
        radii = .5 * diameter * np.asarray(stretch, float) * np.exp(r.normal(0, .12, 3))
        centre = (self.head if point[2] < 262 else self.p.at)(point) if body is None else body
        self.found.append(Lesion(site, self.kind, np.asarray(centre), np.maximum(radii, 2.5), float(suv),
                                 turn(*r.uniform(-25, 25, 3)), core))

    def suv(self, median, sd=.5, low=1.8, high=32):
        return float(np.clip(np.exp(self.r.normal(np.log(median), sd)), low, high))

    def mm(self, median, sd=.4, low=6, high=110):
        return float(np.clip(np.exp(self.r.normal(np.log(median), sd)), low, high))

    def node(self, station, side, diameter, suv):
        (x, y, s), spread = NODES[station]
        x = x if station in MIDLINE else x * side
        point = np.array([x, y, s]) + self.r.normal(0, spread * .6, 3) * [1, .7, 1]
        self.add(f"{station} node", point, diameter, suv, (1, 1, self.r.uniform(1, 1.5)))

    def several(self, stations, side, mean, size, suv, faint=1.0):
        for _ in range(self.r.poisson(mean)):
            station = stations[int(self.r.integers(len(stations)))]
            self.node(station, side, self.mm(size, .35), self.suv(suv, .45) * faint)

    # --- the five classes -----------------------------------------------------------------------------------------

    def normal(self):
        """No malignant lesion."""

    def head_neck(self):
        r, side = self.r, self.r.choice([-1, 1])
        sites = {"tonsil": (18 * side, 98, 192), "base of tongue": (6 * side, 108, 204), "larynx": (6 * side, 92, 248),
                 "hypopharynx": (12 * side, 82, 232), "nasopharynx": (5 * side, 80, 152),
                 "oral tongue": (14 * side, 138, 190)}
        name = list(sites)[r.choice(6, p=[.34, .18, .2, .12, .07, .09])]
        faint = r.uniform(.25, .5) if r.random() < .06 else 1.0
        if r.random() > .06:
            d = self.mm(28, .33, 10, 62)
            self.add(name, np.array(sites[name]) + r.normal(0, 3, 3), d, max(self.suv(12, .4) * faint, 2),
                     (1, 1, r.uniform(.9, 1.4)),
                     .45 if d > 42 and r.random() < .5 else 0)
        self.several(("neck II", "neck II", "neck III", "neck III", "neck IV", "neck V", "neck I"), side, 1.9, 15, 7.5,
                     faint)
        if r.random() < .3:
            self.several(("neck II", "neck III"), -side, 1.3, 12, 6, faint)
        if r.random() < .07:
            self.several(("paratracheal", "hilar", "supraclavicular"), side, 1.2, 12, 5)
            self.lung_focus(1 + r.poisson(1), 10, 4.5)

    def oesophagus(self):
        r = self.r
        t = r.choice([.12, .38, .62, .9], p=[.08, .24, .38, .30]) + r.normal(0, .06)
        length, width = self.mm(68, .35, 25, 140), self.mm(29, .22, 16, 52)
        faint = r.uniform(.25, .45) if r.random() < .06 else 1.0
        value = max(self.suv(13, .38) * faint, 2.2)
        steps = max(2, int(length / (width * .25)))
        where = lambda u: np.array([np.interp(u, np.linspace(0, 1, 5), GULLET[:, k]) for k in range(3)])  # noqa: E731
        span = length / 250
        for u in np.linspace(t - span / 2, t + span / 2, steps):
            u = min(max(u, 0.02), 1.06)
            point = where(min(u, 1)) + max(u - 1, 0) * np.array([-250, 40, 150])
            taper = 1 - .45 * abs(u - t) / span
            self.add("oesophagus", point + r.normal(0, 1.2, 3), width * taper, value * np.exp(r.normal(0, .08)),
                     (1, .9, 1.1))
        near = ("paraoesophageal", "subcarinal") if t < .7 else ("gastrohepatic", "coeliac", "paraoesophageal")
        self.several(near, 1, 1.1, 13, 5.5, faint)
        if r.random() < .2:
            self.several(("supraclavicular", "paratracheal"), r.choice([-1, 1]), 1.3, 12, 5.5)
        if r.random() < .12:
            self.metastases(("liver", "bone"))

    def lung(self):
        r, side = self.r, self.r.choice([-1, 1], p=[.42, .58])
        faint = r.uniform(.2, .45) if r.random() < .06 else 1.0
        d = self.mm(43, .4, 14, 100)
        point = self.in_lung(side, central=r.random() < .25)
        self.add("lung", point, d, max(self.suv(12.5, .4) * faint, 1.8), (1, 1, 1), r.uniform(.4, .6)
                 if d > 48 and r.random() < .5 else 0)
        if r.random() < .6:
            self.several(("hilar", "hilar", "paratracheal", "subcarinal"), side, 1.7, 17, 7.5, faint)
        if r.random() < .25:
            self.several(("paratracheal", "aortopulmonary", "hilar", "supraclavicular"), -side, 1.4, 13, 5.5, faint)
        if r.random() < .14:
            self.lung_focus(1 + r.poisson(2), 11, 4.5)
        if r.random() < .2:
            self.metastases(("bone", "liver", "adrenal"))

    def lymphoma(self):
        r = self.r
        pattern = r.choice(5, p=[.29, .08, .43, .15, .05])
        faint = r.uniform(.3, .55) if r.random() < .09 else 1.0  # indolent types and partial responses
        value = self.suv(12.5, .42) * faint

        def one(station, side, size):
            self.node(station, side, self.mm(size, .4, 7, 70), max(value * np.exp(r.normal(0, .22)), 1.8))

        chest = ("prevascular", "paratracheal", "aortopulmonary", "hilar", "internal mammary")
        neck = ("neck II", "neck III", "neck IV", "neck V", "supraclavicular")
        belly = ("retroperitoneal", "mesenteric", "coeliac", "iliac")
        sides = lambda: r.choice([-1, 1])  # noqa: E731
        pick = lambda group: group[int(r.integers(len(group)))]  # noqa: E731
        if pattern == 0:  # neck and mediastinum, often bulky
            for _ in range(2 + r.poisson(3)):
                one("prevascular" if r.random() < .5 else pick(chest), sides(), 28)
            side = sides()
            for _ in range(1 + r.poisson(3)):
                one(pick(neck), side if r.random() < .75 else -side, 19)
        elif pattern == 1:  # one or two stations
            group = (neck, ("axillary",), ("inguinal", "iliac"), chest)[r.choice(4, p=[.3, .3, .25, .15])]
            side = sides()
            for _ in range(2 + r.poisson(3)):
                one(pick(group), side, 22)
        elif pattern == 2:  # many stations above and below the diaphragm
            for group, mean in ((neck, 4), (("axillary",), 4.5), (chest, 2), (belly, 5), (("inguinal",), 3.5)):
                for _ in range(r.poisson(mean)):
                    one(pick(group), sides(), 21)
        elif pattern == 3:  # abdominal bulk
            for _ in range(3 + r.poisson(4)):
                one(pick(belly), sides(), 33)
        else:  # marrow or an organ first
            self.bones(3 + r.poisson(6), value)
        if r.random() < .25 and not self.p.no_spleen:
            at = np.array([-98, 64, 534]) + self.p.shift["spleen"]
            z = self.p.size("spleen")
            if r.random() < .5:
                self.add("spleen", at, 78 * z, max(.55 * value, 1.4 * self.p.spleen), (.55, .85, 1.2))
            else:
                for _ in range(1 + r.poisson(3)):
                    self.add("spleen", at + r.normal(0, 1, 3) * [8, 12, 20], self.mm(16, .3), value)
        if r.random() < .15:
            self.bones(2 + r.poisson(5), value * .8)

    # --- parts that classes share ---------------------------------------------------------------------------------

    def in_lung(self, side, central=False):
        r = self.r
        s = r.uniform(318, 500)
        reach = np.interp(s, [300, 340, 400, 520], [45, 75, 105, 118])
        x = r.uniform(38, 60) if central else r.uniform(42, reach)
        y = 105 + r.uniform(-1, 1) * np.interp(s, [310, 360, 420], [18, 45, 62]) * np.sqrt(max(1 - (x / 125) ** 2, .1))
        return np.array([side * x, y, s + (45 if y < 90 and s > 450 else 0)])

    def lung_focus(self, n, size, suv):
        for _ in range(n):
            self.add("lung metastasis", self.in_lung(self.r.choice([-1, 1])), self.mm(size, .3), self.suv(suv, .4))

    def bones(self, n, suv):
        column = spine(self.p)
        for _ in range(n):
            if self.r.random() < .6:
                point = np.array(column[int(self.r.integers(5, len(column)))][0]) + self.r.normal(0, 4, 3)
            else:
                places = ((60, 62, 735), (92, 105, 728), (80, 95, 800), (60, 70, 860), (0, 205, 420), (100, 60, 420),
                          (92, 104, 820))
                point = np.array(places[int(self.r.integers(7))]) * [self.r.choice([-1, 1]), 1, 1]
                point = point + self.r.normal(0, 6, 3)
            self.add("bone", point, self.mm(17, .35), max(suv * np.exp(self.r.normal(0, .3)), 2))

    def metastases(self, organs):
        r = self.r
        for organ in organs:
            if r.random() > .55:
                continue
            if organ == "liver":
                for _ in range(1 + r.poisson(2)):
                    point = np.array([r.uniform(20, 105), r.uniform(90, 165), r.uniform(520, 590)])
                    self.add("liver metastasis", point, self.mm(20, .4),
                             self.suv(8, .35, 4))
            elif organ == "bone":
                self.bones(1 + r.poisson(2), self.suv(7, .4))
            else:
                self.add("adrenal", np.array([r.choice([-1, 1]) * 40, 80, 572]), self.mm(22, .3), self.suv(7, .4))
