"""Each exercise takes its solution, answers wrong ones with a hint, and its solution is true by the library itself."""

import math

import numpy as np
import pytest

from radiogan_lib import config, lab
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.exercises import exercises

EXERCISES = exercises()


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_taken_and_others_get_a_hint(name):
    assert lab.exercise(name, lab.solution(name)).right
    assert "Right." in lab.exercise(name, lab.solution(name))._repr_html_()
    for wrong in (
        -12345.678,
        -7,
        "a wrong word",
        (9, 9, 9),
        [],
        np.nan,
        {"a": 1},
        True,
        object(),
        np.zeros(3),
        "x" * 1000,
    ):
        answer = lab.exercise(name, wrong)
        assert not answer.right and len(answer.text) > 20, (name, wrong)


def test_every_notebook_has_two_or_three():
    count = {
        f"{k:02d}": sum(e["notebook"] == f"{k:02d}" for e in EXERCISES.values()) for k in range(7)
    }
    assert all(2 <= n <= 3 for n in count.values()), count


@pytest.mark.parametrize(
    "name, wrong, word",
    [
        ("suv-by-hand", 4.0, "decayed"),
        ("hidden-lesion", 13, "add"),
        ("canvas-rows", (25, 15), "2^5"),
        ("canvas-rows", [96, 160], "rows first"),
        ("guessing-loss", 0.5, "logarithm"),
        ("discriminator-layers", (8, 5, 3), "Dense"),
        ("length-of-z", 10, "slerp"),
        ("label-channel", 750, "biases"),
    ],
)
def test_known_slips_get_their_own_hint(name, wrong, word):
    assert word in lab.exercise(name, wrong).text


def test_words_are_taken_without_case_and_article():
    assert (
        lab.exercise("who-moves", " The generator ").right
        and lab.exercise("max-and-select", "No").right
    )


def test_no_answer_says_where_it_goes_and_an_unknown_name_the_near_one():
    assert "three dots" in lab.exercise("mean-suv", ...).text and not lab.exercise("mean-suv").right
    assert "lab.exercise('mean-suv'" in lab.question("mean-suv").data
    with pytest.raises(RadioganError, match="Did you mean 'mean-suv'"):
        lab.exercise("meansuv", 1)


def test_solutions_hold_in_the_library():
    """The numbers are not only agreed with themselves."""
    cfg = config.load("smoke", doublings=5)
    assert tuple(lab.solution("canvas-rows")) == cfg.canvas
    assert math.isclose(lab.solution("guessing-loss"), -math.log(0.5), rel_tol=1e-5)
    z = np.random.default_rng(0).standard_normal((2, 100))
    assert abs(np.linalg.norm(z.mean(axis=0)) - lab.solution("length-of-z")) < 1.5
    from radiogan_lib import gan

    generator = gan.build_generator(config.load("smoke"))
    assert generator.get_layer("label_dense").count_params() == lab.solution("label-channel")
    sizes, (rows, cols) = 0, config.load("paper").canvas
    while rows > 5:
        rows, cols, sizes = rows // 2, cols // 2, sizes + 1
    assert (sizes, rows, cols) == tuple(lab.solution("discriminator-layers"))
