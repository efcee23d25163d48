"""metrics.json, the page and the card: valid, self-contained, and written whole."""

import json
import re

import numpy as np
import pytest
import toy_mips

from radiogan_lib import paths
from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    evaluate,
    model_card,
    recipe_rows,
    sweep_table,
    write_report,
)
from radiogan_lib.evaluation.report import html, mosaic, validate
from radiogan_lib.evaluation.statistics import MEASURES


@pytest.fixture(scope="module")
def world():
    return [ImageSet(*s) for s in toy_mips.split(41, n_train=80, n_holdout=60, n_fresh=80)]


@pytest.fixture(scope="module")
def report(world):
    rng = np.random.default_rng(0)
    parts = {
        "provenance": {"recipe": "paper"},
        "discriminator_scores": {"train": rng.normal(1, 1, 80), "holdout": rng.normal(0, 1, 60)},
    }
    return evaluate(*world, parts, ["a", "b <i>", "c", "d", "e"], rounds=50)


def test_written_files(report, tmp_path):
    written = write_report(report, tmp_path)
    metrics = json.loads(written["metrics"].read_text())
    validate(metrics)
    assert (
        metrics["n"] == {"train": 80, "holdout": 60, "generated": 80}
        and len(metrics["controls"]) == 5
    )
    assert metrics["memorization"]["discriminator_auc"]["low"] > 0.5
    page, card = written["page"].read_text(), written["card"].read_text()
    assert metrics["verdict"]["sentence"] in card and "Not for diagnosis" in card
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"""(src|href)=["'](?!data:)""", page) and "<script" not in page, (
        "nothing is fetched, nothing runs"
    )
    assert "b &lt;i&gt;" in page and "b <i>" not in page, "names from outside are escaped"
    for kind in ("copier", "blender", "collapsed", "blurred", "ideal"):
        assert f"<td>{kind}</td>" in page
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.json", "report.html", "MODEL_CARD.md"}


def test_unknown_labels_are_counted(world):
    t, p, f = world
    labels = np.where(np.arange(len(f)) % 3 == 0, 7, f.labels)
    parts = {"controls": False}
    report = evaluate(t, p, ImageSet(f.images, labels), parts, list("abcdefgh"), rounds=20)
    said = [n for n in report["memorization"]["notes"] if "without training images" in n]
    assert len(said) == 1 and said[0].startswith("27 of 80 generated images have labels")
    assert "(h)" in said[0] and said[0] in html(report).replace(said[0].capitalize(), said[0])
    assert not evaluate(t, p, f, parts, list("abcde"), rounds=20)["memorization"]["notes"]


def test_card_says_whose_images_they_may_be(report):
    assert "no proof of privacy" in model_card(report)
    copier = report | {
        "verdict": report["verdict"] | {"flags": report["verdict"]["flags"] | {"memorises": True}}
    }
    assert "patient data" in model_card(copier) and "no proof" not in model_card(copier)


def test_page_from_metrics_json_alone(report):
    assert "data:image" not in html(json.loads(json.dumps(report)))


def test_pictures_show_the_right_exams(world):
    import io

    from PIL import Image

    a, b = np.zeros((2, 10, 6), np.float32), np.ones((1, 10, 6), np.float32)
    sheet = np.asarray(Image.open(io.BytesIO(mosaic([a, b], (0, 1), side=10))))
    assert sheet.shape == (2 * 10 + 3, 2 * 6 + 3)
    assert (
        (sheet[:10, :6] == 255).all()
        and (sheet[13:, :6] == 0).all()
        and (sheet[13:, 9:] == 255).all()
    )


def test_what_is_no_report_is_refused(report):
    for path, bad in (
        (("verdict", "word"), "fine"),
        (("memorization", "copy_fraction"), {"value": 3, "low": 0, "high": 1}),
        (("quality", "pixels"), {}),
        (("memorization", "facts"), None),
    ):
        broken = json.loads(json.dumps(report))
        broken[path[0]][path[1]] = bad
        with pytest.raises(EvaluationError, match=path[0]):
            write_report(broken, "/nonexistent")


def test_page_leads_with_what_decides(report):
    page = html(report)
    first = page[: page.index("<details>")]
    for words in (report["verdict"]["sentence"], "What it rests on", "What it cannot know"):
        assert words in first
    assert first.count("<img") == 3 and first.count("<table>") == 1
    assert page.count("<details>") >= 6 and "copied lesion" in first


