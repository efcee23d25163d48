"""In other people's shells: relative folders, odd settings, encodings, Keras' own file, Ctrl-C,
make's variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_batch import notebook

from radiogan_lib import batch, config, lab, machine, paths

REPO = paths.REPO


def python(*words, cwd=None, **variables):
    """Run Python with these environment variables; None removes one."""
    env = os.environ | {"PYTHONPATH": str(REPO)} | variables
    env = {k: v for k, v in env.items() if v is not None}
    return subprocess.run(
        [sys.executable, *words],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )


@pytest.fixture
def books(tmp_path):
    """One tiny notebook that writes into its run's folder, and a user's folder that it does not
    stand in."""
    (tmp_path / "notebooks").mkdir()
    notebook(
        tmp_path / "notebooks", "00_first.ipynb", "(run / 'a.txt').write_text(str(paths.home()))"
    )
    (tmp_path / "user").mkdir()
    return tmp_path


# Item 8: where things land


def test_a_relative_home_is_the_same_folder_for_the_user_and_for_the_kernels(books):
    (books / "user" / "mine").mkdir()
    profile = (config.PROFILES / "smoke.yaml").read_text(encoding="utf-8")
    (books / "user" / "mine" / "smoke.yaml").write_text(profile, encoding="utf-8")
    done = python(
        *("-m", "radiogan_lib.batch", "--profile", "smoke"),
        cwd=books / "user",
        RADIOGAN_HOME="out",
        RADIOGAN_PROFILES="mine",
        RADIOGAN_NOTEBOOKS="../notebooks",
    )
    assert done.returncode == 0, done.stderr
    wrote = books / "user" / "out" / "runs" / "smoke" / "a.txt"
    assert wrote.read_text() == str((books / "user" / "out").resolve())
    assert not list((books / "notebooks").glob("*/"))


def test_an_empty_variable_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADIOGAN_HOME", "")
    assert paths.home() == REPO


def test_git_ignores_what_runs_make_anywhere_and_not_our_own_package():
    def ignored(name):
        words = ["git", "check-ignore", "-q", name]
        return subprocess.run(words, cwd=REPO, check=False).returncode == 0

    if not (REPO / ".git").exists():
        pytest.skip("not a git checkout")
    assert all(map(ignored, ("runs/a", "data/a.npy", "notebooks/out/data/a.npy", "docs/runs/a")))
    assert not any(map(ignored, ("radiogan_lib/data/new.py", "data_manifest/new.csv")))


def test_a_relative_output_in_a_folder_that_is_not_ours_is_one_sentence(monkeypatch, tmp_path):
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(paths.WriteError, match="report.html cannot be written"):
        paths.write_text("report.html", "x")


# Item 9: settings, encodings, Keras


@pytest.mark.parametrize(
    "table, words",
    [
        ("epochs=5", "must be a table"),
        (["epochs", 5], "must be a table"),
        (5, "must be a table"),
        (None, "must be a table"),  # papermill -y 'settings: null'
        ({"seed": 3}, "seed is a parameter of its own"),
        ({"recipe": "paper"}, "recipe is a parameter of its own"),
        ({"epocs": 3}, "Did you mean 'epochs'"),
        ({3: 4}, "no setting '3'"),
    ],
)
def test_settings_that_are_no_table_or_double_are_one_sentence(table, words):
    with pytest.raises(config.ConfigError, match=words):
        config.load("smoke", table, recipe="", seed=0)


def test_settings_that_are_missing_are_none():
    assert config.load("smoke", seed=1) == config.load("smoke", {}, seed=1)
    assert config.load("smoke", {"epochs": 5}, recipe="").epochs == 5


def test_settings_as_a_whole_are_no_setting(capsys):
    assert batch.main(["--profile", "smoke", "--set", "settings={epochs: 5}"]) == 1
    assert "--set epochs=5" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_without_our_characters_loses_no_run(books, encoding):
    done = python(
        *("-m", "radiogan_lib.batch", "--profile", "smoke"),
        PYTHONIOENCODING=encoding,
        RADIOGAN_HOME=str(books),
        RADIOGAN_NOTEBOOKS=str(books / "notebooks"),
    )
    assert done.returncode == 0 and "00_first.ipynb" in done.stdout, done.stderr


KERAS = (
    "from radiogan_lib import gan, config\ntry:\n gan.build_generator\nexcept "
    "config.RadioganError as e:\n print(e)"
)


@pytest.mark.parametrize(
    "file, variable, words",
    [
        ({}, "torch", "KERAS_BACKEND asks for the backend 'torch'"),
        ({}, "tensorfow", "KERAS_BACKEND asks for the backend 'tensorfow'"),
        ({"backend": "torch"}, None, "keras.json in KERAS_HOME asks for the backend 'torch'"),
        ({"backend": "torch", "floatx": "float16"}, "tensorflow", "floatx to 'float16'"),
        ({"image_data_format": "channels_first"}, None, "image_data_format to 'channels_first'"),
        ([], None, "keras.json in KERAS_HOME holds no table"),
    ],
)
def test_a_keras_that_cannot_work_is_one_sentence(tmp_path, file, variable, words):
    (tmp_path / "keras.json").write_text(json.dumps(file))
    done = python("-c", KERAS, KERAS_HOME=str(tmp_path), KERAS_BACKEND=variable)
    assert words in done.stdout and done.stdout.count("\n") == 1, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("lab.page", "--out", "x.html"), ("batch", "--from", "03")])
def test_nothing_runs_with_a_keras_that_cannot_work(tmp_path, words):
    home = {"RADIOGAN_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    done = python("-m", f"radiogan_lib.{words[0]}", *words[1:], **home)
    assert done.returncode == 1 and "asks for the backend 'torch'" in done.stderr
    assert done.stderr.strip().count("\n") == 0 and not list(tmp_path.iterdir()), done.stderr


def test_a_path_that_the_terminal_cannot_show_is_still_named(tmp_path):
    done = python("-m", "petsuv", str(tmp_path / "β→"), PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 1 and "refused" in done.stderr and "Traceback" not in done.stderr


def test_provenance_asks_keras_and_not_the_variable(monkeypatch):
    import keras

    monkeypatch.setenv("KERAS_BACKEND", "jax" if keras.backend.backend() != "jax" else "tensorflow")
    assert machine.keras_backend() == lab.facts()["backend"] == keras.backend.backend()


NAMELESS = """
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
"""


@pytest.mark.skipif(os.name != "posix", reason="users without a name")
def test_no_home_and_a_user_without_a_name(books):
    """As in a container with `--user 54321`; every Python started below reads sitecustomize.py."""
    (books / "site").mkdir()
    (books / "site" / "sitecustomize.py").write_text(NAMELESS)
    notebook(
        books / "notebooks",
        "00_first.ipynb",
        "from radiogan_lib import gan, lab\ngan.build_generator(cfg)\nlab.mip_row\n(run / "
        "'a.txt').write_text('x')",
    )
    done = python(
        *("-m", "radiogan_lib.batch", "--profile", "smoke"),
        cwd=books / "user",
        **dict.fromkeys(("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")),
        PYTHONPATH=f"{books / 'site'}{os.pathsep}{REPO}",
        RADIOGAN_HOME="out",
        RADIOGAN_NOTEBOOKS=str(books / "notebooks"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert (books / "user" / "out" / "runs" / "smoke" / "a.txt").exists()


# Item 10: what a user typed


def test_a_class_that_a_user_typed_is_never_replaced():
    names = ("normal", "lung", "lymphoma")
    with pytest.raises(config.RadioganError, match="no class 'lungs'; this cohort has normal"):
        lab.pick_classes(names, "lung", "lymphoma", typed=("lungs", ""))
    assert lab.pick_classes(names, "lung", "lymphoma", typed=("", "normal")) == (1, 0)
    assert lab.pick_classes(("a", "b"), "lung", "lymphoma", typed=("", "")) == (0, 1)


@pytest.mark.parametrize(
    "words",
    [("--jobs", "0"), ("--jobs", "-1"), ("--set", "seed=-1"), ("--set", "epochs=0")],
    ids=" ".join,
)
def test_numbers_out_of_range_are_refused(books, words):
    done = python("-m", "radiogan_lib.batch", "--profile", "smoke", *words)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert words[1].rpartition("=")[2] in done.stderr


@pytest.mark.parametrize(
    "words", [("n_sweep", "--seeds=-1"), ("n_sweep", "--epochs=-3"), ("training", "--steps=0")]
)
def test_benchmarks_refuse_numbers_out_of_range(words):
    done = python(str(REPO / "benchmarks" / f"{words[0]}.py"), words[1])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert words[1][2:].partition("s=")[0] in done.stderr.rpartition("error:")[2]


@pytest.mark.skipif(os.name != "posix", reason="signals of a terminal")
@pytest.mark.parametrize("sweep", [(), ("--set", "seed=0,1", "--jobs", "2")], ids=["one", "sweep"])
def test_ctrl_c_is_one_line(books, sweep):
    notebook(books / "notebooks", "00_first.ipynb", "import time\ntime.sleep(100)")
    process = subprocess.Popen(
        [sys.executable, "-m", "radiogan_lib.batch", "--profile", "smoke", *sweep],
        env=os.environ
        | {
            "PYTHONPATH": str(REPO),
            "RADIOGAN_HOME": str(books),
            "RADIOGAN_NOTEBOOKS": str(books / "notebooks"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whatever started the tests may ignore the signal, and a child inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if "running" in line:
            break
    time.sleep(5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in err and len(err.split("\n")) <= 3, err


def _make(*words):
    return subprocess.run(
        ["make", "-n", "run", "VENV=/nowhere", *words],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not (REPO / "Makefile").exists(), reason="not a checkout")
def test_make_refuses_variables_that_it_does_not_know():
    for words in (["EPOCHS=2"], ["SEED=1"], ["PROFILES=smoke"]):
        done = _make(*words)
        assert done.returncode and words[0].partition("=")[0] in done.stderr
    assert not _make("PROFILE=smoke", "SET=epochs=2").returncode


@pytest.mark.parametrize(
    "line, settings",
    [
        ("seed=1 epochs=5", ["seed=1", "epochs=5"]),
        ("class_a='head neck'  seed=1", ["class_a='head neck'", "seed=1"]),
        ("train_exams=[8, 4]", ["train_exams=[8, 4]"]),
        (" ", []),
    ],
)
def test_blanks_inside_a_setting_stay(line, settings):
    assert batch.split_settings(line) == settings


# Caps belong to the embedded cohort


def test_a_users_cohort_is_used_whole_unless_the_user_limits_it(tmp_path):
    ours = config.load("paper")
    theirs = config.load("paper", cohort=str(tmp_path / "c.csv"))
    assert ours.train_exams[:2] == (675, 422) and ours.test_exams == (100,)
    assert theirs.train_exams == theirs.test_exams == (0,)
    capped = config.load("paper", cohort=str(tmp_path / "c.csv"), train_exams=[9])
    assert (capped.train_exams, capped.test_exams) == ((9,), (0,))
    assert set(theirs.changed()) == {"cohort"} and set(capped.changed()) == {
        "cohort",
        "train_exams",
    }


# Item 11: very few exams


@pytest.mark.parametrize("n", [2, 3, 4])
def test_two_exams_of_a_class_divide_by_no_zero(n):
    import numpy as np

    from radiogan_lib.evaluation.quality import vendi_ratio

    real, generated = np.random.default_rng(0).normal(size=(2, n, 7)).astype("float32")
    assert np.isfinite(vendi_ratio(real, generated).value)
