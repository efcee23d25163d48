"""Bad input of every kind: one clear sentence each, exit code 1 on the command line, and the others unharmed.

The table of what was tried is printed at the end of the test run. Kinds that are odd but sound must be read, and read right.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import bad_exams as bad
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import test_dicom as dicoms
from survived import BAD_INPUT, faults_of_sentence

from radiogan_lib import batch, config, data, paths
from radiogan_lib.config import RadioganError
from radiogan_lib.data.dataset import load, prepare

COLUMNS = ("exam_id", "patient_id", "class", "path", "split")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def impatient():
    """Nothing here may take long; what waits for ever (a pipe, a bomb) is a failure."""
    def late(*_):  # not an Exception: those are what readers turn into sentences
        raise KeyboardInterrupt("it took more than a minute")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def settings(**more):
    return config.load("smoke", **{"train_exams": [0], "test_exams": [0], "keep_ids": True, **more})


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Three intact exams, and the dataset that they make without any other."""
    folder = tmp_path_factory.mktemp("good")
    rows = [(f"g{i}", f"p{i}", "ab"[i % 2], str(bad.nifti(folder, f"g{i}.nii.gz", bad.body(i + 1))), "test" if i == 2 else "train")
            for i in range(3)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADIOGAN_HOME", str(folder / "home"))
        prepare(frame, folder / "out", settings(), "sync")
        return frame, load(folder / "out")


def tried(group, kind, text, why, unharmed=None, length=500):
    """Record a kind and judge its sentence; `why` is a regular expression that names fault or file."""
    import re
    wrong = faults_of_sentence(text, length)
    if not re.search(why, text):
        wrong.append(f"it does not say {why!r}")
    BAD_INPUT[group][kind] = {"clear": not wrong, "unharmed": unharmed}
    assert not wrong, f"{kind}: {'; '.join(wrong)}:\n{text}"


# ---- exams --------------------------------------------------------------------------------------------------------

def _shape(*shape):
    return lambda f: bad.nifti(f, "a.nii.gz", np.ones(shape, np.float32))


def _values(change):
    return lambda f: bad.nifti(f, "a.nii.gz", change(bad.body()).astype(np.float32))


def _no_image(folder):
    pair = bad.nifti(folder, "a.hdr", cls=nib.Nifti1Pair)
    pair.with_suffix(".img").unlink()
    return pair


def _two_files(folder):
    bad.nifti(folder, "one.nii.gz")
    bad.nifti(folder, "two.nii.gz")
    return folder


NIFTI = {
    "truncated .nii.gz": (lambda f: bad.packed(f, lambda c: c[:-300]), "cut off"),
    "truncated .nii": (lambda f: bad.raw(f, "a.nii", lambda c: c[:-300]), "cut off"),
    "wrong gzip CRC": (lambda f: bad.packed(f, lambda c: c[:-8] + bytes([c[-8] ^ 1]) + c[-7:]), "gzip stream is damaged"),
    "wrong gzip length": (lambda f: bad.packed(f, lambda c: c[:-1] + b"\x07"), "gzip stream is damaged"),
    "damaged in the middle": (lambda f: bad.packed(f, lambda c: c[:600] + bytes(80) + c[680:]), "damaged|cut off"),
    "zero-byte .nii": (lambda f: bad.raw(f, "a.nii", lambda c: b""), "not a NIfTI|empty"),
    "zero-byte .nii.gz": (lambda f: bad.packed(f, lambda c: b""), "not a NIfTI|empty"),
    "gzip of nothing": (lambda f: bad.packed(f, lambda c: gzip.compress(b"")), "not a NIfTI"),
    "text named .nii.gz": (lambda f: bad.packed(f, lambda c: b"<html>404</html>" * 50), "not a NIfTI"),
    "NaN": (_values(lambda v: np.where(v == 9, np.nan, v)), "not finite"),
    "infinite": (_values(lambda v: np.where(v == 9, np.inf, v)), "not finite"),
    "infinite by its slope": (lambda f: bad.raw(f, "a.nii", bad.header(112, "<f", 3e38)), "not finite|Bq/ml"),
    "negative": (_values(lambda v: -v), "below zero"),
    "z-scores": (_values(lambda v: (v - v.mean()) / v.std()), "below zero"),
    "all zero": (_values(lambda v: v * 0), "empty"),
    "Bq/ml as SUV": (_values(lambda v: v * 5000), "Bq/ml"),
    "CT as PET": (_values(lambda v: v * 200 - 1000), "CT"),
    "CT by its name": (lambda f: bad.nifti(f, "patient_CT.nii.gz"), "name says CT"),
    "MR by its name": (lambda f: bad.nifti(f, "T1.nii.gz"), "name says CT, MR"),
    "label map": (lambda f: bad.nifti(f, "a.nii.gz", (bad.body() > 2).astype(np.uint8)), "8-bit"),
    "complex numbers": (lambda f: bad.nifti(f, "a.nii.gz", bad.body().astype(np.complex64)), "complex"),
    "two dimensions": (_shape(12, 10), "picture"), "five dimensions": (_shape(6, 5, 4, 1, 3), "several volumes"),
    "one slice": (_shape(12, 10, 1), "single slice"), "dynamic": (_shape(6, 5, 4, 7), "several volumes"),
    "giant dimensions": (lambda f: bad.raw(f, "a.nii.gz", bad.header(40, "<4h", 3, 32767, 32767, 32767)), "no PET exam"),
    "dimensions beyond the file": (lambda f: bad.raw(f, "a.nii.gz", bad.header(40, "<4h", 3, 800, 800, 800)), "cut off"),
    "negative dimensions": (lambda f: bad.raw(f, "a.nii", bad.header(40, "<4h", 3, -12, 10, 14)), "single slice|damaged"),
    "decompression bomb": (bad.bomb, "empty"),
    "header as voxels": (lambda f: bad.raw(f, "a.nii", bad.header(108, "<f", 16.0)), "vox_offset"),
    "singular affine": (lambda f: bad.raw(f, "a.nii", bad.affine(np.zeros((3, 4)))), "singular"),
    "sheared affine": (lambda f: bad.raw(f, "a.nii", bad.affine([[8, 3, 0, 0], [0, 8, 0, 0], [0, 0, 6, 0]])), "sheared"),
    "affine of NaN": (lambda f: bad.raw(f, "a.nii", bad.affine(np.full((3, 4), np.nan))), "singular or not finite"),
    "voxels of a micrometre": (lambda f: bad.raw(f, "a.nii", bad.affine(np.eye(4)[:3] * 1e-3)), "no PET scanner"),
    "no orientation": (lambda f: bad.raw(f, "a.nii", bad.header(252, "<2h", 0, 0)), "sform_code"),
    "header without its image": (_no_image, "cannot be read|no such file"),
    "folder of two exams": (_two_files, "not clear"),
}


def _drop(*places):
    return lambda ds, k: "drop" if k in places else None


def _junk(folder):
    (folder / "junk").mkdir()
    for k in range(3):
        (folder / "junk" / f"{k}.dcm").write_bytes(bytes(range(256)) * 8)
    return folder / "junk"


DICOM = {
    "no pixel data": (lambda f: bad.series(f, lambda ds, k: delattr(ds, "PixelData") if k == 2 else None), "decoded"),
    "pixel data cut off": (lambda f: bad.series(f, lambda ds, k: setattr(ds, "PixelData", ds.PixelData[:40]) if k == 2 else None), "decoded"),
    "two studies mixed": (bad.two_series, "several studies"),
    "missing slices": (lambda f: bad.series(f, _drop(4, 5)), "slices are missing"),
    "missing end": (lambda f: bad.series(f, _drop(13)), "ends early"),
    "one slice": (lambda f: bad.series(f, _drop(*range(1, 14))), "one slice"),
    "two images at one place": (bad.two_images_one_place, "two different images"),
    "missing weight": (lambda f: bad.series(f, PatientWeight=None), "Patient Weight"),
    "weight of zero": (lambda f: bad.series(f, PatientWeight="0"), "Patient Weight"),
    "missing dose": (lambda f: bad.series(f, drug=dicoms.item(RadionuclideTotalDose=None)), "Total Dose"),
    "missing half-life": (lambda f: bad.series(f, drug=dicoms.item(RadionuclideHalfLife=None)), "Half Life"),
    "dose after the scan": (lambda f: bad.series(f, drug=dicoms.item(RadiopharmaceuticalStartTime="123000")), "injected after the scan"),
    "two injections": (lambda f: bad.series(f, drug=dicoms.item() + dicoms.item()), "2 items"),
    "tracer is not FDG": (lambda f: bad.series(f, drug=dicoms.item(Radiopharmaceutical="18F-PSMA-1007")), "other than FDG"),
    "nuclide is not F-18": (lambda f: bad.series(f, drug=dicoms.item(RadionuclideHalfLife="4062.6")), "fluorine-18"),
    "no attenuation correction": (lambda f: bad.series(f, CorrectedImage=["DECY"]), "attenuation"),
    "unknown units": (lambda f: bad.series(f, Units="PROPCPS"), "Units"),
    "no slope": (lambda f: bad.series(f, RescaleSlope=None), "Rescale Slope"),
    "no position": (lambda f: bad.series(f, ImagePositionPatient=None), "Image Position"),
    "gated": (lambda f: bad.series(f, SeriesType=["GATED", "IMAGE"]), "GATED"),
    "enhanced PET": (lambda f: bad.series(f, SOPClassUID="1.2.840.10008.5.1.4.1.1.130"), "Enhanced PET"),
    "CT": (lambda f: bad.series(f, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "no PET images .14 CT"),
    "MR": (lambda f: bad.series(f, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), "no PET images .14 MR"),
    "unsupported transfer syntax": (lambda f: bad.series(f, bad.as_film), "decoded"),
    "lossy compression": (lambda f: bad.series(f, LossyImageCompression="01"), "Lossy"),
    "giant rows and columns": (bad.giant_slices, "no PET|decoded|more than"),
    "no DICOM among the files": (_junk, "no DICOM image"),
}


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def _device(folder):
    (folder / "a.nii").symlink_to("/dev/zero")
    return folder / "a.nii"


PLACES = {
    "no such file": (lambda f: f / "gone.nii.gz", "no such file"),
    "empty folder": (_empty, "no DICOM"),
    "one DICOM file": (lambda f: bad.slices(bad.series(f))[0], "one file"),
    "unknown type": (lambda f: Path(sys.executable), "not read|one file"),
    "link to itself": (lambda f: bad.loop(f / "a.nii.gz"), "no such file"),
    "folder that links to itself": (lambda f: bad.loop(f / "loop" / "loop").parent, "no DICOM"),
    "named pipe": (lambda f: bad.fifo(f / "a.nii.gz"), "not a file"),
    "folder of named pipes": (lambda f: bad.fifo(f / "pipes" / "1.dcm").parent, "no DICOM"),
    "device": (_device, "not a file"),
    "NUL in the path": (lambda f: str(f / "a\0b.nii.gz"), "no such file"),
    "path too long": (lambda f: f / ("x" * 5000 + ".nii.gz"), "no such file"),
    "home of nobody": (lambda f: "~nobody-of-that-name/a.nii.gz", "no such file"),
    "phantom of no class": (lambda f: "phantom:bone/3", "no phantom class"),
    "phantom without a number": (lambda f: "phantom:lung", "phantom:<class>/<seed>"),
    "phantom of a path": (lambda f: "phantom:../../etc/passwd", "phantom:<class>/<seed>"),
}
EXAMS = [(g, k) for g, kinds in (("NIfTI", NIFTI), ("DICOM", DICOM), ("places", PLACES)) for k in kinds]
KINDS = {"NIfTI": NIFTI, "DICOM": DICOM, "places": PLACES}


@pytest.mark.parametrize("group, kind", EXAMS)
def test_a_bad_exam_costs_itself_only(group, kind, tmp_path, good):
    build, why = KINDS[group][kind]
    (tmp_path / "in").mkdir()
    path = build(tmp_path / "in")
    with pytest.raises(data.ExamError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.read_suv(path)
    frame, reference = good
    table = pd.concat([frame, pd.DataFrame([("bad", "pb", "b", str(path), "train")], columns=COLUMNS)], ignore_index=True)
    report = prepare(table, tmp_path / "out", settings(), "sync")
    mips = load(tmp_path / "out")
    unharmed = mips.sha256 == reference.sha256 and mips.exam_ids == reference.exam_ids
    tried(group, kind, str(caught.value), why, unharmed)
    assert unharmed and (report.prepared, report.rejected) == (3, 1)
    reject = pd.read_csv(tmp_path / "out/rejects.csv").iloc[0]
    assert reject["exam"] == "bad" and faults_of_sentence(f"{reject['reason']}. {reject['remedy']}") == []
    assert str(tmp_path) not in str(caught.value)


def _named(*parts):
    def build(folder):
        place = folder.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        return bad.nifti(place.parent, place.name)
    return build


def _flipped(folder):
    """Stored from left to right and from front to back the other way, with an affine that says so."""
    flip = nib.orientations.axcodes2ornt("LPI")
    nib.save(nib.Nifti1Image(bad.body(), bad.AFFINE).as_reoriented(flip), folder / "a.nii.gz")
    return folder / "a.nii.gz"


SOUND = {
    "flipped affine": _flipped, "spaces in the path": _named("a folder", "an exam.nii.gz"),
    "unicode in the path": _named("Größe", "検査 ☢.nii.gz"), "newline in the path": _named("two\nlines", "a\nb.nii.gz"),
    "quotes in the path": _named('say "hi", you', "it's.nii.gz"), "leading dashes": _named("--help", "-rf.nii.gz"),
    "offset of zero": lambda f: bad.raw(f, "a.nii", bad.header(108, "<f", 0.0)),
    "duplicate slices": bad.with_copies, "strangers among the slices": bad.among_strangers,
    "a deflated bomb among the slices": bad.deflated_bomb,
}


@pytest.mark.parametrize("kind", SOUND)
def test_odd_but_sound_is_read_right(kind, tmp_path, good):
    (tmp_path / "in").mkdir()
    path = SOUND[kind](tmp_path / "in")
    frame, reference = good
    table = pd.concat([frame, pd.DataFrame([("odd", "pb", "b", str(path), "train")], columns=COLUMNS)], ignore_index=True)
    table.to_csv(tmp_path / "cohort.csv", index=False)
    report = prepare(tmp_path / "cohort.csv", tmp_path / "out", settings(), "sync")
    mips = load(tmp_path / "out")
    expected = data.coronal_mip(nib.as_closest_canonical(nib.Nifti1Image(bad.body(), bad.AFFINE)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = data.read_mip(path)
    right = found.shape == expected.shape and np.allclose(found, expected, atol=9 / 32000)
    unharmed = np.array_equal(mips.suv[:3], reference.suv)
    BAD_INPUT["odd but sound: read right"][kind] = {"clear": right, "unharmed": unharmed}
    assert right and unharmed and (report.prepared, report.rejected) == (4, 0)


# ---- cohorts ------------------------------------------------------------------------------------------------------

ROWS = [("a", "p1", "x", "a.nii.gz", "train"), ("b", "p2", "y", "b.nii.gz", "train"), ("c", "p3", "x", "c.nii.gz", "test"),
        ("d", "p4", "y", "d.nii.gz", "test")]


def csv(rows=ROWS, header=COLUMNS, sep=",") -> bytes:
    return "".join(sep.join(r) + "\n" for r in (header, *rows)).encode()


def _with(row, column, value):
    rows = [list(r) for r in ROWS]
    rows[row][COLUMNS.index(column)] = value
    return csv(rows)


COHORTS = {
    "empty file": (b"", "cohort.csv is empty"), "header only": (csv([]), "no exams"),
    "missing column": (csv([r[:3] + r[4:] for r in ROWS], COLUMNS[:3] + COLUMNS[4:]), "no column path"),
    "duplicate exam": (_with(2, "exam_id", "a"), "rows 2 and 4 have the same exam_id"),
    "duplicate file": (_with(2, "path", "a.nii.gz"), "rows 2 and 4 have the same path"),
    "patient in two splits": (_with(3, "patient_id", "p1"), "rows 2 and 5: one patient is in both splits"),
    "unknown split": (_with(1, "split", "valid"), "row 3: split"), "empty class": (_with(1, "class", ""), "row 3: class is empty"),
    "class twice in other capitals": (_with(1, "class", "X"), "capitals"),
    "one class only": (csv([(*r[:2], "x", *r[3:]) for r in ROWS]), "one class only"),
    "one exam in each class": (csv([r[:4] for r in ROWS[:2]], COLUMNS[:4]), "two patients or more"),
    "nothing held out": (csv([(*r[:4], "train") for r in ROWS]), "no test exam"),
    "ragged row": (csv([*ROWS, ("e", "p5")]), "row 6: 2 values"), "open quote": (csv() + b'"e,p5,x,e,train\n', "quotes"),
    "semicolons in one row": (csv() + csv(ROWS[:1], sep=";").splitlines()[1], "row 6: 1 values"),
    "Excel workbook": (b"PK\x03\x04" + bytes(200), "Excel"), "binary": (bytes(range(256)) * 20, "cohort.csv"),
    "half a UTF-16 file": (csv().decode().encode("utf-16")[:-1], "text file|cohort.csv"),
    "column twice": (csv(header=("exam_id", "exam_id", "class", "path", "split")), "appears twice"),
    "giant field": (_with(1, "path", "x" * 200_000), "row 3|field"),
}


@pytest.mark.parametrize("kind", [*COHORTS, "a folder", "missing file", "NUL in its name"])
def test_a_bad_cohort_leaves_the_finished_dataset_alone(kind, tmp_path, good, capsys):
    out, path = tmp_path / "out", tmp_path / "cohort.csv"
    prepare(good[0], out, settings(), "sync")
    if kind in COHORTS:
        path.write_bytes(COHORTS[kind][0])
        why = COHORTS[kind][1]
    else:
        path, why = {"a folder": (tmp_path, "cannot be read"), "missing file": (tmp_path / "gone.csv", "gone.csv does not exist"),
                     "NUL in its name": (str(path) + "\0.csv", "does not exist|cannot be read")}[kind]
    with pytest.raises(RadioganError) as caught:
        prepare(path, out, settings(), "sync")
    unharmed = load(out).sha256 == good[1].sha256
    tried("cohort csv", kind, str(caught.value), why, unharmed)
    assert unharmed and "p1" not in str(caught.value)


@pytest.mark.parametrize("kind, change", [
    ("byte-order mark", lambda c: b"\xef\xbb\xbf" + c), ("semicolons", lambda c: c.replace(b",", b";")),
    ("tabs and CR LF", lambda c: c.replace(b",", b"\t").replace(b"\n", b"\r\n")), ("UTF-16", lambda c: c.decode().encode("utf-16")),
    ("carriage return inside a value", lambda c: c.replace(b",g1,", b',"g\r1",').replace(b"\ng1,", b'\n"g\r1",'))])
def test_what_spreadsheets_write_is_read(kind, change, tmp_path, good):
    frame, reference = good
    (tmp_path / "cohort.csv").write_bytes(change(frame.to_csv(index=False).encode()))
    prepare(tmp_path / "cohort.csv", tmp_path / "out", settings(), "sync")
    mips = load(tmp_path / "out")
    right = mips.sha256 == reference.sha256 and list(mips.exams["class"]) == list(reference.exams["class"])
    BAD_INPUT["odd but sound: read right"][f"csv with {kind}"] = {"clear": right, "unharmed": right}
    assert right


def test_class_counts_that_do_not_fit_the_cohort(tmp_path, good):
    with pytest.raises(RadioganError) as caught:
        prepare(good[0], tmp_path / "out", settings(train_exams=[1, 2, 3, 4, 5]), "sync")
    tried("cohort csv", "numbers for other classes", str(caught.value), "5 numbers but the cohort has 2 classes")
