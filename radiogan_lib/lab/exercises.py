"""Questions for each notebook, with a checker that answers in hints. `lab.exercise("sum-of-slopes", answer)`.

In the notebooks each stands as a question, a cell to answer in, and a folded solution; tests/test_course.py keeps these in step
with this list and runs the solutions, tests/test_exercises.py tries right and wrong answers.
"""

from __future__ import annotations

import difflib
import html
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radiogan_lib.config import RadioganError

# A judgement is None for a right answer, or a hint. It sees only answers of the right kind.
Judge = Callable[[object], "str | None"]


@dataclass(frozen=True)
class Exercise:
    """One question. `kind` is what an answer must be; `solution` is an answer that `judge` takes; `why` explains it."""

    notebook: str
    question: str
    kind: type | tuple
    judge: Judge
    hint: str
    solution: object
    why: str


class Answer:
    """What the checker says: `.right`, and words that a notebook shows."""

    def __init__(self, right: bool, text: str):
        self.right, self.text = right, text

    def __repr__(self) -> str:
        return ("[right] " if self.right else "[not yet] ") + self.text

    def _repr_html_(self) -> str:
        return f"<p><b>{'Right.' if self.right else 'Not yet.'}</b> {html.escape(self.text)}</p>"


def close(
    value: float,
    tolerance: float = 0.01,
    traps: dict[float, str] | None = None,
    otherwise: str = "",
) -> Judge:
    """A number within `tolerance` (relative); `traps` are wrong numbers that tell which step was missed."""

    def judge(answer):
        answer = float(answer)
        if not math.isfinite(answer):
            return "that is not a finite number."
        if math.isclose(answer, value, rel_tol=tolerance):
            return None
        for trap, words in (traps or {}).items():
            if math.isclose(answer, trap, rel_tol=tolerance):
                return words
        return otherwise or ("too small." if answer < value else "too large.")

    return judge


def exactly(value, traps: dict | None = None, otherwise: str = "") -> Judge:
    """One value; text is compared without case and spaces around it."""

    def plain(x):
        return (
            x.strip().lower()
            if isinstance(x, str)
            else tuple(x)
            if isinstance(x, (list, tuple, np.ndarray))
            else x
        )

    def judge(answer):
        if plain(answer) == plain(value):
            return None
        return (traps or {}).get(plain(answer), otherwise or "that is not it.")

    return judge


