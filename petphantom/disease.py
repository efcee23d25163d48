"""Foci of uptake: what each class adds to a body, beside the benign foci that every class may have.

SUV and size are log-normal; some lesions are faint or have vanished. Node stations, reflux,
inflammation and arthritis overlap between classes, as they do in real exams: a hot spot is not yet
a cancer.
"""

from dataclasses import dataclass, replace

import numpy as np

from petphantom.body import spine
from petphantom.canvas import Canvas, table, turn
from petphantom.patient import GULLET, Patient, head_map, lognormal


@dataclass
class Lesion:
    """One focus in body coordinates (mm)."""

    site: str
    kind: str  # "tumour" or "benign"
    centre: np.ndarray
    radii: np.ndarray
    suv: float
    turn: np.ndarray  # 3 x 3: the rows are the axes
    core: float  # necrotic centre: its radius as a share of the lesion's

    def truth(self, top_mm: float) -> dict:
        """A plain description in the image's coordinates: z is `top_mm` at the vertex (s = 0)."""
        x, y, s = self.centre
        return {
            "site": self.site,
            "kind": self.kind,
            "centre_mm": (float(x), float(y), float(top_mm - s)),
            "diameter_mm": float(2 * np.prod(self.radii) ** (1 / 3)),
            "suv": float(self.suv),
        }


# template (x, y, s) and spread, mm, on the right; stations outside MIDLINE exist on both sides
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
MIDLINE = set(
    "subcarinal aortopulmonary prevascular coeliac gastrohepatic mesenteric paraoesophageal".split()
)
SITES = {  # of head and neck tumours, on the patient's right
    "tonsil": (18, 98, 192),
    "base of tongue": (6, 108, 204),
    "larynx": (6, 92, 248),
    "hypopharynx": (12, 82, 232),
    "nasopharynx": (5, 80, 152),
    "oral tongue": (14, 138, 190),
}
BONES = table("60 62 735, 92 105 728, 80 95 800, 60 70 860, 0 205 420, 100 60 420, 92 104 820")
BROWN_FAT = table("40 88 272, 58 92 292, 80 92 306, 100 90 322, 20 60 300, 18 52 350, 16 52 396")
COLON = table("96 100 680, -104 84 690, -40 120 775, 0 184 650")
CHEST_NODES = ("prevascular", "paratracheal", "aortopulmonary", "hilar", "internal mammary")
NECK_NODES = ("neck II", "neck III", "neck IV", "neck V", "supraclavicular")
BELLY_NODES = ("retroperitoneal", "mesenteric", "coeliac", "iliac")


class Foci:
    """Draws foci for one patient from one random stream, and collects them in `found`."""

    def __init__(self, patient: Patient, r: np.random.Generator, kind: str):
        self.p, self.r, self.kind = patient, r, kind
        self.found: list[Lesion] = []
        self.head = head_map(patient)

    def add(self, site, point, diameter, suv, stretch=(1, 1, 1), core=0.0, body=None) -> None:
        """Add a focus of this diameter (mm) at a template point, or at `body` (patient, mm)."""
        radii = 0.5 * diameter * np.asarray(stretch, float) * np.exp(self.r.normal(0, 0.12, 3))
        if body is None:
            body = (self.head if point[2] < 262 else self.p.at)(point)
        radii, axes = np.maximum(radii, 2.5), turn(*self.r.uniform(-25, 25, 3))
        self.found.append(Lesion(site, self.kind, np.asarray(body), radii, float(suv), axes, core))

    def suv(self, median, sd=0.5, low=1.8, high=32) -> float:
        return lognormal(self.r, median, sd, low, high)

    def mm(self, median, sd=0.4, low=6, high=110) -> float:
        return lognormal(self.r, median, sd, low, high)

    def side(self) -> int:
        return self.r.choice([-1, 1])

    def pick(self, group):
        return group[int(self.r.integers(len(group)))]

    def node(self, station, side, diameter, suv) -> None:
        """A lymph node of a station; `side` is 1 for the patient's right."""
        (x, y, s), spread = NODES[station]
        x = x if station in MIDLINE else x * side
        point = np.array([x, y, s]) + self.r.normal(0, spread * 0.6, 3) * [1, 0.7, 1]
        self.add(f"{station} node", point, diameter, suv, (1, 1, self.r.uniform(1, 1.5)))

    def several(self, stations, side, mean, size, suv, faint=1.0) -> None:
        """A Poisson number of nodes of the named stations, `mean` of them."""
        for _ in range(self.r.poisson(mean)):
            station = self.pick(stations)
            self.node(station, side, self.mm(size, 0.35), self.suv(suv, 0.45) * faint)

    def in_lung(self, side, central=False) -> np.ndarray:
        """A template point inside a lung."""
        r = self.r
        s = r.uniform(318, 500)
        reach = np.interp(s, [300, 340, 400, 520], [45, 75, 105, 118])
        x = r.uniform(38, 60) if central else r.uniform(42, reach)
        deep = r.uniform(-1, 1) * np.interp(s, [310, 360, 420], [18, 45, 62])
        y = 105 + deep * np.sqrt(max(1 - (x / 125) ** 2, 0.1))
        return np.array([side * x, y, s + (45 if y < 90 and s > 450 else 0)])

    def lung_metastases(self, n, size, suv) -> None:
        for _ in range(n):
            point = self.in_lung(self.side())
            self.add("lung metastasis", point, self.mm(size, 0.3), self.suv(suv, 0.4))

    def bones(self, n, suv) -> None:
        """Foci in the spine and elsewhere in the marrow."""
        column = spine(self.p)
        for _ in range(n):
            if self.r.random() < 0.6:
                point = np.array(column[int(self.r.integers(5, len(column)))][0])
                point = point + self.r.normal(0, 4, 3)
            else:
                point = self.pick(BONES) * [self.side(), 1, 1] + self.r.normal(0, 6, 3)
            self.add("bone", point, self.mm(17, 0.35), max(suv * np.exp(self.r.normal(0, 0.3)), 2))

    def metastases(self, organs) -> None:
        """In each named organ (liver, bone, adrenal) with a chance of 0.55."""
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
                point = np.array([self.side() * 40, 80, 572])
                self.add("adrenal", point, self.mm(22, 0.3), self.suv(7, 0.4))


