"""The batch runner on tiny notebooks of its own: order, strict parameters, failures, what is
finished, sweeps, publishing."""

import json
import sys

import nbformat
import pytest

from radiogan_lib import batch, config, notebooks, paths

sys.path.insert(0, str(paths.REPO / "notebooks"))
import publish  # noqa: E402

PARAMETERS = 'profile: str = "smoke"  # p\nseed: int = 0  # s\nsettings: dict = {}  # t'
SETUP = (
    "from radiogan_lib import config, paths\ncfg = config.load(profile, seed=seed, "
    "**settings)\nrun = paths.run_dir(cfg)"
)


def notebook(folder, name, *cells, needs=(), makes=()):
    nb = nbformat.v4.new_notebook()
    nb.metadata = {
        "kernelspec": notebooks.KERNEL,
        "radiogan": {"needs": list(needs), "makes": list(makes)},
    }
    nb.cells = [
        nbformat.v4.new_markdown_cell("# 0 · T"),
        nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
    ]
    nb.cells += [nbformat.v4.new_code_cell(c) for c in (SETUP, *cells)]
    nbformat.write(nb, folder / name)


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("RADIOGAN_NOTEBOOKS", str(folder))
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook(
        folder,
        "00_first.ipynb",
        "(run / 'a.txt').write_text(str(cfg.seed))\nprint('… step 1')\nprint('chatter')",
        makes=["{run}/a.txt"],
    )
    notebook(
        folder,
        "01_second.ipynb",
        "(run / 'b.txt').write_text((run / 'a.txt').read_text() + '!')",
        needs=["{run}/a.txt"],
        makes=["{run}/b.txt"],
    )
    return tmp_path


