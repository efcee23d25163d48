"""The notebooks' questions, with a checker that answers in hints. `lab.exercise("mean-suv", answer)`.

Questions, answers and hints stand in notebooks/exercises.yaml.
"""

from __future__ import annotations

import difflib
import functools
import html
import math
import numbers

import numpy as np
import yaml

from radiogan_lib import paths
from radiogan_lib.config import RadioganError

PLACE = "Put your answer in place of the three dots and run this cell again."
# kind of answer: (types that it may have, what to say to others)
KINDS = {
    "number": (numbers.Real, "a number"),
    "whole number": (numbers.Integral, "a whole number"),
    "tuple": ((tuple, list), "a pair or triple in brackets, like (1, 2)"),
    "word": (str, "one word in quotes"),
}


class Answer:
    """What the checker says: `.right`, and words that a notebook shows."""

    def __init__(self, right: bool, text: str):
        self.right, self.text = right, text

    def __repr__(self) -> str:
        return ("[right] " if self.right else "[not yet] ") + self.text

    def _repr_html_(self) -> str:
        return f"<p><b>{'Right.' if self.right else 'Not yet.'}</b> {html.escape(self.text)}</p>"


@functools.cache
def exercises() -> dict[str, dict]:
    """All exercises by name, as notebooks/exercises.yaml has them."""
    path = paths.REPO / "notebooks" / "exercises.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _find(name: str) -> dict:
    known = exercises()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        raise RadioganError(
            f"there is no exercise {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
            f" There are: {', '.join(known)}."
        )
    return known[name]


def _same(answer, wanted, tolerance: float) -> bool:
    """Numbers within a relative tolerance, words without case and spaces around them, tuples item by item."""
    if isinstance(wanted, (int, float)) and isinstance(answer, numbers.Real):
        return math.isclose(answer, wanted, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(wanted, list):
        return isinstance(answer, (tuple, list)) and list(answer) == wanted
    return str(answer).strip().lower() == wanted


def _hint(answer, known: dict) -> str | None:
    """None for a right answer of the right kind, else what to say to it."""
    if known["kind"] == "number" and not math.isfinite(answer):
        return "that is not a finite number."
    tolerance = 0 if known["kind"] == "whole number" else known.get("tolerance", 0.01)
    if any(_same(answer, right, tolerance) for right in (known["answer"], *known.get("also", ()))):
        return None
    for wrong in known.get("wrong", ()):
        if _same(answer, wrong["answer"], tolerance):
            return wrong["hint"]
    if "otherwise" in known or known["kind"] != "number":
        return known.get("otherwise", "that is not it.")
    return "too small." if answer < known["answer"] else "too large."


def question(name: str):
    """An exercise's question, as Markdown for a notebook cell."""
    from IPython.display import Markdown

    text = _find(name)["question"]
    return Markdown(f"**Question.** {text}\n\nAnswer with `lab.exercise({name!r}, …)`.")


def exercise(name: str, answer=None) -> Answer:
    """Check an answer. Whatever is given, the reply is a sentence: right with the reason, or a hint.

    Args:
        name: of the exercise, as its notebook gives it.
        answer: what you think; the three dots `...` of the notebooks (or None) say where it goes.

    Raises:
        RadioganError: there is no exercise of that name.
    """
    known = _find(name)
    if answer is None or answer is ...:
        return Answer(False, PLACE)
    kind, words = KINDS[known["kind"]]
    if isinstance(answer, (bool, np.bool_)) or not isinstance(answer, kind):
        return Answer(False, f"the answer should be {words}. {known['hint']}")
    said = _hint(answer, known)
    if said is None:
        return Answer(True, known["why"])
    return Answer(False, f"{said} Hint: {known['hint']}")


def solution(name: str):
    """The answer that the authors had in mind; for who has tried."""
    answer = _find(name)["answer"]
    return tuple(answer) if isinstance(answer, list) else answer
