"""From the values a PET scanner stores to SUVbw: every rule as a function of the header alone.

SUVbw = activity concentration (Bq/ml) · body weight (g) / injected activity (Bq) at the time of the
voxel values. The scanner may store Bq/ml, counts with a private factor, or SUVbw, corrected for
decay to one of three instants; a header that does not say which is refused.
Rules: QIBA vendor-neutral pseudo-code and the IBSI SUV project (oncoray.github.io/suv_computation).
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from petsuv import elements, times
from petsuv.elements import items, lack, number, positive, private_number, tag, text, value, words
from petsuv.errors import ExamError

INJECTION = "RadiopharmaceuticalInformationSequence"
F18_HALF_LIFE_S = 6586.2
HALF_LIFE_TOLERANCE = 0.01  # scanners write 6582 to 6588; the next nuclide (Ga-68) has 4058
WEIGHT_KG = (2, 350)
GRAMS_ABOVE = 1000.0  # a "weight" above this is in grams
# Injected activity per kilogram decides the unit of the dose. FDG is given at 2 to 10 MBq/kg; the
# least of total-body scanners and the most of small children lie inside the wider bounds. A dose
# written in MBq is outside them by a factor of thousands; mCi (37 MBq) read as MBq gives at most
# 0.7 MBq/kg and is outside the narrower ones.
MBQ_PER_KG = (0.2, 30.0)
MBQ_PER_KG_TYPICAL = (1.0, 20.0)
FRAME_S = (1.0, 4 * 3600.0)  # of a frame; Actual Frame Duration is in ms
SUV_TYPES = {"BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW", "BSA"}
_BY_WEIGHT = "Export the series in Bq/ml, or in SUV by body weight."
REFUSED_UNITS = set(
    "PROPCNTS PROPCPS CPS CM2ML 1CM NONE PCNT MGMINML UMOLML MLMING MLG UMOLMINML CM2 BQ "
    "STDDEV".split()
)
# Coding schemes: SRT/SNM3/99SDM (C-…, Y-…), SCT (numbers), UMLS.
F18_CODES = {"C-111A1", "77004003"}
FDG_CODES = {"C-B1031", "Y-X1743", "35321007", "422975006"}
# FDG in any language, without separators, accents and isotope: an abbreviation, glucose, a brand.
_FDG = re.compile(
    r"fdg(?!al)|fluor\w*dg(?!al)|gl[iuy][ck]os|glu[ck]os|gluk[ow]z|glicos|glukos|glucosio|glikoz|"
    r"efdege|gluscan|steripet|metatrace|flucis|fluotracer|barnascan|dextroscan|"
    r"фдг|глюкоз|グルコース|ブドウ糖|葡萄糖|葡糖|포도당"
)
_F18 = re.compile(r"f[\W_]*18|18[\W_]*f|fluorine|fluor[\W_]*18|фтор", re.I)
# Tracers of fluorine-18 whose name beside "FDG" (a code, a cocktail) makes the exam none of FDG.
_NOT_FDG = re.compile(
    r"thymidine|\bflt\b|dopa|fluorid|\bnaf\b|psma|dcfpyl|choline|estradiol|\bfes\b|misonidazole|"
    r"\bf?miso\b|\bfaza\b|florbeta|flutemetamol|flortaucipir|florzolotau|piflufolastat|"
    r"fluciclovine|galactos|fdgal|fapi|dota|\bfet\b|"
    r"\bav-?(45|1451)\b|\bmk-?6240\b|methyl-?4|me-?4-?fdg"
)
# Words that name no tracer: the nuclide, how it is given, or what some scanners write by default.
_NEUTRAL = re.compile(
    r"(18)?f(18)?|fluor(18|ine|in|o|um|ina)?|(18)?fluor(ine)?|solution|sol|injection|inj|iv|other|"
    r"unknown|none|pet|radiopharmaceutical|radionuclide|nuclide|isotope|tracer|activity|dose|"
    r"mbq|mci|\d+"
)


@dataclass(frozen=True, eq=False)
class SuvFactor:
    """What turns rescaled pixel values into SUVbw (g/ml)."""

    # (slices,) float64; one value repeated unless not corrected for decay
    per_slice: np.ndarray = field(repr=False)
    rule: str  # short name, such as `BQML START`
    explanation: tuple[str, ...]  # sentences that derive it; no date, time of day or identifier
    notes: tuple[str, ...]  # what was put right on the way (a dose in MBq, a weight in grams)

    @property
    def value(self) -> float:
        """The factor; the median where slices differ (Decay Correction NONE)."""
        return float(np.median(self.per_slice))


@elements.unvalidated()
def factor(headers: Dataset | Sequence[Dataset]) -> SuvFactor:
    """SUVbw per rescaled pixel value (value = pixel · Rescale Slope of its slice + Intercept).

    Args:
        headers: one pydicom header, or those of all slices of one series in any order.

    Raises:
        ExamError: the headers do not lead to SUVbw of FDG; the message names the tag.
    """
    headers = [headers] if isinstance(headers, Dataset) else list(headers)
    _same_everywhere(headers)
    first = headers[0]
    corrected = tag("CorrectedImage")
    if "ATTN" not in words(first, "CorrectedImage"):
        reason = f"{corrected} does not list ATTN: the images are not corrected for attenuation"
        raise ExamError(reason, "Give the attenuation-corrected series.")
    if text(first, "DecayCorrection") == "START" and "DECY" not in words(first, "CorrectedImage"):
        raise ExamError(f"{tag('DecayCorrection')} is START, but {corrected} does not list DECY")
    notes = check_fdg(first)
    units = re.sub(r"[^A-Z0-9]", "", text(first, "Units"))  # BQ/ML is BQML
    suv_type = text(first, "SUVType")
    if suv_type and suv_type not in SUV_TYPES:
        raise ExamError(f"{tag('SUVType')} holds a value that DICOM does not define")
    one = np.ones(len(headers))
    if units == "CNTS":
        return _counts(headers, suv_type, notes)
    if units == "BQML":
        return from_activity(headers, one, "BQML", notes)
    if units != "GML":
        name = units if units in REFUSED_UNITS else "missing" if not units else "an unknown value"
        lead = "only BQML, GML and Philips CNTS lead to SUV by body weight"
        raise ExamError(f"{tag('Units')} is {name}; {lead}", _BY_WEIGHT)
    if suv_type not in ("", "BW"):
        said = f"{tag('SUVType')} is {suv_type}: the values are not SUV by body weight"
        raise ExamError(said, _BY_WEIGHT)
    return SuvFactor(one, "GML BW", ("The values are SUVbw already (GML).",), tuple(notes))


def weight_kg(ds: Dataset, notes: list[str]) -> float:
    """Patient's weight in kg; above 1000 it is in grams."""
    weight = positive(ds, "PatientWeight", "SUVbw is undefined")
    kg = weight / 1000 if weight > GRAMS_ABOVE else weight
    if not WEIGHT_KG[0] <= kg <= WEIGHT_KG[1]:
        what = f"no weight of a patient in kg or g ({WEIGHT_KG[0]} to {WEIGHT_KG[1]} kg)"
        raise ExamError(f"{tag('PatientWeight')} is {weight:g}: {what}")
    if weight > GRAMS_ABOVE:
        notes.append(f"{tag('PatientWeight')} was in grams")
    return kg


