"""The rows of benchmarks/ablation.py: what each of them changes, further rows from the command
line, and the table that grows."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from radiogan_lib import config, data, evaluation

PLACE = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch, tmp_path):
    """The script, its trainings and judges replaced by a note of what was asked."""
    monkeypatch.syspath_prepend(str(PLACE))
    monkeypatch.delitem(sys.modules, "n_sweep", raising=False)
    spec = importlib.util.spec_from_file_location("ablation", PLACE / "ablation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.asked = []

    def one(cfg, train, holdout, n, place, more, command):
        module.asked.append((place.name, cfg))
        return {"seed": cfg.seed, "steps": cfg.epochs}

    monkeypatch.setattr(
        data,
        "load",
        lambda folder, split: type(
            "Exams", (), {"suv": None, "labels": None, "class_names": "ab", "__len__": lambda s: 10}
        )(),
    )
    monkeypatch.setattr(evaluation, "train_classifier", lambda *_, **__: None)
    monkeypatch.setattr(evaluation, "sweep_table", pd.DataFrame)
    monkeypatch.setattr(module.n_sweep, "one", one)
    monkeypatch.setattr(module.paths, "need", lambda path, notebook: path)
    monkeypatch.setattr(module.paths, "home", lambda: tmp_path)
    module.csv = tmp_path / "ablation.csv"
    return module


def test_every_row_changes_what_it_says(ablation):
    rows, paper = ablation.rows(), config.Config()
    assert set(rows) == {"improved", "paper"} | {
        f"without {k}" for k in config.RECIPES["improved"]
    } | {f"with {k}" for k in ablation.LEFT_OFF}
    whole = config.load("teach", recipe="improved")
    for name, settings in rows.items():
        cfg = config.load("teach", **settings)
        changed = {
            k
            for k in cfg.stage("gan")
            if k != "recipe" and cfg.stage("gan")[k] != whole.stage("gan")[k]
        }
        if name.startswith("without"):
            assert changed == {name.split()[1]} and getattr(cfg, name.split()[1]) == getattr(
                paper, name.split()[1]
            )
        elif name.startswith("with"):
            assert changed and changed <= set(settings)


def test_further_rows_and_a_table_without_doubles(ablation):
    ask = ["--profile", "smoke", "--csv", str(ablation.csv), "--rows", "improved", "--epochs", "7"]
    assert (
        ablation.main(
            [
                *ask,
                "--seeds",
                "0,1",
                "--also",
                "auxiliary 0.8:auxiliary=0.8;lecam=0",
                "shifts:diffaugment=translation",
            ]
        )
        == 0
    )
    assert [place for place, _ in ablation.asked] == [
        f"{row}-7epochs-seed{seed}"
        for seed in (0, 1)
        for row in ("improved", "auxiliary-0.8", "shifts")
    ]
    _, cfg = ablation.asked[1]
    assert (cfg.recipe, cfg.auxiliary, cfg.lecam, cfg.epochs, cfg.seed) == (
        "improved",
        0.8,
        0.0,
        7,
        0,
    )
    assert ablation.asked[5][1].diffaugment == "translation" and ablation.asked[5][1].seed == 1
    assert ablation.main([*ask, "--seeds", "1,2"]) == 0  # seed 1 once more, seed 2 new
    table = pd.read_csv(ablation.csv)
    assert sorted(zip(table.row, table.seed, strict=True)) == [
        ("auxiliary 0.8", 0),
        ("auxiliary 0.8", 1),
        ("improved", 0),
        ("improved", 1),
        ("improved", 2),
        ("shifts", 0),
        ("shifts", 1),
    ]


def test_a_misspelt_setting_is_one_sentence(ablation):
    with pytest.raises(config.ConfigError, match="auxiliary"):
        ablation.main(["--profile", "smoke", "--csv", str(ablation.csv), "--also", "x:giude=0.8"])


@pytest.mark.parametrize(
    "words, fault",
    [
        (("--seeds", "-1"), "seed = -1"),
        (("--seeds", "a"), "invalid literal"),
        (("--epochs", "-1"), "epochs = -1"),
        (("--rows", "papre"), "no row 'papre'"),
    ],
)
def test_senseless_options_are_refused_before_anything_is_read(ablation, capsys, words, fault):
    with pytest.raises(SystemExit):
        ablation.main(["--profile", "smoke", "--csv", str(ablation.csv), *words])
    assert fault in capsys.readouterr().err
