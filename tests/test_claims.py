"""The experiments of docs/claims.md: cells are kept, trainings stop for a look, judges stand on the
right sides, figures draw."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy_mips

from radiogan_lib import evaluation, lab, paths
from radiogan_lib.data.dataset import MipDataset
from radiogan_lib.lab import charts

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tools():
    return loaded("claims_tools")


@pytest.fixture(scope="module")
def claims(tools):
    return loaded("claims")


def dataset(n: int, seed: int) -> MipDataset:
    labels = np.arange(n) % 5
    exams = pd.DataFrame(
        {
            "exam_id": [f"e{seed}-{k}" for k in range(n)],
            "patient_id": [f"p{seed}-{k}" for k in range(n)],
            "split": "train",
            "class": [NAMES[c] for c in labels],
            "path": "",
        }
    )
    suv = evaluation.area_average(toy_mips.exams(labels, seed), (20, 12))
    return MipDataset(suv, exams, NAMES, (900.0, 540.0), 30.0, "0" * 64)


def small():
    from radiogan_lib import config

    return dataclasses.replace(
        config.load("teach"),
        doublings=2,
        batch_size=8,
        generator_channels=8,
        discriminator_channels=4,
        noise_dim=6,
    )


def test_a_finished_cell_is_not_made_again(tools, tmp_path):
    def rows():
        return [{"measure": "kid", "value": 1.0, "low": None, "high": None}]

    key = {"arm": "one model", "seed": 0}
    first = tools.cell(tmp_path, "x", key, rows)
    again = tools.cell(tmp_path, "x", key, lambda: pytest.fail("made twice"))
    assert first == again == [key | rows()[0]]
    table = tools.collect(tmp_path, "x", tmp_path)
    assert list(table["value"]) == [1.0] and (tmp_path / "x.csv").exists()


def test_many_walks_become_one_row(tools, tmp_path):
    walks = [
        {"walk": k, "measure": m, "value": v, "low": None, "high": None}
        for m, values in (("blend", (0, 0, 1, 1, 1)), ("red_residual", (1, 2, 3, 4, 9)))
        for k, v in enumerate(values)
    ]
    one = {"measure": "kid", "value": 1.0, "low": 0.5, "high": 1.5}
    none = [row | {"value": 0} if row["measure"] == "blend" else row for row in walks]
    # the key that comes first in the files is not the first in the alphabet
    tools.cell(tmp_path, "cgan", {"file": 1, "arm": "b"}, lambda: [one, *walks])
    tools.cell(tmp_path, "cgan", {"file": 2, "arm": "a"}, lambda: [one, *none])
    table = tools.collect(tmp_path, "cgan", tmp_path, every_walk=False).drop(columns="file")
    found = table[table["arm"] == "b"].set_index("measure")
    assert len(table) == 6 and "walk" not in table
    assert table[(table["arm"] == "a") & (table["measure"] == "blend")]["value"].item() == 0
    assert found.loc["blend", "value"] == 0.6 and np.isnan(found.loc["blend", "low"])
    assert found.loc["red_residual", ["value", "low", "high"]].tolist() == [3, 2, 4]
    assert found.loc["kid", ["value", "low", "high"]].tolist() == [1, 0.5, 1.5]


def test_one_compiled_model_serves_several_trainings_and_the_seed_decides(tools, monkeypatch):
    monkeypatch.setattr(tools, "STRETCH", 2)
    monkeypatch.setattr(tools, "filled", np.arange)
    mips, cfg = dataset(20, 0), small()

    def drawn(seed):
        found = tools.train(
            dataclasses.replace(cfg, seed=seed),
            mips,
            4,
            lambda g: tools.draw(g, [1] * 5, 0).images,
            at=[2, 4],
        )
        assert list(found) == [2, 4] and not np.array_equal(found[2], found[4])
        return found[4]

    first, other, again = drawn(1), drawn(2), drawn(1)
    assert len(tools._BUILT) == 1
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_copies_and_fresh_exams_stand_on_their_sides(tools):
    train, held, fresh = (tools.as_images(dataset(60, k)) for k in range(3))
    copies = evaluation.ImageSet(train.images * 1.001, train.labels)
    fake = evaluation.ImageSet(fresh.images[::-1] * 0.3, fresh.labels)

    def value(rows, name):
        return next(r["value"] for r in rows if r["measure"] == name)

    assert value(tools.memory(train, held, copies), "membership_auc") > 0.9
    assert value(tools.memory(train, held, fresh), "membership_auc") < 0.7
    assert value(tools.memory(train, held, copies), "copy_fraction") == 1
    good, bad = (tools.quality(train, held, x, rounds=10) for x in (fresh, fake))
    assert value(good, "kid") < value(bad, "kid") and value(good, "coverage") > value(
        bad, "coverage"
    )


def test_proportions_are_the_papers_and_no_patient_is_on_both_sides(tools, claims):
    mips = dataset(1000, 0)
    world = tools.World("phantoms", mips, dataset(50, 1), small())
    train, held = claims.proportional(world, 0)
    assert np.bincount(train.labels).tolist() == [150, 94, 22, 42, 50]
    assert np.bincount(held.labels).tolist() == [60] * 5
    assert not np.array_equal(train.suv, claims.proportional(world, 1)[0].suv)


def test_real_exams_change_places_and_the_held_out_split_is_not_touched(tools, claims):
    world = tools.World("real", dataset(40, 0), None, small())
    (a, b), (c, d) = (claims.proportional(world, seed) for seed in (0, 1))
    assert np.array_equal(a.suv, d.images) and np.array_equal(b.images, c.suv)
    assert len(a) + len(b) == 40


def test_a_cross_fade_is_told_from_a_bent_path(tools, claims):
    from radiogan_lib.evaluation.walks import WalkReference

    train, held = (tools.as_images(dataset(40, k)) for k in range(2))
    reference = WalkReference(train, held, (20, 12))
    share = np.linspace(0, 1, 9)[:, None, None]
    fade = (1 - share) * held.images[0] + share * held.images[1]
    bent = fade + share * (1 - share) * 4 * held.images[2]

    def value(frames, name):
        return next(r["value"] for r in claims._walked(reference, frames) if r["measure"] == name)

    assert value(fade, "chord_ratio") == pytest.approx(1, abs=1e-4)
    assert value(bent, "chord_ratio") > 1.2 and value(bent, "off_chord") > value(fade, "off_chord")


def test_a_blend_of_two_training_exams_is_named_and_a_copy_is_not(tools, claims):
    from radiogan_lib.evaluation.walks import WalkReference

    train, held = (tools.as_images(dataset(30, k)) for k in range(2))
    reference = WalkReference(train, held, (20, 12))
    share = np.linspace(0, 1, 9)[:, None, None]
    first, second = train.images[0], train.images[6]

    def blend(frames):
        rows = claims._blend(reference.measure(frames), len(frames))
        return next(r["value"] for r in rows if r["measure"] == "blend")

    assert blend((1 - share) * first + share * second) == 1
    assert blend(np.where(share < 0.5, first, second)) == 0


def test_trainings_are_drawn_by_class_and_over_time():
    rows = [
        {"world": "phantoms", "arm": arm, "seed": seed, "class": c, "exams": n, "measure": m}
        | {"value": 0.5 + 0.1 * seed, "steps": 50 * (1 + seed)}
        for arm in ("one model", "five models")
        for seed in (0, 1)
        for n, c in enumerate(NAMES, 9)
        for m in (*charts.PANELS, "trtr")
    ]
    by_class = lab.one_or_five(pd.DataFrame(rows)).axes
    assert len(by_class) == 6
    assert "(9)" in by_class[0].get_xticklabels()[-1].get_text()  # the smallest class comes last
    lines = lab.over_time(pd.DataFrame(rows)).axes[0].lines
    assert [line.get_label() for line in lines] == ["9", "10", "11", "12", "13"]
    assert lines[0].get_xdata().tolist() == [50, 100]


def test_walks_are_drawn_and_a_missing_table_names_its_command(tmp_path):
    walks = [
        {"kind": kind, "walk": k, "measure": m, "value": 1.0 + k}
        for kind in ("slerp", "true morph", "cross-fade of held-out exams")
        for k in range(4)
        for m in ("chord_ratio", "off_chord", "fine_detail", "lowest_residual")
    ]
    assert len(lab.walk_distributions(pd.DataFrame(walks)).axes) == 4
    with pytest.raises(paths.MissingArtefact, match="claims.py over_time"):
        lab.claim("over_time", tmp_path)


@pytest.mark.parametrize(
    "words, fault",
    [
        (("--steps", "0"), "--steps"),
        (("--frames", "1"), "--frames from 2"),
        (("--sizes", "16,0"), "--sizes"),
        (("--seeds", "-1"), "--seeds are whole numbers from 0"),
    ],
)
def test_senseless_options_are_refused_before_anything_is_read(claims, capsys, words, fault):
    with pytest.raises(SystemExit):
        claims.main(["one_or_five", *words])
    assert fault in capsys.readouterr().err.splitlines()[-1]


def test_kept_walks_are_drawn_and_those_of_real_exams_stay_out_of_the_tables(
    tools, claims, tmp_path, monkeypatch
):
    from radiogan_lib.evaluation.walks import WalkReference

    exams = dataset(30, 0)
    train, held = tools.as_images(exams), tools.as_images(dataset(30, 1))
    frames = train.images[:4]
    walk = {"typical walk": (frames, WalkReference(train, held, (20, 12)).measure(frames))}
    tools.keep(tmp_path / "results", "cgan", "a cell", walk)
    again = tools.kept(tmp_path / "results", "cgan", "a cell")
    assert np.array_equal(again["typical walk"][0], frames)
    assert again["typical walk"][1] == walk["typical walk"][1]
    assert tools.kept(tmp_path / "results", "cgan", "another") == {}

    monkeypatch.setattr(tools, "cell", lambda *_: [])
    monkeypatch.setattr(tools, "kept", lambda *_: again)
    for world in "phantoms", "real":
        tables = tmp_path / world
        command = ["--world", world, "--seeds", "0", "--tables", str(tables)]
        monkeypatch.setattr(
            tools, "world", lambda name, *_: tools.World(name, exams, exams, small())
        )
        claims.main(["cgan", *command, "--results", str(tmp_path / "results")])
        assert (tables / "cgan.png").exists() == (world == "phantoms")
    assert (tmp_path / "results" / "cgan.png").exists()
