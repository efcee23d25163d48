"""The manifest of the real pictures is what it says, and no picture of an exam is in this
repository."""

import base64
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_pictures
from PIL import Image

from radiogan_lib import config, data, paths
from radiogan_lib.data import pictures

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"
REAL = SHARED / "real_whole_body_mips"
here = pytest.mark.skipif(not REAL.exists(), reason="the real pictures are not here (shared/data)")
MANIFEST = pd.read_csv(real_pictures.MANIFEST, dtype=str)
MAY_HOLD_IMAGES = (*pictures.IMAGES, ".ipynb", ".html", ".svg", ".md", ".json", ".js")


@here
def test_the_manifest_is_the_shared_folder():
    exams = pd.read_csv(REAL / "cohort.csv", dtype=str)
    digests = [real_pictures.digest(REAL / p) for p in exams["path"]]
    assert digests == list(MANIFEST["sha256"]) and len(set(digests)) == 492
    assert list(exams["class"]) == list(MANIFEST["class"])
    assert list(exams["split"]) == list(MANIFEST["split"])
    names = [Path(p).name for p in MANIFEST["path"]]
    assert names == [Path(p).name for p in exams["path"]]
    some = exams.rename(columns={"class": "label"}).iloc[::100]
    rows = [real_pictures.row(REAL, exam) for exam in some.itertuples()]
    assert rows == MANIFEST.iloc[::100].to_dict("records")


def committed() -> list[Path]:
    if not shutil.which("git") or not (paths.REPO / ".git").exists():
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=paths.REPO, capture_output=True, text=True, check=True
    ).stdout
    found = [paths.REPO / name for name in listed.split("\0") if name]
    return [p for p in found if p.suffix.lower() in MAY_HOLD_IMAGES and p.exists()]


def test_no_picture_of_an_exam_is_committed():
    """Neither as a file nor inside a notebook or page, alone or as one panel of a figure."""
    known, digests, seen = real_pictures.known(), set(MANIFEST["sha256"]), 0
    for path in committed():
        if path.suffix.lower() in pictures.IMAGES:
            assert real_pictures.digest(path) not in digests if _grey(path) else True, path.name
        for image in real_pictures.images_of(path):
            seen += 1
            assert real_pictures.exams_in(image, known) == 0, f"{path.name} shows a real exam"
    assert seen > 20  # the search does find images in notebooks


def _grey(path: Path) -> bool:
    try:
        return pictures.read(path).values.ndim == 2
    except data.ExamError:
        return False


@pytest.fixture(scope="module")
def exams() -> np.ndarray:
    """Five people (phantoms), (5, 160, 96), share of a window of SUV 10."""
    mips = [data.read_mip(f"phantom:lung/{k}", phantom_spacing_mm=6.0) for k in range(0, 10, 2)]
    return np.stack([data.fit_to_canvas(m, (160, 96), (900, 540)) for m in mips]) / 10


def prints(exams) -> np.ndarray:
    shown = np.clip(exams / real_pictures.WINDOW, 0, 1)
    return np.stack([real_pictures.fingerprint(e) for e in shown])


def figure(exams, **options) -> Image.Image:
    import matplotlib.figure

    made = matplotlib.figure.Figure(figsize=(8, 4))
    for ax, exam in zip(made.subplots(1, len(exams)), exams):
        ax.imshow(exam, vmin=0, vmax=0.7, **options)
        ax.set_title("an exam")
        ax.set(xticks=[], yticks=[])
    file = io.BytesIO()
    made.savefig(file)
    return Image.open(file)


def strip(exams) -> Image.Image:
    dark = 255 - np.rint(255 * np.clip(exams / 0.7, 0, 1)).astype(np.uint8)
    return Image.fromarray(np.hstack([np.pad(e, 3, constant_values=255) for e in dark]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda e: figure(e, cmap="gray_r"),
        strip,
        lambda e: strip(e).resize((300, 100)),
        lambda e: Image.eval(strip(e), lambda v: 255 - v),
    ],
    ids=["figure", "strip", "small strip", "bright on dark"],
)
def test_an_exam_in_a_figure_is_found_and_another_is_not(draw, exams):
    known = prints(exams)
    others = np.setdiff1d(np.arange(5), [3])
    assert real_pictures.exams_in(draw(exams), known) >= 4
    assert real_pictures.exams_in(draw(exams[others]), known[[3]]) == 0


def test_an_image_in_a_notebook_is_seen(exams, tmp_path):
    file = io.BytesIO()
    strip(exams).save(file, "png")
    code = base64.b64encode(file.getvalue()).decode()
    for k, output in enumerate(
        (
            {"data": {"image/png": code + "\n"}},
            {"data": {"image/png": [code[:1000] + "\n", code[1000:]]}},
            {"data": {"text/html": [f"<img src='data:image/png;base64,{code}'>"]}},
        )
    ):
        path = tmp_path / f"{k}.ipynb"
        path.write_text(json.dumps({"cells": [{"outputs": [output]}]}))
        images = real_pictures.images_of(path)
        assert len(images) == 1 and real_pictures.exams_in(images[0], prints(exams)) >= 4


@here
def test_a_contact_sheet_of_real_exams_would_be_found(tmp_path):
    counts = {"train_exams": [4], "test_exams": [2], "leave_out": "tumour"}
    cfg = config.load("teach", doublings=5, suv_max=10.0, **counts)
    data.prepare(REAL / "cohort.csv", tmp_path, cfg, "sync")
    sheet = io.BytesIO()
    data.qc.contact_sheet(data.load(tmp_path), per_class=6).savefig(sheet)
    assert real_pictures.exams_in(Image.open(sheet), real_pictures.known()) >= 20  # of 24


def test_the_manifest_is_a_cohort_in_the_public_layout(tmp_path, monkeypatch):
    """Copied beside the public folder, with RGBA pictures below controls/imgs and patients/imgs."""
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    some = MANIFEST.groupby(["class", "split"]).head(1)
    for path in some["path"]:
        grey = rng.integers(0, 256, (90, 60), np.uint8)
        grey[:, :10] = grey[:, -10:] = 255
        opaque = np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(opaque).save(tmp_path / path)
    some.to_csv(tmp_path / "real.csv", index=False)
    cfg = config.load("smoke", train_exams=[0], test_exams=[0], suv_max=10.0)
    report = data.prepare(tmp_path / "real.csv", tmp_path / "out", cfg, "sync")
    mips = data.load(tmp_path / "out")
    assert report.prepared == 10 and mips.unit == "window" and mips.class_names[0] == "normal"
    assert "assumptions" not in str(report)
    assert (mips.exams["licence"] == "CC BY 4.0").all()