def injected_bq(item: Dataset, kg: float, notes: list[str]) -> float:
    """Injected activity in Bq. A value that is plausible in MBq only was in MBq; noted."""
    dose = "RadionuclideTotalDose"
    found = positive(item, dose, "SUVbw is undefined")
    if MBQ_PER_KG_TYPICAL[0] <= found / kg <= MBQ_PER_KG_TYPICAL[1]:
        notes.append(f"{tag(dose)} was in MBq")
        return found * 1e6
    per_kg = found / 1e6 / kg
    if not MBQ_PER_KG[0] <= per_kg <= MBQ_PER_KG[1]:
        raise ExamError(
            f"{tag(dose)} is {found:g}, which is {per_kg:.3g} MBq/kg in Bq and {found / kg:.3g} "
            f"MBq/kg in MBq at {tag('PatientWeight')} {kg:g} kg: no dose of FDG in either unit",
            "Correct dose (Bq) or weight (kg); mCi, kBq and others are not converted.",
        )
    if not MBQ_PER_KG_TYPICAL[0] <= per_kg <= MBQ_PER_KG_TYPICAL[1]:
        notes.append(f"{tag(dose)} is {per_kg:.2g} MBq/kg, an unusual dose")
    return found


def from_activity(headers, to_bq_ml: np.ndarray, name: str, notes: list[str]) -> SuvFactor:
    """Bq/ml (after `to_bq_ml`) → SUVbw by weight, dose and decay."""
    first, injections = headers[0], items(headers[0], INJECTION)
    if len(injections) != 1:
        raise ExamError(f"{tag(INJECTION)} has {len(injections)} items; one injection is needed")
    item, decay = injections[0], text(first, "DecayCorrection")
    grams = 1000 * weight_kg(first, notes)
    dose = injected_bq(item, grams / 1000, notes)
    steps = [f"Body weight {grams / 1000:g} kg, injected {dose / 1e6:.6g} MBq."]
    if decay == "ADMIN":
        steps.append("Corrected for decay to the injection (ADMIN): the dose is not decayed.")
        factors = to_bq_ml * grams / dose
    elif decay in ("START", "NONE"):
        half_life = positive(item, "RadionuclideHalfLife", "the decay of the dose is unknown")
        if decay == "START":
            decayed = _dose_at_start(headers, item, dose, half_life, notes, steps)
            steps.append(f"{grams:g} g / {decayed:.9g} Bq = {grams / decayed:.10g}.")
            factors = to_bq_ml * grams / decayed
        else:
            per_slice = _decay_of_slices(headers, item, half_life, notes, steps)
            factors = to_bq_ml * per_slice * grams / dose
    else:
        state = "not START, ADMIN or NONE" if decay else "missing"
        raise ExamError(f"{tag('DecayCorrection')} is {state}")
    return SuvFactor(factors, f"{name} {decay}", tuple(steps), tuple(notes))