def benign(foci: Foci) -> None:
    """Inflammation, arthritis, injection site, polyp, brown fat: as often in every class."""
    r, p, mm, suv = foci.r, foci.p, foci.mm, foci.suv
    if r.random() < 0.13:
        side = foci.side()
        for _ in range(1 + r.poisson(0.8)):
            station = foci.pick(("neck II", "neck II", "neck III", "neck I"))
            same = side if r.random() < 0.7 else -side
            foci.node(station, same, mm(9, 0.2, 6, 14), suv(2.6, 0.25, 1.8, 4.5))
    if r.random() < 0.09:  # granulomatous hila are symmetric
        value = suv(3, 0.25, 1.8, 5.5)
        for side in (-1, 1):
            foci.node("hilar", side, mm(12, 0.2, 8, 18), value)
        foci.node("subcarinal", 1, mm(12, 0.2), value)
    if r.random() < 0.07:
        foci.node("axillary", foci.side(), mm(9, 0.2), suv(2.3, 0.3, 1.5, 5))
    if r.random() < 0.08:
        foci.node("inguinal", foci.side(), mm(10, 0.2), suv(2.2, 0.25, 1.5, 4))
    if r.random() < 0.06:
        point = foci.in_lung(foci.side())
        foci.add("lung inflammation", point, mm(16, 0.3), suv(2.3, 0.3, 1.2, 4.5))
    if r.random() < 0.22:
        for _ in range(1 + r.poisson(0.6)):
            side = foci.side()
            if r.random() < 0.5:
                size, value = mm(20, 0.25), suv(2.3, 0.3, 1.5, 5)
                joint = p.shoulders[0 if side == 1 else 1] + r.normal(0, 12, 3)
                foci.add("shoulder arthritis", None, size, value, body=joint)
            else:
                hip = r.random() < 0.5
                point = (side * 98, 108, 812) if hip else (side * 16, 50, r.uniform(640, 735))
                foci.add("hip or facet arthritis", point, mm(11, 0.25), suv(2.6, 0.3, 1.6, 5))
    if r.random() < 0.05:
        point = (foci.side() * 128, r.uniform(80, 140), r.uniform(400, 540))
        foci.add("rib fracture", point, mm(10, 0.2), suv(3, 0.3, 1.8, 6))
    if r.random() < 0.06:
        foci.add("tonsillitis", (foci.side() * 17, 98, 190), mm(15, 0.2), suv(4.5, 0.3, 2.5, 8))
    if r.random() < 0.035:
        point = (foci.side() * 17, 92, 284)
        foci.add("thyroid nodule", point, mm(13, 0.25), suv(4.5, 0.45, 2, 14))
    if r.random() < 0.035:
        foci.add("colon polyp", foci.pick(COLON), mm(13, 0.2), suv(6, 0.35, 3, 14))
    if r.random() < 0.09:
        elbow = p.limbs[1 + 2 * int(r.integers(2))][0][3]
        size, value = mm(10, 0.3), suv(9, 0.7, 2, 60)
        foci.add("injection site", None, size, value, body=elbow + r.normal(0, 12, 3))
    if p.brown_fat:
        for side in (-1, 1):
            for place in BROWN_FAT * [side, 1, 1]:
                if r.random() < 0.75:
                    point, size = place + r.normal(0, 4, 3), mm(13, 0.25)
                    value = p.brown_fat * np.exp(r.normal(0, 0.3))
                    foci.add("brown fat", point, size, value, (1.2, 0.8, 1))


