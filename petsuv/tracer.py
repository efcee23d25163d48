"""Is it FDG? The classes of this project are those of FDG exams; another tracer lights up other organs."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from petsuv.elements import items, number, tag, value
from petsuv.errors import ExamError

F18_HALF_LIFE_S = 6586.2
HALF_LIFE_TOLERANCE = (
    0.01  # scanners write 6582 to 6588; the next PET nuclide in use (Ga-68) has 4058
)
# Coding schemes: SRT/SNM3/99SDM (C-…, Y-…), SCT (numbers), UMLS.
F18_CODES = {"C-111A1", "77004003"}
FDG_CODES = {"C-B1031", "Y-X1743", "35321007", "422975006"}
_FDG = re.compile(r"f-?dg(?!al)|d[eé]?s?ox[yi][\W_d]*gl[iuy][ck]+os", re.I)
# Tracers of fluorine-18 whose name beside "FDG" (a code next to a free text, a cocktail) makes the exam none of FDG.
_NOT_FDG = re.compile(
    r"thymidine|(?<![a-z])flt(?![a-z])|dopa|fluoride|(?<![a-z])naf(?![a-z])|psma|choline|estradiol|misonidazole|"
    r"florbeta|flutemetamol|flortaucipir|fluciclovine|galactose|fapi|dota",
    re.I,
)
_F18 = re.compile(r"f[\W_]*18|18[\W_]*f|fluorine|fluor[\W_]*18", re.I)
# Words that name no tracer: the nuclide alone, or what some scanners write by default.
_UNNAMED = re.compile(
    r"\W*(\^?18\^?[\W_]*f(luorine?)?|f(luorine?)?[\W_]*\^?18\^?|fluorine|solution|other|unknown|none|"
    r"radiopharmaceutical|isotope|tracer|glucose)?\W*",
    re.I,
)


def check_fdg(ds: Dataset) -> list[str]:
    """Refuse what is not F-18 FDG.

    Args:
        ds: header of one slice.

    Returns:
        notes: one if the tracer is known by its nuclide only.

    Raises:
        ExamError: another tracer or nuclide, or nothing that says which.
    """
    injections = items(ds, "RadiopharmaceuticalInformationSequence")
    if not injections:
        raise ExamError(
            f"{tag('RadiopharmaceuticalInformationSequence')} is missing or empty; the tracer is unknown"
        )
    named = False
    for item in injections:
        nuclide = _codes(item, "RadionuclideCodeSequence")
        half_life = number(item, "RadionuclideHalfLife")
        by_code = any(code in F18_CODES or _F18.search(meaning) for code, meaning in nuclide)
        by_decay = (
            half_life is not None and abs(half_life / F18_HALF_LIFE_S - 1) <= HALF_LIFE_TOLERANCE
        )
        if any(code or meaning for code, meaning in nuclide) and not by_code:
            raise ExamError(
                f"{tag('RadionuclideCodeSequence')} names a nuclide other than fluorine-18",
                "Leave this exam out: only FDG is used.",
            )
        if half_life is not None and half_life > 0 and not by_decay:
            raise ExamError(
                f"{tag('RadionuclideHalfLife')} is {half_life:g} s, not fluorine-18's {F18_HALF_LIFE_S:g} s",
                "Leave this exam out: only FDG is used.",
            )
        tracers = [
            (code, meaning)
            for code, meaning in _codes(item, "RadiopharmaceuticalCodeSequence")
            if code or meaning
        ]
        name = str(value(item, "Radiopharmaceutical") or "")
        fdg = bool(_FDG.search(name)) or any(
            code in FDG_CODES or _FDG.search(meaning) for code, meaning in tracers
        )
        other = (not _FDG.search(name) and not _UNNAMED.fullmatch(name)) or any(
            not (code in FDG_CODES or _FDG.search(meaning) or _UNNAMED.fullmatch(meaning))
            for code, meaning in tracers
        )
        if (other and not fdg) or any(
            _NOT_FDG.search(said) for said in (name, *(m for _, m in tracers))
        ):
            raise ExamError(
                f"{tag('Radiopharmaceutical')} names a tracer other than FDG",
                "Leave this exam out: only FDG is used.",
            )
        if not fdg and not (by_code or by_decay):
            raise ExamError(f"{tag('Radiopharmaceutical')} does not say that the tracer is FDG")
        named = named or fdg
    return (
        []
        if named
        else [f"{tag('Radiopharmaceutical')} names no tracer; fluorine-18 was taken to be FDG"]
    )


def _codes(item: Dataset, keyword: str) -> list[tuple[str, str]]:
    return [
        (str(value(code, "CodeValue") or ""), str(value(code, "CodeMeaning") or ""))
        for code in items(item, keyword)
    ]