def _dose_at_start(headers, item, dose: float, half_life: float, notes, steps) -> float:
    """Bq that are left at the instant to which START corrected the values."""
    reference, confirmed, why = times.reference_time(headers, half_life, notes)
    scan = min(filter(None, times.acquisitions(headers)), default=reference)
    injected, how = times.injection_time(headers[0], item, scan, half_life, notes)
    if injected >= reference and not confirmed:
        injection = f"the injection ({tag('RadiopharmaceuticalStartTime')})"
        said = f"{tag('SeriesTime')} is not after {injection}, and nothing confirms"
        raise ExamError(f"{said} that the values are corrected to it")
    seconds = (reference - injected).total_seconds()
    decayed = dose * 2 ** (-seconds / half_life)
    decay = f"{seconds / 60:.2f} min of decay with a half-life of {half_life:g} s"
    steps += [
        f"Corrected for decay to the start (START): {why}.",
        f"The dose was {how}.",
        f"{decay} leave {decayed / 1e6:.6g} MBq.",
    ]
    return decayed


def _decay_of_slices(headers, item, half_life: float, notes, steps) -> np.ndarray:
    """(slices,) by how much each slice, not corrected (NONE), has decayed since the injection."""
    none = f"{tag('DecayCorrection')} NONE"
    lists_decay = "DECY" in words(headers[0], "CorrectedImage")
    if lists_decay:
        notes.append(f"{tag('CorrectedImage')} lists DECY, but {none} was followed")
    starts = times.acquisitions(headers)
    if None in starts:
        state = lack(headers[starts.index(None)], "AcquisitionTime")
        raise ExamError(f"{tag('AcquisitionTime')} is {state}; {none} needs it in every slice")
    injected, how = times.injection_time(headers[0], item, min(starts), half_life, notes)
    if any((number(ds, "DecayFactor") or 1) > 1 + times.REFUSED_SHARE for ds in headers):
        said = f"{tag('DecayFactor')} is above one, but {tag('DecayCorrection')} is NONE"
        if lists_decay:
            lists = f"{tag('CorrectedImage')} lists DECY"
            raise ExamError(f"{said}, and {lists}; they contradict each other")
        notes.append(f"{said}, which was followed")
    rate, found = math.log(2) / half_life, []
    for ds, start in zip(headers, starts, strict=True):
        duration_s = positive(ds, "ActualFrameDuration", f"{none} needs it") / 1000
        if not FRAME_S[0] <= duration_s <= FRAME_S[1]:
            said = f"{tag('ActualFrameDuration')} is {duration_s:g} s"
            raise ExamError(f"{said}: no PET frame (it is in ms)")
        seconds = (start - injected).total_seconds()
        seconds += times.average_activity_time(duration_s, half_life)
        found.append(math.exp(rate * seconds))
    steps += [
        f"The dose was {how}.",
        "Not corrected for decay (NONE): every slice is corrected from its own acquisition; the "
        f"factors lie between {min(found):.4g} and {max(found):.4g}.",
    ]
    return np.array(found)


