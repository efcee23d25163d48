"""The house rules of the notebooks, read from the files alone (no kernel): structure, size, links,
names.

Each rule is a function over one notebook; `test_the_rules_can_fail` breaks a good notebook in many
ways and expects each break to be caught.
"""

import ast
import copy
import importlib
import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
OPENING = ("**In this notebook**", "**Paper**", "**Run**", "**Needs**", "**makes**")
CLOSING = ("## What we saw", "## Try this", "## Departures from the paper")
PLAIN_TYPES = {"int", "float", "str", "bool", "list", "dict"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt|var)/\w|[A-Z]:\\\\")


def code(nb):
    return [c for c in nb.cells if c.cell_type == "code"]


def tagged(nb, tag):
    return [c for c in nb.cells if tag in c.metadata.get("tags", [])]


def python(source):
    """The cell as plain Python: magics are blanked out."""
    return ast.parse(
        "\n".join("" if s.lstrip().startswith("%") else s for s in source.splitlines())
    )


def opening(nb):
    assert nb.cells[0].cell_type == "markdown" and re.fullmatch(r"# \d · \S.*", nb.cells[0].source)
    h1 = [
        s
        for c in nb.cells
        if c.cell_type == "markdown"
        for s in c.source.splitlines()
        if s.startswith("# ")
    ]
    assert len(h1) == 1, "exactly one H1"
    assert all(words in nb.cells[1].source for words in OPENING), (
        "the second cell: what, paper, time, needs → makes"
    )


def closing(nb):
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    places = [prose.find(h) for h in CLOSING]
    assert -1 not in places and places == sorted(places)
    assert code(nb)[-1].source == "lab.provenance(cfg)"


def format_and_ids(nb):
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    ids = [c.id for c in nb.cells]
    assert len(set(ids)) == len(ids)
    assert nb.metadata.kernelspec.name == "python3"
    assert "widgets" not in nb.metadata and "papermill" not in nb.metadata


def parameters_cell(nb):
    (cell,) = tagged(nb, "parameters")
    assert cell is code(nb)[0], "the parameters cell is the first code cell"
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: (\w+) = [^=#]+  # \S.*", line), f"papermill cannot read: {line}"
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.AnnAssign) and node.annotation.id in PLAIN_TYPES
        ast.literal_eval(node.value)


def imports_once(nb):
    with_imports = [
        c
        for c in code(nb)
        if "cloud" not in c.metadata.get("tags", [])  # it comes before anything can be imported
        and any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.walk(python(c.source)))
    ]
    assert len(with_imports) == 1 and "lab.setup()" in with_imports[0].source


def small_cells(nb):
    for cell in code(nb):
        teaches = "teach" in cell.metadata.get("tags", [])
        lines = [s for s in cell.source.splitlines() if s.strip()]
        assert len(lines) <= (26 if teaches else 15), cell.source
        assert max(map(len, lines)) <= 150, cell.source
        if not teaches:
            assert not any(
                isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
                for n in ast.walk(python(cell.source))
            )


def prose_before_code(nb):
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            assert any(c.cell_type == "markdown" for c in nb.cells[max(0, i - 2) : i]), cell.source


def no_tricks(nb):
    for cell in code(nb):
        assert not cell.source.rstrip().endswith(";"), cell.source
        assert "clear_output" not in cell.source
        for line in cell.source.splitlines():
            assert not re.match(r"\s*(!|%(?!matplotlib inline$))", line), line
    assert not tagged(nb, "raises-exception") and not tagged(nb, "keep_output")


def outputs(nb):
    cells = code(nb)
    if not any(c.outputs for c in cells):
        return
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for out in cell.outputs:
            assert out.output_type != "error" and out.get("name") != "stderr", cell.source
            text = out.get("text", "") or str(out.get("data", {}).get("text/plain", ""))
            assert len(text.splitlines()) <= 100, cell.source


def no_machine_paths(nb):
    assert not MACHINE_PATH.search(nbformat.writes(nb))