def test_runs_in_order_and_never_twice(home, capsys):
    assert batch.main(["--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    assert (
        out.index("00_first") < out.index("01_second")
        and "… step 1" in out
        and "chatter" not in out
    )
    run = home / "runs" / "smoke"
    assert (run / "b.txt").read_text() == "0!"
    assert nbformat.read(run / "00_first.ipynb", 4).cells[1].metadata.tags == ["parameters"]

    assert batch.main(["--profile", "smoke"]) == 0
    assert capsys.readouterr().out.count("finished before") == 2

    (run / "b.txt").unlink()
    batch.main(["--profile", "smoke"])
    out = capsys.readouterr().out
    assert out.count("finished before") == 1 and (run / "b.txt").exists()

    (run / "a.txt").write_text(
        "9"
    )  # what the second needs has changed, what the first made is still there
    batch.main(["--profile", "smoke"])
    assert (run / "b.txt").read_text() == "9!"


MEASURE = """import json, time
(run / 'history.csv').write_text(
    'epoch,steps,seconds,label_agreement\\n1,5,30.0,0.25\\n2,10,30.0,' + str(0.5 + cfg.seed / 10)
)
if cfg.seed == 1 and cfg.recipe == 'paper':
    raise KeyError('gone')
m = {'value': 0.5 + cfg.seed / 100, 'low': 0.4, 'high': 0.6, 'p': 0.3}
(run / 'metrics.json').write_text(json.dumps({
    'seed': cfg.seed, 'n': {'train': 40}, 'provenance': {'settings': {'recipe': cfg.recipe}},
    'verdict': {'word': 'no sign'}, 'detectable': {'smallest': 0.1}, 'quality': {},
    'memorization': {'membership_auc': m},
}))"""


@pytest.fixture
def measured(home):
    """Three notebooks: one makes a dataset that the experiments share, two measure, and fail for
    seed 1 of the paper's recipe."""
    shared = (
        "d = paths.dataset_dir(cfg); d.mkdir(parents=True, exist_ok=True); f = open(d / 'made', "
        "'a'); f.write('x'); f.close()"
    )
    notebook(paths.notebooks(), "00_first.ipynb", shared, makes=["{dataset}/made"])
    notebook(paths.notebooks(), "01_second.ipynb", MEASURE, makes=["{run}/metrics.json"])
    return home


SWEEP = ["--profile", "smoke", "--set", "seed=0,1", "--set", "recipe=paper,improved"]


def test_a_sweep_ends_in_one_table_and_outlives_a_failure(measured, capsys):
    import pandas as pd

    assert batch.main([*SWEEP, "--jobs", "2"]) == 1  # one failed
    out, sweeps = capsys.readouterr().out, measured / "runs" / "sweeps"
    found = pd.read_csv(sweeps / "smoke-seed=0,1-recipe=paper,improved.csv")
    assert found["seed"].tolist() == [0, 0, 1, 1]
    assert found["recipe"].tolist() == ["paper", "improved"] * 2
    failed = found["ended"] != "well"
    assert failed.tolist() == [False, False, True, False], found.to_string()
    assert "01_second.ipynb" in found["ended"][2] and found[failed]["membership_auc"].isna().all()
    assert found[~failed]["membership_auc"].round(3).tolist() == [0.5, 0.5, 0.51]
    assert found["training_label_agreement"].tolist() == [0.5, 0.5, 0.6, 0.6]
    assert (found["training_minutes"] == 1).all()
    assert str(measured) not in found.to_csv()
    assert "KeyError" in out and "over the seeds" in out and "0.505 (0.5 to 0.51)" in out
    # one dataset for all four, made before the rest started: never by two at once
    assert len(list((measured / "data").rglob("made"))) == 1
    names = {p.name for p in (measured / "runs").iterdir()}
    assert names > {"smoke", "smoke-seed=1", "sweeps"} and len(names) == 5


def test_a_sweep_on_a_dask_scheduler(home, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        1, processes=False, threads_per_worker=2, dashboard_address=None
    ) as cluster:
        options = ["--set", "seed=0,1", "--to", "00", "--scheduler", cluster.scheduler_address]
        assert batch.main(["--profile", "smoke", *options]) == 0
    assert "sweeps/smoke-seed=0,1.csv" in capsys.readouterr().out
    assert (home / "runs" / "smoke-seed=1" / "a.txt").read_text() == "1"


def test_a_misspelt_sweep_runs_nothing(measured, capsys):
    assert batch.main(["--profile", "smoke", "--set", "seed=0,1", "--set", "epocs=3"]) == 1
    assert "epocs" in capsys.readouterr().err and not (measured / "runs").exists()


@pytest.mark.parametrize(
    "setting, words",
    [
        ("epocs=3", ["epocs", "epochs", "seed"]),
        ("epochs", ["name=value"]),
        ("epochs=x", ["must be int"]),
        ("epochs=[", ["not readable"]),
    ],
)
def test_a_misspelt_parameter_is_an_error_that_names_the_known(home, capsys, setting, words):
    assert batch.main(["--profile", "smoke", "--set", setting]) == 1
    err = capsys.readouterr().err
    assert all(w in err for w in words) and not (home / "runs").exists()


def test_a_failing_cell_is_shown_and_the_rest_kept(home, capsys):
    notebook(paths.notebooks(), "01_second.ipynb", "x = 1\nraise KeyError('gone')")
    assert batch.main(["--profile", "smoke"]) == 1
    err = capsys.readouterr().err
    assert (
        "01_second.ipynb, In [4]: x = 1" in err
        and "runs/smoke/01_second.failed.ipynb" in err
        and "KeyError" in err
        and "\x1b[" not in err
    )
    run = home / "runs" / "smoke"
    assert (
        (run / "a.txt").exists()
        and (run / "01_second.failed.ipynb").exists()
        and not (run / "01_second.ipynb").exists()
    )


def test_a_dead_kernel_is_reported_at_once(home, capsys):
    notebook(paths.notebooks(), "00_first.ipynb", "import os\nos._exit(9)")
    assert batch.main(["--profile", "smoke"]) == 1
    assert "kernel died" in capsys.readouterr().err


def test_a_cell_that_takes_too_long_is_stopped(home, capsys):
    notebook(paths.notebooks(), "00_first.ipynb", "import time\ntime.sleep(60)")
    assert batch.main(["--profile", "smoke", "--set", "cell_timeout_s=10"]) == 1
    assert "cell_timeout_s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, expected",
    [
        ("seed=0,1,2", ("seed", [0, 1, 2])),
        ("learning_rate=1e-4", ("learning_rate", [1e-4])),
        ("train_exams=[8,4]", ("train_exams", [[8, 4]])),
        ("leave_out='tumour,lung'", ("leave_out", ["tumour,lung"])),
        ("cohort=a,b.csv", ("cohort", ["a,b.csv"])),
        ("balanced=true", ("balanced", [True])),
        ("class_a=", ("class_a", [""])),
    ],
)
def test_parse_setting(text, expected):
    assert batch.parse_setting(text) == expected


def test_settings_that_no_notebook_names_travel_in_the_settings_table(home):
    given = batch.parameters_for(
        paths.notebooks() / "00_first.ipynb", "smoke", {"seed": 3, "epochs": 2}, {"seed", "class_a"}
    )
    assert given == {"profile": "smoke", "seed": 3, "settings": {"epochs": 2}}