_OF_SERIES = {
    "Units": None,
    "SUVType": None,
    "DecayCorrection": None,
    "CorrectedImage": None,
    "PatientWeight": elements.as_number,
    "SeriesDate": elements.day,
    "SeriesTime": elements.clock,
}
_OF_INJECTION = {
    "RadionuclideTotalDose": elements.as_number,
    "RadionuclideHalfLife": elements.as_number,
    "RadiopharmaceuticalStartTime": elements.clock,
    "RadiopharmaceuticalStartDateTime": elements.moment,
}


def _parsed(ds: Dataset, name: str, parse):
    """An element by its value: parsed, or its text if that fails; without parser a set of words."""
    if parse is None:
        return frozenset(words(ds, name))
    found = parse(value(ds, name))
    return text(ds, name) if found is None else found


def _same_everywhere(headers: list[Dataset]) -> None:
    """Refuse slices that disagree on what holds for the whole series; values are compared."""

    def state(ds: Dataset) -> dict[str, list]:
        found = {name: [_parsed(ds, name, parse)] for name, parse in _OF_SERIES.items()}
        for name, parse in _OF_INJECTION.items():
            found[name] = [_parsed(drug, name, parse) for drug in items(ds, INJECTION)]
        return found

    wanted = state(headers[0])
    for ds in headers[1:]:
        for name, found in state(ds).items():
            if len(found) != len(wanted[name]) or not all(map(_alike, found, wanted[name])):
                said = "differs between slices; they do not belong to one series"
                raise ExamError(f"{tag(name)} {said}")


def _alike(a, b) -> bool:
    """Equal, as numbers to 1 in 10,000 and as times to a second."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-4)
    if isinstance(a, (timedelta, datetime)) and type(a) is type(b):
        return abs((a - b).total_seconds()) <= 1
    return a == b


def _counts(headers, suv_type: str, notes: list[str]) -> SuvFactor:
    """Philips counts: the private factor to SUVbw, else the one to Bq/ml."""
    direct = [private_number(ds, "philips_suv") for ds in headers]
    activity = [private_number(ds, "philips_activity") for ds in headers]
    if None in direct and None in activity:
        neither = "neither Philips factor (7053,1000) or (7053,1009) is usable in every slice"
        remedy = "Export the series again with its private tags."
        raise ExamError(f"{tag('Units')} is CNTS, and {neither}", remedy)
    if None in direct:
        return from_activity(headers, np.array(activity), "CNTS Philips activity", notes)
    if suv_type not in ("", "BW"):
        given = f"{tag('Units')} CNTS with the Philips SUV factor gives SUVbw"
        raise ExamError(f"{given}, but {tag('SUVType')} is {suv_type}")
    if text(headers[0], "DecayCorrection") == "NONE":
        notes.append("Philips' own SUV factor was used although Decay Correction is NONE")
    if None not in activity:
        _compare_philips(headers, np.array(direct), np.array(activity), notes)
    step = f"Philips (7053,1000) turns counts into SUVbw: {direct[0]:.6g}."
    return SuvFactor(np.array(direct), "CNTS Philips SUV", (step,), tuple(notes))


def _compare_philips(headers, direct: np.ndarray, activity: np.ndarray, notes: list[str]) -> None:
    """Philips' two factors must lead to one SUV: more than 5 % apart is refused, 2 % noted."""
    both = "Philips' factors (7053,1000) and (7053,1009)"
    try:
        other = from_activity(headers, activity, "", [])
    except ExamError as error:
        notes.append(f"{both} could not be compared: {error.reason}; the first was taken")
        return
    share = float(np.max(np.abs(other.per_slice / direct - 1)))
    said = f"{both} differ by {share:.0%} of SUV"
    if share > times.REFUSED_SHARE:
        raise ExamError(f"{said}; dose, weight, times and factors contradict each other")
    if share > times.NOTED_SHARE:
        notes.append(f"{said}; the first was taken")


