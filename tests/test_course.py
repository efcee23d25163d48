"""The course as a reader meets it: exercises in their places, terms defined where they first stand, true times, readable parameters."""

import ast
import contextlib
import copy
import logging
import math
import re
from pathlib import Path

import nbformat
import pytest

from radiogan_lib import lab
from radiogan_lib.lab.diagrams import NAMES
from radiogan_lib.lab.exercises import exercises

EXERCISES = exercises()
ROOT = Path(__file__).parents[1]
PATHS = {p.name[:2]: p for p in sorted((ROOT / "notebooks").glob("*.ipynb"))}
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[\*\*([^*\]]+)\*\*\]\(\.\./docs/glossary\.md#([\w-]+)\)")
DETAILS = re.compile(
    r"<details><summary>Solution</summary>\n\n```python\n(.+?)\n```\n\n(\S.+?)\n\n</details>", re.S
)
# Terms that a reader of another field cannot know, with the notebook that must define each.
TERMS = {
    "00": ["PET", "FDG", "SUV", "MIP", "phantom", "GAN", "latent space"],
    "02": [
        "embedding",
        "transposed convolution",
        "batch normalisation",
        "logit",
        "sigmoid",
        "dropout",
    ],
    "03": ["mini-max", "epoch", "binary cross-entropy", "mode collapse"],
    "04": ["KID", "coverage", "Vendi", "TSTR"],
    "05": ["membership AUC", "p-value", "lerp"],
}


def read(number):
    return nbformat.read(PATHS[number], as_version=4)


def prose(nb, start=2):
    """Markdown below title and head, without folded solutions and headings."""
    text = "\n".join(c.source for c in nb.cells[start:] if c.cell_type == "markdown")
    return re.sub(r"^#+ .*$", "", DETAILS.sub("", text), flags=re.M)


def slug(heading):
    """The anchor that GitHub and MyST give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def flat(text):
    return " ".join(text.split())


def places(nb):
    """{exercise: index of its cell}."""
    found = {}
    for k, cell in enumerate(nb.cells):
        m = (
            re.fullmatch(r'lab\.exercise\("([\w-]+)", \.\.\.\)', cell.source)
            if cell.cell_type == "code"
            else None
        )
        if m:
            assert m[1] not in found
            found[m[1]] = k
    return found


def check_exercise(nb, name, k):
    question, solution = nb.cells[k - 1], nb.cells[k + 1]
    text = re.fullmatch(r"(?:.*\n\n)?\*\*Exercise \d[a-z]\.\*\* (.+)", question.source, flags=re.S)
    assert text and flat(text[1]) == flat(EXERCISES[name]["question"]), (
        "the question differs from exercises.yaml"
    )
    folded = DETAILS.search(solution.source)
    assert folded and len(folded[2]) > 20, "a folded solution with its reason comes next"
    tree = ast.parse(folded[1])
    assert [ast.unparse(n.value.func) for n in tree.body] == ["lab.exercise"] and tree.body[
        0
    ].value.args[0].value == name
    answer = eval(compile(ast.Expression(tree.body[0].value), "solution", "eval"), {"lab": lab})  # noqa: S307 - our own file
    assert answer.right, answer.text


@pytest.mark.parametrize("number", PATHS)
def test_exercises_stand_in_their_notebook_with_a_solution_that_passes(number):
    nb = read(number)
    found = places(nb)
    assert sorted(found) == sorted(n for n, e in EXERCISES.items() if e["notebook"] == number)
    for name, k in found.items():
        check_exercise(nb, name, k)


def test_a_broken_exercise_is_noticed():
    nb = read("00")
    name, k = next(iter(places(nb).items()))
    for change in (
        lambda b: b.cells[k - 1].update(source="**Exercise 0a.** Something else?"),
        lambda b: b.cells[k + 1].update(source="nothing"),
        lambda b: b.cells[k + 1].update(
            source=re.sub(r'("mean-suv"), .*\)', r"\1, 7)", b.cells[k + 1].source)
        ),
    ):
        broken = copy.deepcopy(nb)
        change(broken)
        with pytest.raises(AssertionError):
            check_exercise(broken, name, k)


def test_an_unanswered_exercise_runs_without_an_error():
    for name in EXERCISES:
        assert not lab.exercise(name, ...).right


@pytest.mark.parametrize("number, term", [(n, t) for n, terms in TERMS.items() for t in terms])
def test_a_term_is_defined_where_it_first_stands(number, term):
    """Its first appearance in the course is bold, linked to the glossary, in a sentence with enough words to define it."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}(?![\w-])", re.I)
    for earlier, path in PATHS.items():
        text = prose(nbformat.read(path, as_version=4))
        found = word.search(text)
        if earlier < number:
            # a link in an earlier notebook may only be its definition
            assert not found, (
                f"{term} already appears in {earlier}: …{text[max(0, found.start() - 40) : found.end() + 20]}…"
                if found
                else ""
            )
            continue
        assert found, f"{term} is not in {number}"
        link = next((m for m in LINK.finditer(text) if m.start() <= found.start() < m.end()), None)
        assert link, (
            f"{term} first stands unlinked in {number}: …{text[max(0, found.start() - 60) : found.end() + 40]}…"
        )
        sentence = (
            re.split(r"(?<=[.;])\s|\n\n", text[link.end() :])[0]
            + text[: link.start()].rsplit(". ", 1)[-1]
        )
        assert len(re.findall(r"\w+", sentence)) >= 6
        break