def test_a_cohort_is_found_from_where_the_user_stands(home, monkeypatch, capsys):
    (home / "mine").mkdir()
    (home / "mine" / "a.csv").write_text("exam_id,patient_id,class,path\n")
    monkeypatch.chdir(home / "mine")
    assert batch.portable({"cohort": "a.csv"}) == {"cohort": "mine/a.csv"}
    assert (
        paths.cohort_path(config.load("smoke", cohort="mine/a.csv"))
        == (home / "mine" / "a.csv").resolve()
    )
    assert batch.main(["--profile", "smoke", "--set", "cohort=gone.csv"]) == 1
    assert "gone.csv does not exist" in capsys.readouterr().err


def test_publish_writes_clean_notebooks_back(home):
    notebook(
        paths.notebooks(),
        "00_first.ipynb",
        "import sys\nprint('kept')\nprint('… dropped', "
        "file=sys.stdout)\nsys.stderr.write('dropped')\n1 + 1",
    )
    assert batch.main(["--profile", "smoke", "--to", "00"]) == 0
    assert publish.main([str(home / "runs" / "smoke"), "--to", "00"]) == 0
    nb = nbformat.read(paths.notebooks() / "00_first.ipynb", 4)
    assert set(nb.metadata) <= {"kernelspec", "language_info", "radiogan"} and nb.metadata.radiogan
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == [1, 2, 3]
    assert not any("injected-parameters" in c.metadata.get("tags", []) for c in nb.cells)
    text = json.dumps(code[-1].outputs)
    assert "kept" in text and "dropped" not in text and '"2"' in text


def test_publish_refuses_errors_and_giants(home):
    batch.main(["--profile", "smoke", "--to", "00"])
    run, source = home / "runs" / "smoke", paths.notebooks() / "00_first.ipynb"
    before = source.read_text()
    nb = nbformat.read(run / source.name, 4)
    nb.cells[-1].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="x" * publish.BUDGET_NOTEBOOK)
    ]
    nbformat.write(nb, run / source.name)
    with pytest.raises(config.RadioganError, match="budget"):
        publish.publish(run, [source])
    nb.cells[-1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    nbformat.write(nb, run / source.name)
    with pytest.raises(config.RadioganError, match="error output"):
        publish.publish(run, [source])
    assert source.read_text() == before


def test_every_real_notebook_declares_what_it_needs_and_makes():
    for path in sorted((paths.REPO / "notebooks").glob("*.ipynb")):
        declared = json.loads(path.read_text())["metadata"]["radiogan"]
        assert set(declared) == {"needs", "makes"}
        assert all(
            d.split("/")[0] in ("{dataset}", "{run}", "{cohort}")
            for d in sum(declared.values(), [])
        )


def test_progress_is_a_few_lines_when_headless(monkeypatch, capsys):
    from radiogan_lib.machine import Progress

    monkeypatch.setenv("RADIOGAN_HEADLESS", "1")
    clock = iter(range(0, 10**6, 3))
    monkeypatch.setattr("radiogan_lib.machine.time.monotonic", lambda: float(next(clock)))
    with Progress(1000, "preparing") as p:
        for _ in range(1000):
            p.update(1, "note")
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 10 and all(s.startswith("… preparing: ") for s in lines)


def test_progress_counts_its_time_from_where_it_continues(monkeypatch, capsys):
    from radiogan_lib.machine import Progress

    monkeypatch.setenv("RADIOGAN_HEADLESS", "1")
    now = [0.0]
    monkeypatch.setattr("radiogan_lib.machine.time.monotonic", lambda: now[0])
    with Progress(1000, "training", lines=10, done=500) as p:
        for _ in range(100):  # 100 steps in 400 s, 400 steps are left
            now[0] += 4
            p.update()
    assert "600 of 1000, about 1600 s left" in capsys.readouterr().out


def test_a_red_frame_stays_red_and_greys_stay_even():
    """Figure 6c frames the blend in red: it was published black once, when greys and colours shared
    few places."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    pixels = np.repeat(
        np.random.default_rng(0).integers(0, 256, (200, 300, 1), np.uint8), 3, axis=2
    )
    pixels[:4] = (200, 0, 0)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    for greys, _ in publish.LEVELS:
        small = publish.slim(base64.b64encode(packed.getvalue()).decode(), greys)
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(small))).convert("RGB")).astype(
            int
        )
        assert (np.abs(back[:4] - (200, 0, 0)) < 8).all()
        assert np.abs(back[4:] - pixels[4:]).max() <= 255 / (greys - 1) / 2 + 1
