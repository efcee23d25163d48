"""Is it FDG? Another tracer lights up other organs."""

import re
import unicodedata

from pydicom.dataset import Dataset

from petsuv.elements import items, number, tag, value
from petsuv.errors import ExamError

INJECTION = "RadiopharmaceuticalInformationSequence"
F18_HALF_LIFE_S = 6586.2
HALF_LIFE_TOLERANCE = 0.01  # scanners write 6582 to 6588; the next nuclide (Ga-68) has 4058
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
