"""Memorisation against the number of training exams: which exams, how many steps, what is kept, and
the figure."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import toy_mips

from radiogan_lib import data, gan, lab
from radiogan_lib.data.dataset import MipDataset

PLACE = Path(__file__).parents[1] / "benchmarks" / "n_sweep.py"
NAMES = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]


@pytest.fixture(scope="module")
def n_sweep():
    spec = importlib.util.spec_from_file_location("n_sweep", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dataset(n: int, seed: int) -> MipDataset:
    labels = np.arange(n) % 5
    exams = pd.DataFrame(
        {
            "exam_id": [f"e{k}" for k in range(n)],
            "patient_id": [f"p{k}" for k in range(n)],
            "split": "train",
            "class": [NAMES[c] for c in labels],
        }
    )
    return MipDataset(toy_mips.exams(labels, seed), exams, NAMES, (900.0, 540.0), 30.0, "0" * 64)


def test_smaller_sets_are_parts_of_larger_ones(n_sweep):
    labels, patients = (
        np.arange(100) % 5,
        np.arange(100) // 2 * 2,
    )  # every patient twice, of two classes
    for seed in (0, 1):
        small, large = (n_sweep.nested(labels, patients, n, seed) for n in (16, 45))
        np.testing.assert_array_equal(large[:16], small)
        assert np.ptp(np.bincount(labels[small], minlength=5)) <= 1
        assert len(set(patients[large])) == 45, "one exam a patient while there are enough"
    assert set(n_sweep.nested(labels, patients, 100, 0)) == set(range(100))
    assert list(n_sweep.nested(labels, patients, 16, 0)) != list(
        n_sweep.nested(labels, patients, 16, 1)
    )


def test_equal_steps_and_one_row_per_run(n_sweep, monkeypatch, tmp_path):
    train, holdout, seen = dataset(60, 1), dataset(40, 2), []

    def fake_train(cfg, mips, folder):
        seen.append((len(mips), len({x.tobytes() for x in mips.suv})))
        return SimpleNamespace(
            generator=mips, history=pd.DataFrame({"steps": [cfg.epochs * len(mips)]})
        )

    monkeypatch.setattr(data, "load", lambda folder, split: train if split == "train" else holdout)
    monkeypatch.setattr(n_sweep.paths, "need", lambda path, notebook: path)
    # a generator that stores its exams: what it draws are copies of those it was given
    monkeypatch.setattr(gan, "train", fake_train, raising=False)
    monkeypatch.setattr(
        gan, "sample", lambda mips, labels, seed: mips.suv * np.float32(1.001), raising=False
    )
    monkeypatch.setattr(
        gan, "discriminator_scores", lambda run, suv, labels: suv.mean(axis=(1, 2)), raising=False
    )
    csv = tmp_path / "n.csv"
    ask = [
        "--profile",
        "smoke",
        "--sizes",
        "15,1000",
        "--runs",
        str(tmp_path / "runs"),
        "--csv",
        str(csv),
    ]
    assert n_sweep.main([*ask, "--seeds", "0"]) == 0
    assert [k for k, _ in seen] == [60, 60], "as many exams in an epoch, whatever n"
    assert [k for _, k in seen] == [15, 60]
    assert n_sweep.main([*ask, "--seeds", "0,1"]) == 0
    assert len(seen) == 4, "a finished run is not made again"
    table = pd.read_csv(csv)
    assert table[["n_train", "seed"]].values.tolist() == [[15, 0], [15, 1], [60, 0], [60, 1]]
    assert (table["verdict"] == "memorises").all() and table["steps"].nunique() == 1
    figure = lab.sweep(csv)
    assert [ax.get_title() for ax in figure.axes] == [
        "membership AUC",
        "copy fraction",
        "discriminator's AUC",
    ]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["15", "60"]


def test_figure_without_a_csv_says_how_to_make_it(tmp_path):
    assert "n_sweep.py makes it" in str(lab.sweep(tmp_path / "n_sweep.csv"))