PLACE = "Put your answer in place of the three dots and run this cell again."
NUMBER = (int, float, np.integer, np.floating)
EXERCISES: dict[str, Exercise] = {
    "mean-suv": Exercise(
        "00",
        "A body of 70 kg got 350 MBq of FDG, all of it is still there and evenly spread. What is the SUV everywhere?",
        NUMBER,
        close(
            1.0,
            traps={
                5.0: "that is the activity in kBq per gram (350 MBq / 70 kg); SUV divides it by exactly this mean."
            },
        ),
        "SUV is the measured activity divided by what an even spread would give.",
        1.0,
        "an even spread is what SUV is relative to, whatever the dose or the weight.",
    ),
    "hidden-lesion": Exercise(
        "00",
        "Two lesions lie one behind the other on the same line of sight, with SUV 4 and SUV 9. What does the MIP show at that pixel?",
        NUMBER,
        close(
            9.0,
            traps={
                13.0: "a MIP does not add: that would be a sum projection.",
                6.5: "a MIP does not average.",
                4.0: "depth does not matter to a MIP, only brightness.",
            },
        ),
        "Read the M in MIP again.",
        9.0,
        "only the brightest voxel along the line is kept; the other lesion is invisible from here.",
    ),
    "suv-by-hand": Exercise(
        "01",
        "A voxel measures 15 kBq/ml. Patient 80 kg; 300 MBq were injected exactly one half-life of F-18 before the scan, and the image is "
        "corrected to the start of the scan. What is its SUV? (1 ml weighs 1 g)",
        NUMBER,
        close(
            8.0,
            traps={
                4.0: "the dose has decayed: after one half-life half of it is left.",
                2.0: "the decay goes the other way: less dose is left, so the SUV gets larger.",
                0.008: "mind the units: 80 kg are 80,000 g.",
                8000.0: "mind the units: kBq and MBq.",
            },
        ),
        "SUV = activity × weight / decayed dose, all in Bq, ml and g.",
        8.0,
        "15,000 Bq/ml × 80,000 g / 150,000,000 Bq = 8.",
    ),
    "canvas-rows": Exercise(
        "01",
        "How many pixels (rows, columns) has the canvas after five doublings of 5 × 3? Answer as (rows, columns).",
        (tuple, list),
        exactly(
            (160, 96),
            traps={
                (96, 160): "rows first: a body is taller than wide.",
                (25, 15): "doubling five times is times 2^5, not times 5.",
                (50, 30): "doubling five times is times 2^5, not times 10.",
            },
        ),
        "Each doubling multiplies both numbers by two.",
        (160, 96),
        "5 · 2⁵ = 160 and 3 · 2⁵ = 96.",
    ),
    "max-and-select": Exercise(
        "01",
        "Nearest-neighbour resampling can be done after the maximum. Could linear interpolation, too, without changing the picture? (yes or no)",
        str,
        exactly(
            "no",
            otherwise="try two voxels beside each other on one line, 0 and 1, and on the line behind them 1 and 0: interpolate half-way, then take the maximum, and the other way round.",
        ),
        "Does the mean of maxima equal the maximum of means?",
        "no",
        "selection commutes with the maximum, averaging does not: the maximum of means is at most the mean of maxima.",
    ),
    "label-channel": Exercise(
        "02",
        "In the generator the label becomes one 5 × 3 map. How many weights has the Dense layer that makes it from an embedding of 50 (biases counted)?",
        (int, np.integer),
        exactly(
            765,
            traps={
                750: "count the 15 biases too.",
                800: "the layer has 15 outputs, and one bias for each output.",
            },
        ),
        "inputs × outputs + outputs.",
        765,
        "50 × 15 weights and 15 biases.",
    ),
    "discriminator-layers": Exercise(
        "02",
        "At seven doublings, how many convolutions has the discriminator, and what map does the last of them put out? Answer as (count, rows, columns).",
        (tuple, list),
        exactly(
            (7, 5, 3),
            traps={
                (8, 5, 3): "the eighth layer is the Dense one.",
                (7, 10, 6): "halve 640 × 384 once more.",
            },
        ),
        "It undoes the generator's doublings.",
        (7, 5, 3),
        "seven halvings bring 640 × 384 back to 5 × 3; the Dense layer is the paper's eighth.",
    ),
    "guessing-loss": Exercise(
        "03",
        "The discriminator answers 0.5 to everything. What is its binary cross-entropy per image?",
        NUMBER,
        close(
            math.log(2),
            0.02,
            traps={
                0.5: "that is its probability; the loss is minus the logarithm of it.",
                1.0: "that is in bits; Keras uses the natural logarithm.",
                -math.log(2): "a loss is minus the logarithm: mind the sign.",
            },
        ),
        "−log(0.5), natural logarithm.",
        math.log(2),
        "ln 2 = 0.693 is the level at which nobody is ahead; notebook 03 looks for it.",
    ),
    "who-moves": Exercise(
        "03",
        "The discriminator loss is computed on a fake image. Which network would also move if stop_gradient were left out?",
        str,
        exactly(
            "generator",
            traps={
                "the generator": None,
                "discriminator": "that one moves anyway: it is its own loss.",
                "both": "one of the two moves anyway. Which is the other?",
            },
        ),
        "Follow the dashed arrows of Figure 3a backwards through the fake image.",
        "generator",
        "the gradient would flow through the fake image and teach the generator to be recognised.",
    ),
    "collapse-or-copy": Exercise(
        "04",
        "A generator draws one excellent, typical image again and again. Is its density high or low, and its coverage? Answer as (density, coverage) with the words high and low.",
        (tuple, list),
        exactly(
            ("high", "low"),
            traps={
                ("high", "high"): "how many real exams have this one image nearby?",
                ("low", "low"): "the one image is typical: it lies where many real exams are.",
            },
        ),
        "Density asks about generated images, coverage about real ones.",
        ("high", "low"),
        "mode collapse: good and not diverse.",
    ),
    "tstr-ceiling": Exercise(
        "04",
        "A classifier trained on generated exams reaches 0.60 on real ones, one trained on real exams 0.72, chance is 0.20. What share of the possible gain above chance does the synthetic one keep? (a number from 0 to 1)",
        NUMBER,
        close(
            0.4 / 0.52,
            0.02,
            traps={
                0.6 / 0.72: "take chance away from both first.",
                0.4: "that is the gain; what share of the possible gain is it?",
            },
        ),
        "(TSTR − chance) / (TRTR − chance).",
        0.4 / 0.52,
        "0.40 of 0.52, about 77 %.",
    ),
    "auc-of-honesty": Exercise(
        "05",
        "Training and unseen exams lie equally close to the generated ones. What is the membership AUC?",
        NUMBER,
        close(
            0.5,
            traps={
                0.0: "0 would mean that every unseen exam is closer than every training exam.",
                1.0: "1 would be a perfect copier.",
            },
        ),
        "A coin toss.",
        0.5,
        "half of all pairs have the training exam closer: no memory is seen.",
    ),
    "planted-copies": Exercise(
        "05",
        "Of 500 generated images 10 are exact copies of training exams and the rest are honest. Does the mean distance to the nearest training exam show it well? (yes or no)",
        str,
        exactly("no", otherwise="how much do 10 of 500 move a mean?"),
        "Compare a mean with a look at the smallest distances.",
        "no",
        "2 % of zeros move the mean by 2 %; the audit of the smallest distances finds them at once.",
    ),
    "blend-residual": Exercise(
        "05",
        "A frame is exactly 0.3 of one training exam plus 0.7 of another. What is its blend residual?",
        NUMBER,
        lambda a: (
            None
            if abs(float(a)) < 1e-9
            else "what is left of the frame after the best pair of exams has explained it?"
        ),
        "What remains after subtracting the blend?",
        0.0,
        "nothing is left unexplained; a real unseen exam leaves much.",
    ),
    "length-of-z": Exercise(
        "06",
        "Two random z of 100 numbers each have length near 10 and are nearly at right angles. How long is the point half-way on the straight line?",
        NUMBER,
        close(
            math.sqrt(50),
            0.05,
            traps={
                10.0: "that is slerp's; the straight line cuts inside the shell.",
                5.0: "that would hold if the second vector were zero.",
                math.sqrt(200): "that is the sum; half-way is half of it.",
            },
        ),
        "Pythagoras, then half.",
        math.sqrt(50),
        "√(10² + 10²) / 2 ≈ 7.07, where training hardly ever drew.",
    ),
    "label-only": Exercise(
        "06",
        "In a walk of kind “label” z stays and the label moves. If the generator ignored its label, how many different frames would the strip show?",
        (int, np.integer),
        exactly(
            1, otherwise="if z stays and the label does nothing, what changes from frame to frame?"
        ),
        "What is left to change?",
        1,
        "all frames would be the same: a quick test by eye for a label that is ignored.",
    ),
}


def _find(name: str) -> Exercise:
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, n=1)
        raise RadioganError(
            f"there is no exercise {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} There are: {', '.join(EXERCISES)}."
        )
    return EXERCISES[name]


def question(name: str):
    """An exercise's question, as Markdown for a notebook cell."""
    from IPython.display import Markdown

    return Markdown(
        f"**Question.** {_find(name).question}\n\nAnswer with `lab.exercise({name!r}, …)`."
    )


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
    if isinstance(answer, bool) or not isinstance(answer, known.kind):
        wanted = (
            "a number"
            if known.kind == NUMBER
            else "a whole number"
            if known.kind == (int, np.integer)
            else "a pair or triple in brackets, like (1, 2)"
            if known.kind == (tuple, list)
            else "one word in quotes"
        )
        return Answer(False, f"the answer should be {wanted}. {known.hint}")
    try:
        said = known.judge(answer)
    except Exception:  # noqa: BLE001 - an answer of a kind that nobody thought of deserves a hint, not a stack trace
        said = "that answer cannot be read."
    if said is None:
        return Answer(True, known.why)
    return Answer(False, f"{said} Hint: {known.hint}")


def solution(name: str):
    """The answer that the authors had in mind; for who has tried."""
    return _find(name).solution
