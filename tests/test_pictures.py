"""A MIP that is already a picture is an exam: read right, or refused in one sentence; an
uncalibrated value is no SUV."""

import os
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from petsuv.errors import ExamError
from radiogan_lib import config, data
from radiogan_lib.config import ConfigError
from radiogan_lib.data import cohort, pictures
from radiogan_lib.data.dataset import DatasetError

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"
REAL = SHARED / "real_whole_body_mips"
MM = pictures.Window(row_mm=2.0, column_mm=2.0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))


def body(seed=0, rows=90, columns=60) -> np.ndarray:
    """Share of the window, (rows, columns) in [0, 1]: air at the sides, a hot spot of 1."""
    rng = np.random.default_rng(seed)
    image = np.zeros((rows, columns))
    image[:, 15:45] = rng.uniform(0.05, 0.5, (rows, 30))
    image[20:24, 28:32] = 1
    return image


def grey(share: np.ndarray, white: int = 255) -> np.ndarray:
    return np.rint(share * white).astype(np.uint8 if white == 255 else np.uint16)


SHARE = body()
DARK = 1 - SHARE


def saved(tmp_path, name: str, image, **options) -> Path:
    path = tmp_path / name
    if isinstance(image, np.ndarray) and path.suffix == ".npy":
        np.save(path, image)
    else:
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(path, **options)
    return path


def rgb(image: np.ndarray, *alpha: np.ndarray) -> np.ndarray:
    return np.stack([image, image, image, *alpha], axis=-1)


def raw_tiff(tmp_path, values: np.ndarray, order: str, photometric: int) -> Path:
    """16 bits in either order of bytes (ImageJ: big-endian), white or black as zero; Pillow cannot
    write these."""
    rows, columns = values.shape
    tags = [
        (256, columns),
        (257, rows),
        (258, 16),
        (259, 1),
        (262, photometric),
        (273, 0),
        (277, 1),
    ]
    tags += [(278, rows), (279, values.size * 2)]
    offset = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, offset if tag == 273 else value)
        for tag, value in tags
    )
    mark = b"MM" if order == ">" else b"II"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
    path = tmp_path / "raw.tif"
    path.write_bytes(head + entries + bytes(4) + values.astype(f"{order}u2").tobytes())
    return path