def links(nb):
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose):
        if not target.startswith(("http", "attachment:")):
            assert (FOLDER / target).exists(), f"dead link: {target}"
    for name in re.findall(r"`(radiogan_lib(?:\.\w+)+)`", prose):
        resolve(name)


def resolve(dotted):
    """Import the longest module prefix, then getattr the rest."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        return thing
    raise AssertionError(f"{dotted} does not exist")


def size(nb):
    assert len(nbformat.writes(nb).encode()) <= 400_000
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    words = len(re.sub(r"<details>.*?</details>", "", prose, flags=re.S).split())
    assert words <= 1200, f"{words} words outside of the folded solutions"
    assert len(re.findall(r"\*\*Figure \d[a-z]", prose)) <= 5


RULES = [
    opening,
    closing,
    format_and_ids,
    parameters_cell,
    imports_once,
    small_cells,
    prose_before_code,
    no_tricks,
    outputs,
    no_machine_paths,
    links,
    size,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_rule(path, rule):
    rule(nbformat.read(path, as_version=4))


def test_names_are_numbered_without_a_gap():
    assert [p.name[:3] for p in NOTEBOOKS] == [f"{i:02d}_" for i in range(8)]
    assert all(re.fullmatch(r"\d\d_[a-z_]+\.ipynb", p.name) for p in NOTEBOOKS)


def test_docstrings_name_notebooks_that_exist():
    for path in [
        *(ROOT / "radiogan_lib").rglob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("data_manifest/*.md"),
    ]:
        for name in re.findall(r"notebooks/(\d\d_[a-z_]+)", path.read_text(encoding="utf-8")):
            assert (FOLDER / f"{name}.ipynb").exists(), f"{path.name} names {name}"


def test_together_they_fit_the_budget():
    assert sum(p.stat().st_size for p in NOTEBOOKS) <= 2_000_000


def test_every_profile_key_is_a_parameter():
    known = set()
    for path in NOTEBOOKS:
        cell = tagged(nbformat.read(path, as_version=4), "parameters")[0]
        known |= {n.target.id for n in ast.parse(cell.source).body}
    for profile in (FOLDER / "profiles").glob("*.yaml"):
        assert set(yaml.safe_load(profile.read_text())) <= known, profile.name


def test_the_rules_can_fail():
    """Each break of a good notebook must be caught by the rule that is meant for it."""
    good = nbformat.read(NOTEBOOKS[3], as_version=4)
    for cell in code(good):
        cell.outputs, cell.execution_count = [], None

    def broken(change):
        nb = copy.deepcopy(good)
        change(nb)
        return nb

    def first_code(nb):
        return code(nb)[0]

    breaks = {
        opening: lambda nb: nb.cells[0].update(source="# Training"),
        closing: lambda nb: code(nb)[-1].update(source="1 + 1"),
        format_and_ids: lambda nb: nb.cells[1].update(id=nb.cells[0].id),
        parameters_cell: lambda nb: first_code(nb).update(source='x: "int | None" = None  # no'),
        imports_once: lambda nb: code(nb)[-2].update(source="import os"),
        small_cells: lambda nb: code(nb)[-2].update(source="def f():\n    return 1"),
        prose_before_code: lambda nb: nb.cells.extend([nbformat.v4.new_code_cell("1")] * 3),
        no_tricks: lambda nb: code(nb)[-2].update(source="!pip install x"),
        outputs: lambda nb: code(nb)[-1].update(
            outputs=[nbformat.v4.new_output("stream", name="stderr", text="x")]
        ),
        no_machine_paths: lambda nb: nb.cells[1].update(source="see /" + "home/me/file"),
        links: lambda nb: nb.cells[1].update(source="[gone](99_gone.ipynb)"),
        size: lambda nb: nb.cells[1].update(source="x" * 500_000),
    }
    assert set(breaks) == set(RULES)
    for rule, change in breaks.items():
        rule(good)
        with pytest.raises((AssertionError, ValueError, AttributeError)):
            rule(broken(change))
