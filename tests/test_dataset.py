"""A dataset is made once, completed when interrupted, remade when anything changed, and never
trusted when damaged."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from radiogan_lib import config, data, paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data import preparation, readers
from radiogan_lib.data.dataset import DatasetError, load, load_if_there, prepare

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))


def settings(**more):
    return config.load("smoke", **{"train_exams": [0], "test_exams": [0], **more})


def volume(seed, hot=20.0, shape=(40, 30, 90), spacing=5.0):
    rng = np.random.default_rng(seed)
    values = rng.gamma(2, 0.5, shape).astype(np.float32)
    values[seed % 40, seed % 30, seed % 90] = hot
    return nib.Nifti1Image(values, np.diag([spacing, spacing, spacing, 1]))


@pytest.fixture
def cohort(tmp_path):
    """Eight exams of two classes as NIfTI files; the csv names them relative to itself."""
    folder = tmp_path / "exams"
    folder.mkdir()
    rows = []
    for i in range(8):
        nib.save(volume(i), folder / f"e{i}.nii.gz")
        rows.append(
            (f"e{i}", f"p{i}", "ab"[i % 2], f"exams/e{i}.nii.gz", "test" if i > 5 else "train")
        )
    path = tmp_path / "cohort.csv"
    pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"]).to_csv(
        path, index=False
    )
    return path


@pytest.fixture
def counted(monkeypatch):
    """The paths of the exams that were really prepared."""
    seen, real = [], readers.project
    monkeypatch.setattr(readers, "project", lambda job: seen.append(job["path"]) or real(job))
    return seen


def test_what_is_written_and_read_back(cohort, tmp_path):
    out, cfg = tmp_path / "out", settings(keep_ids=True)
    report = prepare(cohort, out, cfg, "sync")
    assert (report.prepared, report.reused, report.rejected) == (8, 0, 0)
    mips = load(out)
    assert mips.suv.shape == (8, 40, 24) and mips.suv.dtype == np.float32 and len(mips) == 8
    assert (
        mips.images.shape == (8, 40, 24, 1) and mips.images.min() >= -1 and mips.images.max() <= 1
    )
    assert (
        mips.labels.tolist() == [0, 1] * 4
        and mips.labels.dtype == np.int32
        and mips.class_names == ["a", "b"]
    )
    assert mips.exam_ids == [f"e{i}" for i in range(8)] and mips.patient_ids[3] == "p3"
    assert (
        mips.canvas == (40, 24) and mips.field_of_view_mm == (900.0, 540.0) and mips.suv_max == 30.0
    )
    for i in (0, 5):  # each picture is its own exam's
        mip = data.coronal_mip(data.read_suv(cohort.parent / f"exams/e{i}.nii.gz"))
        assert np.array_equal(
            mips.suv[i], data.fit_to_canvas(np.clip(mip, 0, 30), (40, 24), (900, 540))
        )
    train = load(out, "train")
    assert train.exam_ids == [f"e{i}" for i in range(6)] and train.sha256 == mips.sha256
    assert set(train.exam_ids).isdisjoint(load(out, "test").exam_ids)
    described = json.loads((out / "dataset.json").read_text())
    assert described["sha256"] == paths.sha256(out / "mips.npy") and described["counts"][
        "train"
    ] == {"a": 3, "b": 3}
    assert described["pixel_mm"] == [22.5, 22.5]


def test_subset_keeps_rows_together(cohort, tmp_path):
    prepare(cohort, tmp_path / "out", settings(keep_ids=True), "sync")
    mips = load(tmp_path / "out")
    some = mips.subset([6, 1])
    assert (
        some.exam_ids == ["e6", "e1"]
        and some.labels.tolist() == [0, 1]
        and np.array_equal(some.suv[0], mips.suv[6])
    )
    assert (
        mips.subset(mips.labels == 1).exam_ids == ["e1", "e3", "e5", "e7"]
        and len(mips.subset([])) == 0
    )


def test_nothing_is_done_twice(cohort, tmp_path, counted):
    out, cfg = tmp_path / "out", settings()
    prepare(cohort, out, cfg, "sync")
    before = (out / "mips.npy").stat().st_mtime_ns
    report = prepare(cohort, out, cfg, "sync")
    assert (
        len(counted) == 8 and report.reused == 8 and (out / "mips.npy").stat().st_mtime_ns == before
    )


def test_a_changed_source_is_prepared_again_and_only_that(cohort, tmp_path, counted):
    out, cfg = tmp_path / "out", settings(keep_ids=True)
    prepare(cohort, out, cfg, "sync")
    old = load(out)
    nib.save(volume(33), cohort.parent / "exams/e2.nii.gz")
    counted.clear()
    report = prepare(cohort, out, cfg, "sync")
    new = load(out)
    assert [Path(p).name for p in counted] == ["e2.nii.gz"] and (
        report.prepared,
        report.reused,
    ) == (1, 7)
    assert [i for i in range(8) if not np.array_equal(old.suv[i], new.suv[i])] == [
        2
    ] and old.sha256 != new.sha256


def test_changed_settings_prepare_again_but_changed_splits_do_not(cohort, tmp_path, counted):
    out = tmp_path / "out"
    prepare(cohort, out, settings(), "sync")
    table = pd.read_csv(cohort)
    table["split"] = ["test", "test", *["train"] * 6]
    table.to_csv(cohort, index=False)
    prepare(cohort, out, settings(), "sync")
    assert len(counted) == 8 and load(out).splits[:3] == ["test", "test", "train"]
    prepare(cohort, out, settings(suv_max=5.0), "sync")
    assert len(counted) == 16 and load(out).suv.max() <= 5


def test_changed_code_prepares_again(cohort, tmp_path, counted, monkeypatch):
    prepare(cohort, tmp_path / "out", settings(), "sync")
    monkeypatch.setattr(readers.projection, "VERSION", 99)
    prepare(cohort, tmp_path / "out", settings(), "sync")
    assert len(counted) == 16


def test_an_interrupted_run_continues(cohort, tmp_path, counted, monkeypatch):
    out, done = tmp_path / "out", []

    def stop_at_fifth(job, real=readers.project):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(job)
        return real(job)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(readers, "project", stop_at_fifth)
        prepare(cohort, out, settings(), "sync")
    with pytest.raises(paths.MissingArtefact, match="01_data_preparation"):
        load(out)  # an unfinished dataset is no dataset
    counted.clear()
    report = prepare(cohort, out, settings(), "sync")
    assert len(counted) == 3 and (report.prepared, report.reused) == (3, 5) and len(load(out)) == 8


def test_a_damaged_cache_file_is_prepared_again(cohort, tmp_path, counted):
    out = tmp_path / "out"
    prepare(cohort, out, settings(), "sync")
    kept = load(out).sha256
    victims = sorted((out / "cache").glob("*.npz"))[:3]
    victims[0].write_bytes(b"")
    victims[1].write_bytes(victims[1].read_bytes()[:-40])
    victims[2].write_bytes(b"\x93NUMPY nonsense")
    (out / "dataset.json").unlink()
    counted.clear()
    prepare(cohort, out, settings(), "sync")
    assert len(counted) == 3 and load(out).sha256 == kept


def test_rejects_do_not_stop_the_others_and_are_not_tried_twice(cohort, tmp_path, counted):
    folder = cohort.parent / "exams"
    (folder / "e0.nii.gz").write_bytes(b"not a volume")
    (folder / "e1.nii.gz").unlink()
    nib.save(volume(2, hot=9e6), folder / "e2.nii.gz")  # Bq/ml mistaken for SUV
    nib.save(nib.Nifti1Image(np.zeros((40, 30, 90), np.float32), np.eye(4)), folder / "e3.nii.gz")
    report = prepare(cohort, tmp_path / "out", settings(keep_ids=True), "sync")
    assert (report.prepared, report.rejected) == (4, 4) and report.counts.loc["a"].tolist() == [
        1,
        1,
        2,
    ]
    rejects = pd.read_csv(tmp_path / "out/rejects.csv")
    assert list(rejects.columns) == ["exam", "file", "reason", "remedy"]
    assert list(rejects.exam) == ["e0", "e1", "e2", "e3"]
    assert (rejects.reason.str.len() > 10).all() and (rejects.remedy.str.len() > 10).all()
    assert "4" in report._repr_html_() and "rejected" in str(report)
    counted.clear()
    again = prepare(cohort, tmp_path / "out", settings(keep_ids=True), "sync")
    assert counted == [] and again.rejected == 4 and again.counts.equals(report.counts)
    nib.save(volume(0), folder / "e0.nii.gz")  # mended: tried again
    mended = prepare(cohort, tmp_path / "out", settings(keep_ids=True), "sync")
    assert len(counted) == 1 and mended.rejected == 3


def test_an_error_nobody_foresaw_is_a_reject_and_tried_again(cohort, tmp_path, monkeypatch):
    from radiogan_lib.data import readers

    real = readers.nifti_mip

    def breaks(path, *args):
        if path.name == "e4.nii.gz":
            raise ZeroDivisionError("secret header value")
        return real(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(readers, "nifti_mip", breaks)
        report = prepare(cohort, tmp_path / "out", settings(), "sync")
    assert report.rejected == 1 and "ZeroDivisionError" in report.rejects.reason[0]
    assert "secret" not in (tmp_path / "out/rejects.csv").read_text()
    assert prepare(cohort, tmp_path / "out", settings(), "sync").rejected == 0


@pytest.mark.parametrize(
    "lost, match",
    [
        ("abab" * 2, "all 8 exams were rejected"),
        ("a-a-a-a-", "no training exam is left of class a"),
    ],
)
def test_nothing_left_is_one_clear_error(cohort, tmp_path, lost, match):
    for i in range(8):
        if lost[i] != "-":
            (cohort.parent / f"exams/e{i}.nii.gz").unlink()
    with pytest.raises(DatasetError, match=match) as caught:
        prepare(cohort, tmp_path / "home/out", settings(), "sync")
    assert "rejects.csv" in str(caught.value)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert (tmp_path / "home/out/rejects.csv").exists() and load_if_there(
        tmp_path / "home/out"
    ) is None


def test_two_runs_at_once_do_the_work_once(cohort, tmp_path):
    script = textwrap.dedent("""
        import sys
        from radiogan_lib import config, data
        cfg = config.load("smoke", train_exams=[0], test_exams=[0])
        print(data.prepare(sys.argv[1], sys.argv[2], cfg, "sync").prepared)
    """)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, cohort, tmp_path / "out"],
            text=True,
            stdout=subprocess.PIPE,
            cwd=paths.REPO,
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0].split() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(int(out[-1]) for out in outputs) == [0, 8]
    assert len(load(tmp_path / "out")) == 8 and not list((tmp_path / "out").rglob("*.part*"))


def test_what_a_killed_run_left_is_cleared(cohort, tmp_path):
    (tmp_path / "out/cache").mkdir(parents=True)
    for name in (".mips-abc.part.npy", "cache/.x-1.part.npz"):
        (tmp_path / "out" / name).write_bytes(b"half")
    prepare(cohort, tmp_path / "out", settings(), "sync")
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_a_full_disk_is_one_sentence_and_costs_nothing_finished(cohort, tmp_path, monkeypatch):
    real, stored = readers.store, []

    def fills(*args):
        if len(stored) == 4:
            raise OSError(28, "No space left on device")
        stored.append(args)
        real(*args)

    with (
        monkeypatch.context() as patch,
        pytest.raises(DatasetError, match="No space left.*what is finished is kept"),
    ):
        patch.setattr(readers, "store", fills)
        prepare(cohort, tmp_path / "out", settings(), "sync")
    assert prepare(cohort, tmp_path / "out", settings(), "sync").reused == 4


def test_a_missing_class_of_held_out_exams_is_said(cohort, tmp_path):
    for i in (6,):
        (cohort.parent / f"exams/e{i}.nii.gz").unlink()
    report = prepare(cohort, tmp_path / "out", settings(), "sync")
    assert any("No exam of class a is held out" in note for note in report.notes)


class TestLoad:
    @pytest.fixture
    def out(self, cohort, tmp_path):
        prepare(cohort, tmp_path / "home/out", settings(), "sync")
        return tmp_path / "home/out"

    def test_missing(self, tmp_path):
        with pytest.raises(
            paths.MissingArtefact, match="Run notebooks/01_data_preparation.ipynb first"
        ):
            load(tmp_path / "home/nothing")
        assert load_if_there(tmp_path / "home/nothing") is None

    def test_unknown_split(self, out):
        with pytest.raises(ConfigError, match="'valid'.*train, test"):
            load(out, "valid")

    @pytest.mark.parametrize("name", ["mips.npy", "exams.csv"])
    def test_changed_file(self, out, name):
        raw = bytearray((out / name).read_bytes())
        raw[-3] ^= 1
        (out / name).write_bytes(raw)
        with pytest.raises(DatasetError, match=f"{name} changed"):
            load(out)

    def test_missing_picture_file(self, out):
        (out / "mips.npy").unlink()
        with pytest.raises(DatasetError, match="mips.npy is missing"):
            load(out)

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema_version": 1}'])
    def test_damaged_description(self, out, content):
        (out / "dataset.json").write_text(content)
        with pytest.raises(DatasetError, match="out/dataset.json is damaged"):
            load(out)

    def test_another_version(self, out):
        content = json.loads((out / "dataset.json").read_text())
        (out / "dataset.json").write_text(
            json.dumps(content | {"schema_version": preparation.SCHEMA_VERSION + 1})
        )
        with pytest.raises(DatasetError, match=f"has version {preparation.SCHEMA_VERSION + 1}"):
            load(out)

    def test_damage_is_repaired_by_preparing_again(self, out, cohort):
        kept = load(out).sha256
        (out / "mips.npy").write_bytes(b"gone")
        report = prepare(cohort, out, settings(), "sync")
        assert report.prepared == 0 and load(out).sha256 == kept


def test_phantoms_and_files_in_one_cohort(cohort, tmp_path):
    table = pd.read_csv(cohort)
    table.loc[len(table)] = ["ph", "php", "a", "phantom:lung/30017", "train"]
    table.to_csv(cohort, index=False)
    prepare(cohort, tmp_path / "out", settings(phantom_spacing_mm=8.0), "sync")
    mips = load(tmp_path / "out")
    assert (
        mips.exam_ids[-1] == "ph"
        and mips.exams["path"].iloc[-1] == "phantom:lung/30017"
        and mips.suv[-1].max() > 1
    )
    assert (
        all(e.startswith("exam-") for e in mips.exam_ids[:-1])
        and (mips.exams["path"][:-1] == "").all()
    )


def test_real_exams(tmp_path):
    if not (SHARED / "real_pet_nifti").exists():
        pytest.skip("the real exams are not here (RADIOGAN_SHARED)")
    files = sorted((SHARED / "real_pet_nifti").glob("*.nii.gz"))[:7]
    rows = [(f.stem, f.stem, "ab"[i % 2], str(f)) for i, f in enumerate(files)]
    rows.append(("whole", "whole", "b", str(SHARED / "real_exam_dicom")))
    table = pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path"])
    report = prepare(table, tmp_path / "out", settings(keep_ids=True), "sync")
    assert (report.prepared, report.rejected) == (8, 0)
    exams = load(tmp_path / "out").exams.set_index("exam_id")
    assert exams.loc["whole", "highest"] == pytest.approx(66.5215, abs=1e-3)
    assert exams.loc["whole", "height_mm"] == pytest.approx(267 * 3.27, abs=4)
    assert exams.loc["whole", ["spacing_x_mm", "spacing_z_mm"]].tolist() == pytest.approx(
        [4.6875, 3.27], abs=1e-3
    )
