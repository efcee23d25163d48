"""The course as a reader meets it: exercises in their places, terms defined where they first stand,
true times, readable parameters."""

import ast
import contextlib
import copy
import logging
import math
import re
from pathlib import Path

import nbformat
import numpy as np
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
    "02": ["embedding", "transposed convolution", "batch normalisation", "logit", "sigmoid"],
    "03": ["mini-max", "epoch", "binary cross-entropy", "auxiliary classifier"],
    "04": ["KID", "coverage", "Vendi", "TSTR", "fine detail"],
    "05": ["membership AUC", "p-value", "copy fraction"],
    "06": ["lerp", "chord ratio"],
    "07": ["truncation"],
}


def read(number):
    return nbformat.read(PATHS[number], as_version=4)


def prose(nb, start=2):
    """Markdown below title and head, without folded solutions, headings and quotations."""
    text = "\n".join(c.source for c in nb.cells[start:] if c.cell_type == "markdown")
    return re.sub(r"^(#+|>) .*$", "", DETAILS.sub("", text), flags=re.M)


def markdown(nb):
    return "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")


def slug(heading):
    """The anchor that GitHub and MyST give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def flat(text):
    return " ".join(text.split())


def places(nb):
    """{exercise: index of its cell}."""
    found = {}
    for k, cell in enumerate(nb.cells):
        m = re.fullmatch(
            r'lab\.exercise\("([\w-]+)", \.\.\.\)'
            r"|def (\w+)\(.*\):\n    return \.\.\.  # your "
            r'code\n\n\nlab\.exercise\("([\w-]+)", \2\)',
            cell.source if cell.cell_type == "code" else "",
        )
        if m:
            name = m[1] or m[3]
            assert name not in found
            found[name] = k
    return found


def check_exercise(nb, name, k):
    question, solution = nb.cells[k - 1], nb.cells[k + 1]
    text = re.fullmatch(r"(?:.*\n\n)?\*\*Exercise \d[a-z]\.\*\* (.+)", question.source, flags=re.S)
    assert text and flat(text[1]) == flat(EXERCISES[name]["question"]), (
        "the question differs from exercises.yaml"
    )
    folded = DETAILS.search(solution.source)
    assert folded and len(folded[2]) > 20, "a folded solution with its reason comes next"
    *before, last = ast.parse(folded[1]).body
    assert ast.unparse(last.value.func) == "lab.exercise" and last.value.args[0].value == name
    space = {"lab": lab, "np": np}
    exec(compile(ast.Module(before, []), "solution", "exec"), space)  # noqa: S102 - our own file
    answer = eval(compile(ast.Expression(last.value), "solution", "eval"), space)  # noqa: S307
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
    """Its first appearance in the course is bold, linked to the glossary, in a sentence with enough
    words to define it."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}(?![\w-])", re.I)
    for earlier, path in PATHS.items():
        text = prose(nbformat.read(path, as_version=4))
        found = word.search(text)
        if earlier < number:
            # a link in an earlier notebook may only be its definition
            assert not found, (
                f"{term} already appears in {earlier}: "
                f"…{text[max(0, found.start() - 40) : found.end() + 20]}…"
                if found
                else ""
            )
            continue
        assert found, f"{term} is not in {number}"
        link = next((m for m in LINK.finditer(text) if m.start() <= found.start() < m.end()), None)
        assert link, (
            f"{term} first stands unlinked in {number}: "
            f"…{text[max(0, found.start() - 60) : found.end() + 40]}…"
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
    """200 words a minute, 6 s for a line of code, 20 s for a figure, a minute for an exercise; up
    to the next five minutes."""
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
def test_captions_stand_in_order(number):
    nb = read(number)
    letters = re.findall(rf"^\*\*Figure {int(number)}([a-z])[^*]*\*\*", prose(nb, 0), flags=re.M)
    assert letters == [chr(ord("a") + k) for k in range(len(letters))], letters


@pytest.mark.parametrize("number", PATHS)
def test_papermill_help_reads_every_parameter(number):
    pm = pytest.importorskip("papermill")
    with contextlib.suppress(AttributeError):
        logging.getLogger("papermill").setLevel("ERROR")
    for name, p in pm.inspect_notebook(str(PATHS[number])).items():
        assert p["inferred_type_name"] not in ("None", "") and len(p["help"].split()) >= 4, name


def test_every_diagram_is_in_a_notebook():
    cells = (c.source for n in PATHS for c in read(n).cells if c.cell_type == "code")
    drawn = set(re.findall(r'lab\.diagram\("(\w+)"\)', "\n".join(cells)))
    assert drawn == set(NAMES)


def bare(text):
    """Text without what a page and its transcript differ in: LaTeX, spaces, quotation marks."""
    return re.sub(r"\\(times|text|dots)|[\s$^{}\\×“”]", "", text).lower()


def quotations():
    """[(file, what stands between “ and ” after *Paper:*)] in notebooks and docs."""
    pages = {p.name: markdown(nbformat.read(p, as_version=4)) for p in PATHS.values()}
    pages |= {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs").glob("*.md")}
    pages["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        (name, quote)
        for name, text in pages.items()
        for quote in re.findall(r"\*Paper(?:, [^:*]*)?:\* “([^”]+)”", text)
    ]


def test_the_paper_is_quoted_word_for_word():
    paper = ROOT.parent / "shared" / "paper.txt"
    if not paper.is_file():
        pytest.skip("the paper's text is not beside this checkout (../shared/paper.txt)")
    text = bare(paper.read_text(encoding="utf-8"))
    found = quotations()
    assert len(found) >= 10
    for name, quote in found:
        assert bare(quote).rstrip(".") in text, f"{name}: “{quote}”"


def test_every_quotation_of_the_paper_is_marked_as_one():
    for number in PATHS:
        for line in re.findall(r"^> .*", markdown(read(number)), flags=re.M):
            assert re.fullmatch(r"> \*Paper:\* “[^”]+”", line), line


def taught(number, wanted, space):
    """Run the definitions that a notebook writes out, and return the wanted one."""
    for cell in read(number).cells:
        if "teach" in cell.metadata.get("tags", []) and f"def {wanted}(" in cell.source:
            exec(cell.source, space)  # noqa: S102 - our own notebook
            return space[wanted]
    raise AssertionError(f"notebook {number} does not write {wanted}")


@pytest.mark.parametrize("profile", ["smoke", "teach", "real"])
def test_the_notebooks_networks_fit_every_profile(profile):
    """The library's weights fit the networks that notebook 02 writes, also where a profile sets
    widths of its own."""
    import keras

    from radiogan_lib import config, gan

    cfg, n = config.load(profile, recipe="paper"), 4
    space = {"keras": keras, "layers": keras.layers}
    mine = (
        taught("02", "write_generator", space)(
            cfg.doublings, cfg.generator_channels, n, cfg.generator_least
        ),
        taught("02", "write_discriminator", space)(
            cfg.doublings, cfg.discriminator_channels, n, cfg.dropout
        ),
    )
    library = gan.build_generator(cfg, n), gan.build_discriminator(cfg, n)
    for written, built in zip(mine, library):
        assert [v.shape for v in written.weights] == [v.shape for v in built.weights]


@pytest.mark.slow
def test_the_notebooks_gan_is_the_librarys():
    """Notebook 02's networks draw and judge as the library's; notebook 03's step moves every weight
    alike."""
    import keras
    import tensorflow as tf

    from radiogan_lib import config, gan

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the notebooks' step is written in TensorFlow")
    cfg, n = config.load("smoke", recipe="paper"), 5
    library = gan.compiled(cfg, n)
    space = {"keras": keras, "layers": keras.layers, "tf": tf, "seed": cfg.seed}
    generator = taught("02", "write_generator", space)(cfg.doublings, cfg.generator_channels, n)
    discriminator = taught("02", "write_discriminator", space)(
        cfg.doublings, cfg.discriminator_channels, n, cfg.dropout
    )
    rng, labels = np.random.default_rng(1), np.arange(8, dtype="int32") % n
    z = rng.standard_normal((8, 100)).astype("float32")
    images = rng.uniform(-1, 1, (3, 8, *cfg.canvas, 1)).astype("float32")
    for mine, theirs, x in (
        (generator, library.generator, z),
        (discriminator, library.discriminator, images[0]),
    ):
        mine.set_weights(theirs.get_weights())
        assert np.allclose(mine([x, labels]), theirs([x, labels]), atol=1e-5)
    mine = [keras.models.clone_model(m) for m in (library.generator, library.discriminator)]
    for copy_of, model in zip(mine, (library.generator, library.discriminator)):
        for variable, value in zip(copy_of.variables, model.variables):
            variable.assign(value)
    start = [v.numpy() for m in mine for v in m.trainable_variables]
    step = taught("03", "make_step", space)(*mine)
    for batch in images:
        step(batch, tf.constant(labels))
        library.train_on_batch((batch, labels))
    theirs = library.generator.trainable_variables + library.discriminator.trainable_variables
    for before, variable, value in zip(
        start, (v for m in mine for v in m.trainable_variables), theirs
    ):
        assert np.allclose(variable, value, atol=1e-5), variable.path
        assert np.abs(variable.numpy() - before).max() > 1e-5, variable.path
