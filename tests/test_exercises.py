"""Each exercise takes its solution, answers wrong ones with a hint, and its solution is true by the
library itself."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from radiogan_lib import config, lab
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.exercises import CHECKS, exercises

EXERCISES = exercises()
FUNCTIONS = [name for name, e in EXERCISES.items() if e["kind"] == "function"]
PLAIN = [name for name in EXERCISES if name not in FUNCTIONS]
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
ODD = (-12345.678, -7, "a wrong word", (9, 9, 9), [], np.nan, {"a": 1}, True, np.zeros(3))


def solutions():
    """{exercise: the code of its folded solution}."""
    found = {}
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            folded = re.search(r"Solution</summary>\n\n```python\n(.+?)\n```", cell.source, re.S)
            if folded:
                name = re.search(r'lab\.exercise\("([\w-]+)"', folded[1])[1]
                found[name] = folded[1]
    return found


SOLUTIONS = solutions()


def written(name):
    """The function that a solution writes."""
    space = {"np": np}
    exec(re.sub(r"^lab\.exercise.*$", "", SOLUTIONS[name], flags=re.M), space)  # noqa: S102 - our own notebook
    return next(v for k, v in space.items() if k not in ("np", "__builtins__"))


def solution(name):
    """The answer of notebooks/exercises.yaml, as a reader writes it."""
    answer = EXERCISES[name]["answer"]
    return tuple(answer) if isinstance(answer, list) else answer


@pytest.mark.parametrize("name", PLAIN)
def test_the_solution_is_taken_and_others_get_a_hint(name):
    assert lab.exercise(name, solution(name)).right
    assert "Right." in lab.exercise(name, solution(name))._repr_html_()
    for wrong in (*ODD, object(), "x" * 1000):
        answer = lab.exercise(name, wrong)
        assert not answer.right and len(answer.text) > 20, (name, wrong)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_judged_by_what_it_does(name):
    assert lab.exercise(name, written(name)).right
    for wrong in (
        *ODD,
        lambda *_: ...,
        lambda *_: 1 / 0,
        lambda *_: 0.0,
        lambda *a: a[0],
        lambda *_: "x",
    ):
        answer = lab.exercise(name, wrong)
        assert not answer.right and len(answer.text) > 20, name
    assert "three dots" in lab.exercise(name, lambda *_: ...).text
    assert "ZeroDivisionError" in lab.exercise(name, lambda *_: 1 / 0).text


def test_every_notebook_has_an_exercise_to_write_and_three_at_most():
    for k in range(8):
        here = [e["kind"] for e in EXERCISES.values() if e["notebook"] == f"{k:02d}"]
        assert "function" in here and len(here) <= 3, k
    assert set(CHECKS) == set(FUNCTIONS)


@pytest.mark.parametrize(
    "name, wrong, word",
    [
        ("suv-by-hand", 4.0, "decayed"),
        ("hidden-lesion", 13, "add"),
        ("discriminator-layers", (8, 5, 3), "Dense"),
        ("length-of-z", 10, "slerp"),
        ("label-channel", 750, "biases"),
        ("window", lambda suv: 255 * np.clip(suv / 7, 0, 1), "darker"),
        ("window", lambda suv: 255 - 255 * suv / 7, "leave 0 to 255"),
        ("from-the-side", lambda v: v.max(axis=0).T, "head should be up"),
        ("from-the-side", lambda v: v.max(axis=1).T[::-1], "another picture|shape"),
        (
            "discriminator-loss",
            lambda r, f: np.log(1 + np.exp(-r)).mean() / 2 + np.log(1 + np.exp(f)).mean() / 2,
            "overflows",
        ),
        ("most-suspicious", lambda g, t: 4, "training exam's index"),
        ("stretched-lerp", lambda a, b, t: (1 - t) * a + t * b, "long|length"),
        ("truncate", lambda z, amount: amount * z, "long"),
    ],
)
def test_known_slips_get_their_own_hint(name, wrong, word):
    answer = lab.exercise(name, wrong)
    assert not answer.right and re.search(word, answer.text), answer.text


def test_a_picture_shows_what_the_function_makes():
    answer = lab.exercise("window", lambda suv: 255 * np.clip(suv / 7, 0, 1))
    assert "data:image/png;base64," in answer._repr_html_()
    assert answer.picture.max() > 200 > 10 > answer.picture.min()


def test_words_are_taken_without_case():
    assert lab.exercise("max-and-select", " No").right


def test_no_answer_says_where_it_goes_and_an_unknown_name_the_near_one():
    assert "three dots" in lab.exercise("mean-suv", ...).text and not lab.exercise("mean-suv").right
    with pytest.raises(RadioganError, match="Did you mean 'mean-suv'"):
        lab.exercise("meansuv", 1)


def test_solutions_hold_in_the_library():
    """The numbers are not only agreed with themselves."""
    z = np.random.default_rng(0).standard_normal((2, 100))
    assert abs(np.linalg.norm(z.mean(axis=0)) - solution("length-of-z")) < 1.5
    from radiogan_lib import gan

    generator = gan.build_generator(config.load("smoke"))
    assert generator.get_layer("label_dense").count_params() == solution("label-channel")
    sizes, (rows, cols) = 0, config.load("paper").canvas
    while rows > 5:
        rows, cols, sizes = rows // 2, cols // 2, sizes + 1
    assert (sizes, rows, cols) == tuple(solution("discriminator-layers"))