def draw(class_name: str, patient: Patient) -> list[Lesion]:
    """The exam's foci: benign ones from a stream that ignores the class, then the class's own."""
    everyday = Foci(patient, patient.stream("benign"), "benign")
    benign(everyday)
    tumour = Tumours(patient, patient.stream("lesions " + class_name, person=True), "tumour")
    getattr(tumour, class_name)()
    if patient.seed == patient.person:
        return everyday.found + tumour.found
    # the same disease on another day: it has shrunk, grown, faded or gone
    r = patient.stream("course")
    kept = [item for item in tumour.found if r.random() < 0.85] or tumour.found[:1]
    response = r.normal(-0.25, 0.4)
    for item in kept:
        item.suv = float(np.clip(item.suv * np.exp(response + r.normal(0, 0.15)), 1.6, 40))
        growth = np.exp(0.4 * response + r.normal(0, 0.08))
        item.radii = item.radii * float(np.clip(growth, 0.5, 1.5))
    return everyday.found + kept


def shrunk(found: list[Lesion], share: float) -> list[Lesion]:
    """The same foci at `share` (0 to 1) of their radii; none at 0."""
    return [replace(item, radii=item.radii * share) for item in found if share > 0]


def paint(canvas: Canvas, found: list[Lesion]) -> None:
    """Add the foci to the activity, each with a soft rim, and a necrotic centre if it has one."""
    for item in found:
        canvas.ellipsoid(item.centre, item.radii, item.suv, item.turn, softness_mm=2.0)
        if item.core:
            core = item.radii * item.core
            canvas.ellipsoid(item.centre, core, min(1.2, item.suv), item.turn, softness_mm=3.0)