def _folded(name: str) -> str:
    """Small letters without accents, in one width."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    bare = "".join(c for c in plain if c not in "\u0300\u0301\u0308\u030c")
    return unicodedata.normalize("NFC", bare)


def _is_fdg(name: str) -> bool:
    return bool(_FDG.search(re.sub(r"[\W_\d]+", "", _folded(name))))


def _is_unnamed(name: str) -> bool:
    return all(_NEUTRAL.fullmatch(word) for word in re.findall(r"[^\W_]+", _folded(name)))


def check_fdg(ds: Dataset) -> list[str]:
    """Refuse what is not F-18 FDG; a note if the tracer is known by its nuclide only."""
    injections = items(ds, INJECTION)
    if not injections:
        raise ExamError(f"{tag(INJECTION)} is missing or empty; the tracer is unknown")
    if any([_names_fdg(item) for item in injections]):  # a list: each of them is judged
        return []
    return [f"{tag('Radiopharmaceutical')} names no tracer; fluorine-18 was taken to be FDG"]


def _names_fdg(item: Dataset) -> bool:
    """Does the injection name FDG? False where only its nuclide, fluorine-18, is known."""
    leave = "Leave this exam out: only FDG is used."
    half_life = number(item, "RadionuclideHalfLife") or 0.0
    by_decay = abs(half_life / F18_HALF_LIFE_S - 1) <= HALF_LIFE_TOLERANCE
    if half_life > 0 and not by_decay:
        said = f"{tag('RadionuclideHalfLife')} is {half_life:g} s"
        raise ExamError(f"{said}, not fluorine-18's {F18_HALF_LIFE_S:g} s", leave)
    nuclide = _codes(item, "RadionuclideCodeSequence")
    by_code = any(code in F18_CODES or _F18.search(meaning) for code, meaning in nuclide)
    if nuclide and not by_code:
        where = tag("RadionuclideCodeSequence")
        raise ExamError(f"{where} names a nuclide other than fluorine-18", leave)
    tracers = _codes(item, "RadiopharmaceuticalCodeSequence")
    name, where = str(value(item, "Radiopharmaceutical") or ""), tag("Radiopharmaceutical")
    if any(_NOT_FDG.search(_folded(said)) for said in (name, *(m for _, m in tracers))):
        raise ExamError(f"{where} names a tracer other than FDG", leave)
    if _is_fdg(name) or any(code in FDG_CODES or _is_fdg(m) for code, m in tracers):
        return True
    if not (_is_unnamed(name) and all(m and _is_unnamed(m) for _, m in tracers)):
        remedy = "If it is FDG, correct the element; otherwise leave this exam out."
        raise ExamError(f"{where} is not recognised as FDG", remedy)
    if not (by_code or by_decay):
        raise ExamError(f"{where} does not say that the tracer is FDG")
    return False


def _codes(item: Dataset, keyword: str) -> list[tuple[str, str]]:
    """(code, meaning) of every item that has one."""
    found = [
        (str(value(code, "CodeValue") or "").upper(), str(value(code, "CodeMeaning") or ""))
        for code in items(item, keyword)
    ]
    return [pair for pair in found if any(pair)]
