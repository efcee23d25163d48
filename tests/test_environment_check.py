"""The [ok]/[fail] table, the readable errors, sources, provenance and class picking."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from radiogan_lib import config, lab, paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab import environment as module_or_function

environment = __import__("importlib").import_module("radiogan_lib.lab.check")


def lines(checks):
    return {name: (state, words) for state, name, words in checks.lines}


def test_this_environment_passes_all_but_what_is_not_made_yet(monkeypatch, tmp_path):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    found = lines(lab.environment())
    for name in ("Python", "packages", "engine", "cores", "memory", "disk", "folders"):
        assert found[name][0] == "ok", (name, found[name])
    assert found["dataset"][0] == "later"
    text = str(lab.environment())
    assert (
        str(tmp_path) not in text
        and str(Path.home()) not in text.replace("~", "")
        and str(paths.REPO) not in text
    )


def test_a_version_outside_the_range_is_named_and_a_newer_one_within_it_is_fine(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: {"nibabel": "0.0.1"}.get(n) or real(n))
    state, words = environment._packages()
    assert state == "fail" and "nibabel 0.0.1, wanted " in words and "requirements.lock" in words
    newer = {"keras": "3.99.0", "numpy": "2.99.0", "jupyterlab": "4.99.0"}
    monkeypatch.setattr(metadata, "version", lambda n: newer.get(n) or real(n))
    assert environment._packages()[0] == "ok"


def test_an_unknown_engine_and_a_read_only_home_are_reported(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras", raising=False)  # once loaded, Keras is asked itself
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert environment._backend()[0] == "fail"
    (tmp_path / "data").write_text("a file where a folder should be")
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    assert environment._writable()[0] == "fail"


def test_a_check_that_breaks_is_a_line_and_not_an_exception(monkeypatch):
    def broken():
        raise OSError("no such device")

    monkeypatch.setitem(environment.CHECKS, "disk", broken)
    checks = lab.environment()
    assert lines(checks)["disk"] == ("fail", "OSError: no such device") and not checks.ok
    assert "[fail]" in str(checks) and "[fail]" in checks._repr_html_()


def test_a_prepared_dataset_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    folder = tmp_path / "data" / "teach-80x48"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("{}")
    assert environment._dataset()[0] == "ok" and "teach-80x48" in environment._dataset()[1]
    (folder / "dataset.json").write_text("{")
    assert environment._dataset()[0] == "fail"


def test_a_fault_is_one_sentence_and_still_fails_the_cell():
    """In a real kernel: the error output keeps name and value, and the traceback is one line."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    code = ["from radiogan_lib import config, lab\nlab.setup()", "config.load('nonsense')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (error,) = [o for o in notebook.cells[1].outputs if o.output_type == "error"]
    assert error.ename == "ConfigError" and "there is no profile 'nonsense'" in error.evalue
    assert len(error.traceback) == 1 and "File" not in error.traceback[0]


def test_setup_keeps_tensorflows_start_quiet():
    # Keras asks whether TensorFlow is there before it imports it
    code = (
        "from radiogan_lib import gan, lab; lab.setup(); gan.load_shipped;"
        " import tensorflow as tf; print(tf.constant(1).numpy())"
    )
    env = os.environ | {"PYTHONPATH": str(paths.REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        check=True,
    )
    assert (
        done.stdout.strip() == "1"
        and "cuda" not in done.stderr.lower()
        and "oneDNN" not in done.stderr
    )


def test_lab_loads_light():
    code = (
        "import sys; from radiogan_lib import lab; lab.setup(); print('tensorflow' in "
        "sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=paths.REPO,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]


def test_every_public_name_resolves():
    for name in lab.__all__:
        assert callable(getattr(lab, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        lab.__getattr__("nonsense")
    assert callable(module_or_function)


def test_source_is_the_real_source():
    text = lab.source(config.load).data
    assert (
        "def load(profile" in text
        and '"""Return the settings of a profile' in text
        and text.count("```") == 2
    )
    assert text.startswith("`radiogan_lib/config.py`")
    with pytest.raises(RadioganError, match="no Python source"):
        lab.source(len)


@pytest.mark.parametrize(
    "names, wanted, picked",
    [
        (["normal", "lung", "lymphoma"], ("lung", "lymphoma"), (1, 2)),
        (["hot", "cold"], ("lung", "lymphoma"), (0, 1)),
        (["lymphoma", "x"], ("lung", "lymphoma"), (1, 0)),
        (["only"], ("lung", "lymphoma"), (0, 0)),
    ],
)
def test_classes_are_picked_in_any_cohort(names, wanted, picked):
    assert lab.pick_classes(names, *wanted) == picked


def test_facts_are_json_and_name_nobody():
    import json

    text = json.dumps(lab.facts(config.load("smoke")), allow_nan=False)
    assert str(paths.REPO) not in text and '"profile": "smoke"' in text and "commit" in text
    assert "profile smoke" in str(lab.provenance(config.load("smoke")))