class Tumours(Foci):
    """The malignant foci of the five classes: one method each, named like the class."""

    def normal(self) -> None:
        """No malignant lesion."""

    def head_neck(self) -> None:
        """A primary tumour of the throat with nodes of the neck; rarely metastases in the chest."""
        r, side = self.r, self.side()
        name = list(SITES)[r.choice(6, p=[0.34, 0.18, 0.2, 0.12, 0.07, 0.09])]
        faint = r.uniform(0.25, 0.5) if r.random() < 0.06 else 1.0
        if r.random() > 0.06:
            d = self.mm(28, 0.33, 10, 62)
            point = np.array(SITES[name]) * [side, 1, 1] + r.normal(0, 3, 3)
            value = max(self.suv(12, 0.4) * faint, 2)
            stretch = (1, 1, r.uniform(0.9, 1.4))
            self.add(name, point, d, value, stretch, 0.45 if d > 42 and r.random() < 0.5 else 0)
        neck = ("neck II", "neck II", "neck III", "neck III", "neck IV", "neck V", "neck I")
        self.several(neck, side, 1.9, 15, 7.5, faint)
        if r.random() < 0.3:
            self.several(("neck II", "neck III"), -side, 1.3, 12, 6, faint)
        if r.random() < 0.07:
            self.several(("paratracheal", "hilar", "supraclavicular"), side, 1.2, 12, 5)
            self.lung_metastases(1 + r.poisson(1), 10, 4.5)

    def oesophagus(self) -> None:
        """A long tumour of the gullet, as overlapping foci along it, with the nodes beside it."""
        r = self.r
        t = r.choice([0.12, 0.38, 0.62, 0.9], p=[0.08, 0.24, 0.38, 0.30]) + r.normal(0, 0.06)
        length, width = self.mm(68, 0.35, 25, 140), self.mm(29, 0.22, 16, 52)
        faint = r.uniform(0.25, 0.45) if r.random() < 0.06 else 1.0
        value = max(self.suv(13, 0.38) * faint, 2.2)
        span = length / 250
        for u in np.linspace(t - span / 2, t + span / 2, max(2, int(length / (width * 0.25)))):
            u = min(max(u, 0.02), 1.06)
            share = np.linspace(0, 1, 5)
            point = np.array([np.interp(min(u, 1), share, GULLET[:, k]) for k in range(3)])
            point = point + max(u - 1, 0) * np.array([-250, 40, 150]) + r.normal(0, 1.2, 3)
            diameter = width * (1 - 0.45 * abs(u - t) / span)
            self.add(
                "oesophagus", point, diameter, value * np.exp(r.normal(0, 0.08)), (1, 0.9, 1.1)
            )
        near = ("paraoesophageal", "subcarinal")
        if t >= 0.7:
            near = ("gastrohepatic", "coeliac", "paraoesophageal")
        self.several(near, 1, 1.1, 13, 5.5, faint)
        if r.random() < 0.2:
            self.several(("supraclavicular", "paratracheal"), self.side(), 1.3, 12, 5.5)
        if r.random() < 0.12:
            self.metastases(("liver", "bone"))

    def lung(self) -> None:
        """A tumour of one lung with nodes of the chest; some metastases."""
        r, side = self.r, self.r.choice([-1, 1], p=[0.42, 0.58])
        faint = r.uniform(0.2, 0.45) if r.random() < 0.06 else 1.0
        d = self.mm(43, 0.4, 14, 100)
        point = self.in_lung(side, central=r.random() < 0.25)
        value = max(self.suv(12.5, 0.4) * faint, 1.8)
        core = r.uniform(0.4, 0.6) if d > 48 and r.random() < 0.5 else 0
        self.add("lung", point, d, value, core=core)
        if r.random() < 0.6:
            near = ("hilar", "hilar", "paratracheal", "subcarinal")
            self.several(near, side, 1.7, 17, 7.5, faint)
        if r.random() < 0.25:
            far = ("paratracheal", "aortopulmonary", "hilar", "supraclavicular")
            self.several(far, -side, 1.4, 13, 5.5, faint)
        if r.random() < 0.14:
            self.lung_metastases(1 + r.poisson(2), 11, 4.5)
        if r.random() < 0.2:
            self.metastases(("bone", "liver", "adrenal"))

    def lymphoma(self) -> None:
        """Nodes of several stations, an abdominal bulk or marrow; often the spleen."""
        r, pick = self.r, self.pick
        pattern = r.choice(5, p=[0.29, 0.08, 0.43, 0.15, 0.05])
        # indolent types and partial responses
        faint = r.uniform(0.3, 0.55) if r.random() < 0.09 else 1.0
        value = self.suv(12.5, 0.42) * faint

        def one(station, side, size):
            diameter = self.mm(size, 0.4, 7, 70)
            self.node(station, side, diameter, max(value * np.exp(r.normal(0, 0.22)), 1.8))

        if pattern == 0:  # neck and mediastinum, often bulky
            for _ in range(2 + r.poisson(3)):
                station = "prevascular" if r.random() < 0.5 else pick(CHEST_NODES)
                one(station, self.side(), 28)
            side = self.side()
            for _ in range(1 + r.poisson(3)):
                one(pick(NECK_NODES), side if r.random() < 0.75 else -side, 19)
        elif pattern == 1:  # one or two stations
            groups = (NECK_NODES, ("axillary",), ("inguinal", "iliac"), CHEST_NODES)
            group = groups[r.choice(4, p=[0.3, 0.3, 0.25, 0.15])]
            side = self.side()
            for _ in range(2 + r.poisson(3)):
                one(pick(group), side, 22)
        elif pattern == 2:  # many stations above and below the diaphragm
            groups = (NECK_NODES, ("axillary",), CHEST_NODES, BELLY_NODES, ("inguinal",))
            for group, mean in zip(groups, (4, 4.5, 2, 5, 3.5), strict=True):
                for _ in range(r.poisson(mean)):
                    one(pick(group), self.side(), 21)
        elif pattern == 3:  # abdominal bulk
            for _ in range(3 + r.poisson(4)):
                one(pick(BELLY_NODES), self.side(), 33)
        else:  # marrow or an organ first
            self.bones(3 + r.poisson(6), value)
        if r.random() < 0.25 and not self.p.no_spleen:
            at = np.array([-98, 64, 534]) + self.p.shift["spleen"]
            if r.random() < 0.5:
                diameter, spleen = (
                    78 * self.p.size("spleen"),
                    max(0.55 * value, 1.4 * self.p.spleen),
                )
                self.add("spleen", at, diameter, spleen, (0.55, 0.85, 1.2))
            else:
                for _ in range(1 + r.poisson(3)):
                    point = at + r.normal(0, 1, 3) * [8, 12, 20]
                    self.add("spleen", point, self.mm(16, 0.3), value)
        if r.random() < 0.15:
            self.bones(2 + r.poisson(5), value * 0.8)