FULL = np.full(SHARE.shape, 255, np.uint8)
KINDS = {
    "8 bits": lambda t: saved(t, "a.png", grey(DARK)),
    "16 bits": lambda t: saved(t, "a.png", grey(DARK, 65535)),
    "TIFF": lambda t: saved(t, "A.TIFF", grey(DARK)),
    "TIFF of 16 bits": lambda t: saved(t, "a.tif", grey(DARK, 65535)),
    "big-endian TIFF": lambda t: raw_tiff(t, grey(DARK, 65535), ">", 1),
    "TIFF whose zero is white": lambda t: raw_tiff(t, grey(SHARE, 65535), "<", 0),
    "opaque RGBA": lambda t: saved(t, "a.png", rgb(grey(DARK), FULL)),
    "grey with alpha": lambda t: saved(t, "a.png", np.stack([grey(DARK), FULL], -1)),
    "RGB": lambda t: saved(t, "a.png", rgb(grey(DARK))),
    "palette": lambda t: saved(t, "a.png", Image.fromarray(grey(DARK)).convert("P")),
    "JPEG": lambda t: saved(t, "a.jpg", grey(DARK), quality=100),
    "bright is high": lambda t: saved(t, "a.png", grey(SHARE)),
    "array of bytes": lambda t: saved(t, "a.npy", grey(DARK)),
    "array of big-endian words": lambda t: saved(t, "a.npy", grey(DARK, 65535).astype(">u2")),
    "array with a channel": lambda t: saved(t, "a.npy", grey(DARK)[..., None]),
    "array with three channels first": lambda t: saved(t, "a.npy", np.stack([grey(DARK)] * 3)),
    "array of shares": lambda t: saved(t, "a.npy", DARK.astype(np.float32)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_grey_picture_is_the_share_of_its_window(kind, tmp_path):
    found = pictures.project(KINDS[kind](tmp_path), MM)
    assert found.unit == "window" and found.pixel_mm == (2.0, 2.0)
    assert found.values.dtype == np.float32
    off = 3 / 255 if kind == "JPEG" else 0.51 / 255
    np.testing.assert_allclose(found.values, SHARE, atol=off)
    assert found.assumed == ("bright is high" if kind == "bright is high" else "dark is high")


def animated(tmp_path) -> Path:
    path = tmp_path / "a.png"
    frames = [Image.fromarray(grey(body(k))) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def pages(tmp_path) -> Path:
    path = tmp_path / "a.tif"
    frames = [Image.fromarray(grey(body(k))) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def text(tmp_path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


COLOUR = np.random.default_rng(1).integers(0, 255, (90, 60, 3), np.uint8)
FAULTS = {
    "in colour": lambda t: saved(t, "a.png", COLOUR),
    "colour says": lambda t: saved(t, "a.npy", COLOUR),
    "transparent": lambda t: saved(t, "a.png", rgb(grey(DARK), grey(SHARE))),
    "too few": lambda t: saved(t, "a.png", grey(DARK)[:20, :20]),
    "animated: 3": animated,
    "has pages: 3": pages,
    "no such file": lambda t: t / "absent.png",
    "cannot be read": lambda t: text(t, "a.png", b"no picture"),
    "same value": lambda t: saved(t, "a.png", FULL),
    "a mask": lambda t: saved(t, "a.png", Image.fromarray(SHARE > 0.2)),
    "not one picture": lambda t: saved(t, "a.npy", np.ones((90, 60, 50), np.float32)),
    "4 dimensions": lambda t: saved(t, "a.npy", np.ones((1, 90, 60, 1), np.float32)),
    "not numbers": lambda t: saved(t, "a.npy", np.full((90, 60), "x")),
    "no numbers": lambda t: saved(t, "a.npy", np.where(SHARE > 0.9, np.nan, SHARE)),
    "looks like Bq/ml": lambda t: saved(t, "a.npy", SHARE * 20000),
    "empty": lambda t: saved(t, "a.npy", np.ones((0, 60))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_trusted_is_refused_in_one_sentence(fault, tmp_path):
    with pytest.raises(ExamError) as e:
        pictures.project(FAULTS[fault](tmp_path), MM)
    assert fault in e.value.reason and "\n" not in str(e.value) and len(str(e.value)) < 200
    assert str(tmp_path) not in str(e.value) and e.value.remedy


def test_cut_off_in_the_middle(tmp_path):
    path = saved(tmp_path, "a.png", grey(DARK))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ExamError, match="cannot be read"):
        pictures.project(path, MM)


def test_a_picture_without_pixel_size(tmp_path):
    """Refused, unless it has the width of the public set; that assumption is told."""
    with pytest.raises(ExamError, match="how large its pixels are.*row_mm and column_mm"):
        pictures.project(saved(tmp_path, "a.png", grey(DARK), dpi=(72, 72)))
    found = pictures.project(saved(tmp_path, "b.png", grey(1 - body(columns=400))))
    assert found.pixel_mm == (2.0, 2.036) and "2 x 2.036 mm" in found.assumed


def test_calibrated_grey_is_suv(tmp_path):
    path = saved(tmp_path, "a.png", grey(DARK))
    window = pictures.Window.parse(
        {"row_mm": "2", "column_mm": "3", "suv_white": "0", "suv_black": "10"}
    )
    found = pictures.project(path, window)
    assert (found.unit, found.assumed, found.pixel_mm) == ("SUV", "", (2.0, 3.0))
    np.testing.assert_allclose(found.values, 10 * SHARE, atol=0.03)


def test_numbers_are_suv_as_in_a_nifti_file(tmp_path):
    found = pictures.project(saved(tmp_path, "a.npy", (12 * SHARE - 0.01).astype(np.float64)), MM)
    assert found.unit == "SUV" and found.values.max() == np.float32(11.99)
    assert found.values.min() == 0  # noise below zero, as a MIP of a volume is clipped later


@pytest.mark.parametrize(
    "cells, fault",
    [
        ({"row_mm": "2"}, "column_mm is empty"),
        ({"row_mm": "2", "column_mm": "wide"}, "column_mm is 'wide'"),
        ({"row_mm": "2000", "column_mm": "2"}, "between 0.1 and 20"),
        ({"suv_white": "0"}, "suv_black is empty"),
        ({"suv_white": "3", "suv_black": "3"}, "are the same"),
        ({"suv_white": "0", "suv_black": "nan"}, "suv_black is 'nan'"),
        ({"dark_is_high": "perhaps"}, "write yes or no"),
        ({"suv_white": "0", "suv_black": "7", "dark_is_high": "no"}, "contradicts"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(cells, fault, tmp_path):
    with pytest.raises(ConfigError, match=fault):
        cohort.read(table(tmp_path, **cells))
    with pytest.raises(ConfigError, match="row 2"):
        cohort.read(table(tmp_path, **cells))


def table(tmp_path, n=6, **columns) -> pd.DataFrame:
    rows = []
    for k in range(n):
        path = saved(tmp_path, f"{k}.png", grey(1 - body(k)))
        split = "test" if k > 3 else "train"
        rows.append((f"e{k}", f"p{k}", ("normal", "lung")[k % 2], str(path), split))
    names = ["exam_id", "patient_id", "class", "path", "split"]
    return pd.DataFrame(rows, columns=names).assign(**columns)


def test_a_cohort_of_uncalibrated_pictures_is_never_called_suv(tmp_path):
    cfg = config.load("smoke", train_exams=[0], test_exams=[0], suv_max=10.0, keep_ids=True)
    exams = table(tmp_path, row_mm="10", column_mm="9", suv_white="uncalibrated")
    report = data.prepare(exams, tmp_path / "out", cfg, "sync")
    assert report.prepared == 6 and "uncalibrated" in str(report) and "dark is high" in str(report)
    mips = data.load(tmp_path / "out")
    assert mips.unit == "window" and "SUV" not in mips.unit_label
    assert mips.subset([0]).unit == "window"
    assert mips.suv.max() <= 10 and set(mips.exams["unit"]) == {"window"}
    expected = data.fit_to_canvas(body(0) * 10, cfg.canvas, cfg.field_of_view_mm, (10.0, 9.0))
    np.testing.assert_allclose(mips.suv[0], expected, atol=0.03)
    assert mips.exams.loc[0, ["height_mm", "width_mm"]].tolist() == [900, 540]
    sheet = data.qc.contact_sheet(mips)
    words = [t.get_text() for t in (*sheet.findobj(lambda a: hasattr(a, "get_text")),)]
    assert any("uncalibrated" in w for w in words) and not any("SUV" in w for w in words)
    assert data.prepare(exams, tmp_path / "out", cfg, "sync").prepared == 0


def test_another_window_prepares_its_exams_again(tmp_path):
    cfg = config.load("smoke", train_exams=[0], test_exams=[0])
    exams = table(tmp_path, row_mm="10", column_mm="9", suv_white="0", suv_black="8")
    data.prepare(exams, tmp_path / "out", cfg, "sync")
    exams.loc[3, "suv_black"] = "9"
    assert data.prepare(exams, tmp_path / "out", cfg, "sync").prepared == 1
    assert data.load(tmp_path / "out").unit == "SUV"


def test_calibrated_and_uncalibrated_exams_do_not_mix(tmp_path):
    cfg = config.load("smoke", train_exams=[0], test_exams=[0])
    exams = table(tmp_path, row_mm="10", column_mm="9")
    exams.loc[5, "path"] = "phantom:lung/3"
    with pytest.raises(DatasetError, match="1 exams are in SUV and 5 are uncalibrated"):
        data.prepare(exams, tmp_path / "out", cfg, "sync")


def test_classes_are_left_out_by_a_setting(tmp_path):
    exams = table(tmp_path, row_mm="10", column_mm="9")
    exams.loc[[2, 3], "class"] = "tumour"
    cfg = config.load("smoke", train_exams=[0], test_exams=[0], leave_out="tumour")
    report = data.prepare(exams, tmp_path / "out", cfg, "sync")
    assert report.prepared == 4 and "2 exams of class tumour are left out" in str(report)
    assert data.load(tmp_path / "out").class_names == ["normal", "lung"]
    for wrong, fault in (("tumor", "'tumor'; the cohort's"), ("tumour, lung", "fewer than two")):
        with pytest.raises(ConfigError, match=fault):
            cfg = config.load("smoke", leave_out=wrong)
            data.prepare(exams, tmp_path / "out", cfg, "sync")


@pytest.mark.skipif(not REAL.exists(), reason="the real pictures are not here (shared/data)")
def test_the_real_pictures_as_they_are(tmp_path):
    """The csv of the folder names no pixel size, window or direction."""
    cfg = config.load("smoke", train_exams=[3], test_exams=[1], leave_out="tumour", suv_max=10.0)
    report = data.prepare(REAL / "cohort.csv", tmp_path / "out", cfg, "sync")
    mips = data.load(tmp_path / "out")
    assert report.rejected == 0 and sorted(mips.class_names) == [
        "lung",
        "lymphoma",
        "melanoma",
        "normal",
    ]
    assert len(mips) == 16 and mips.unit == "window"
    assert (mips.exams["assumed"] == "pixels of 2 x 2.036 mm, dark is high").all()
    assert 1 < np.mean(mips.suv) < 4 and np.median(mips.suv[:, :, 0]) < 0.5