def test_glossary_links_resolve_and_entries_define():
    entries = dict(re.findall(r"^### (.+)\n(.+)", GLOSSARY, flags=re.M))
    anchors = {slug(name): text for name, text in entries.items()}
    linked = {}
    for number in PATHS:
        for _, anchor in LINK.findall(prose(read(number), 1)):
            assert anchor in anchors, (
                f"notebook {number} links to #{anchor}, which the glossary lacks"
            )
            linked.setdefault(anchor, number)
    for anchor, text in anchors.items():
        first = re.search(r"First met in \[(\d\d)\]\(\.\./notebooks/(\S+?)\)\.$", text)
        assert first and PATHS[first[1]].name == first[2], anchor
        assert len(text.split()) >= 10 and linked.get(anchor, first[1]) == first[1], (
            f"{anchor}: first linked in {linked.get(anchor)}"
        )


def reading_minutes(nb):
    """200 words a minute, 6 s for a line of code, 20 s for a figure, a minute for an exercise; up to the next five minutes."""
    words = sum(len(c.source.split()) for c in nb.cells if c.cell_type == "markdown")
    lines = sum(
        len(c.source.splitlines())
        for c in nb.cells
        if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])
    )
    figures = sum(len(re.findall(r"\*\*Figure", c.source)) for c in nb.cells)
    return 5 * math.ceil((words / 200 + lines / 10 + figures / 3 + len(places(nb))) / 5)


@pytest.mark.parametrize("number", PATHS)
def test_the_stated_reading_time_is_true(number):
    nb = read(number)
    stated = int(re.search(r"\*\*Reading\*\* (\d+) minutes", nb.cells[1].source)[1])
    assert abs(stated - reading_minutes(nb)) <= 5, (
        f"{number}: {stated} stated, {reading_minutes(nb)} by the words"
    )


@pytest.mark.parametrize("number", PATHS)
def test_each_notebook_has_a_hand_made_diagram_and_captions_in_order(number):
    nb = read(number)
    drawn = re.findall(
        r'lab\.diagram\("(\w+)"\)', "\n".join(c.source for c in nb.cells if c.cell_type == "code")
    )
    assert drawn and set(drawn) <= set(NAMES)
    letters = re.findall(rf"^\*\*Figure {int(number)}([a-z])[^*]*\*\*", prose(nb, 0), flags=re.M)
    assert letters == [chr(ord("a") + k) for k in range(len(letters))], letters


@pytest.mark.parametrize("number", PATHS)
def test_papermill_help_reads_every_parameter(number):
    pm = pytest.importorskip("papermill")
    with contextlib.suppress(AttributeError):
        logging.getLogger("papermill").setLevel("ERROR")
    for name, p in pm.inspect_notebook(str(PATHS[number])).items():
        assert p["inferred_type_name"] not in ("None", "") and len(p["help"].split()) >= 4, name