def test_every_measure_is_in_the_registry(report):
    named = {k for k, v in report["memorization"].items() if isinstance(v, dict) and "low" in v}
    named |= {k for k, v in report["quality"].items() if isinstance(v, dict) and "low" in v}
    named |= set(report["quality"]["pixels"])
    assert named <= set(MEASURES)


def test_no_labels(world):
    r = evaluate(*(s.images for s in world), {"controls": False}, rounds=30)
    assert r["class_names"] is None and "classes" not in r["quality"] and r["controls"] is None
    validate(r)
    with pytest.raises(EvaluationError, match="labels"):
        evaluate(*(s.images for s in world), {"utility": True})


def test_labels_may_be_codes(world):
    coded = [ImageSet(s.images, s.labels * 10**9 + 7) for s in world]
    r = evaluate(*coded, {"controls": False}, rounds=30)
    assert (
        r["class_names"][:2] == ["class 7", "class 1000000007"] and "0" in r["quality"]["classes"]
    )
    with pytest.raises(EvaluationError, match="class names"):
        evaluate(*coded, {"controls": False}, ["a", "b"])


def test_settings_that_make_no_sense_are_refused(world):
    for bad, word in (({"rounds": 0}, "rounds is 0"), ({"seed": -1}, "seed -1")):
        with pytest.raises(EvaluationError, match=word):
            evaluate(*world, **bad)
    with pytest.raises(EvaluationError, match="no part 'control'"):
        evaluate(*world, {"control": False})


def test_sweep(report, tmp_path):
    small = json.loads(json.dumps(report))
    small["n"]["train"], small["provenance"] = 16, {"settings": {"recipe": "improved", "seed": 3}}
    write_report(report, tmp_path / "a")
    table = sweep_table([tmp_path / "a", small, {**small, "n": {**small["n"], "train": 8}}])
    assert table["recipe"].tolist() == ["improved", "improved", "paper"] and table[
        "n_train"
    ].tolist() == [8, 16, 80]
    assert (table["membership_auc_low"] <= table["membership_auc"]).all()
    with pytest.raises(EvaluationError, match="metrics.json"):
        sweep_table([tmp_path / "nowhere"])


def test_tumour_auc_learns_from_one_set_and_asks_the_other(monkeypatch):
    """Classifiers stand in that call bright images tumours; one dim tumour costs 1 pair in 4."""
    monkeypatch.syspath_prepend(str(paths.REPO / "benchmarks"))
    import recipes

    class Bright:
        def probabilities(self, images):
            p = images.mean((1, 2))
            return np.stack([1 - p, p], axis=1)

    learned = []

    def train_classifier(images, n_classes, epochs, seed):
        learned.append((images.labels.tolist(), n_classes, epochs, seed))
        return Bright()

    monkeypatch.setattr(recipes.evaluation, "train_classifier", train_classifier)
    images = np.array([0.1, 0.3, 0.9, 0.2])[:, None, None] * np.ones((1, 4, 4), "float32")
    unseen = ImageSet(images, np.array([1, 1, 0, 2]))
    found = recipes.tumour_auc(ImageSet(images, np.array([2, 1, 0, 1])), unseen, 1, 7)
    assert learned == [([1, 0, 1, 0], 2, 7, k) for k in (0, 1, 2)]
    assert found.value == 0.75


def test_recipes_stand_beside_each_other(tmp_path):
    csv = tmp_path / "recipes.csv"
    csv.write_text(
        "run,recipe,seed,steps,measure,value,low,high\na,improved,0,14880,TSTR,0.8,0.7,0.9\na,improved,0,14880,realism,0.9,,\n"
        "b,paper,0,9920,TSTR,0.2,0.1,0.3\nb,paper,0,9920,realism,1.5,,\n"
    )
    rows = recipe_rows(csv)
    assert [r["measure"] for r in rows] == ["TSTR", "realism"], "the order of the csv"
    assert rows[0] == {
        "measure": "TSTR",
        "improved, 14,880 steps, seed 0": {"value": 0.8, "low": 0.7, "high": 0.9},
        "paper, 9,920 steps, seed 0": {"value": 0.2, "low": 0.1, "high": 0.3},
    }
    assert rows[1]["paper, 9,920 steps, seed 0"] == 1.5
    csv.write_text("a,b\n1,2\n")
    for wrong in (csv, tmp_path / "nowhere.csv"):
        with pytest.raises(EvaluationError, match="recipes.py makes it"):
            recipe_rows(wrong)
