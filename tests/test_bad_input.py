"""Bad input of every kind: one clear sentence each, exit code 1 on the command line, and the others
unharmed.

The table of what was tried is printed at the end of the test run. Kinds that are odd but sound must
be read, and read right.
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
import exam_builder as dicoms
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from survived import BAD_INPUT, faults_of_sentence

from radiogan_lib import batch, config, data, notebooks, paths
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
        raise KeyboardInterrupt("it took more than ten minutes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def settings(**more):
    return config.load("smoke", **{"train_exams": [0], "test_exams": [0], "keep_ids": True, **more})


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Three intact exams, and the dataset that they make without any other."""
    folder = tmp_path_factory.mktemp("good")
    rows = [
        (
            f"g{i}",
            f"p{i}",
            "ab"[i % 2],
            str(bad.nifti(folder, f"g{i}.nii.gz", bad.body(i + 1))),
            "test" if i == 2 else "train",
        )
        for i in range(3)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADIOGAN_HOME", str(folder / "home"))
        prepare(frame, folder / "out", settings(), "sync")
        return frame, load(folder / "out")


def tried(group, kind, text, why, unharmed=None, length=500):
    """Record a kind and check its sentence; `why` is a pattern that names fault or file."""
    import re

    wrong = faults_of_sentence(text, length)
    if not re.search(why, text):
        wrong.append(f"it does not say {why!r}")
    BAD_INPUT[group][kind] = {"clear": not wrong, "unharmed": unharmed}
    assert not wrong, f"{kind}: {'; '.join(wrong)}:\n{text}"


# ---- exams ---------------------------------------------------------------------------------------


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
    "wrong gzip CRC": (
        lambda f: bad.packed(f, lambda c: c[:-8] + bytes([c[-8] ^ 1]) + c[-7:]),
        "gzip stream is damaged",
    ),
    "wrong gzip length": (
        lambda f: bad.packed(f, lambda c: c[:-1] + b"\x07"),
        "gzip stream is damaged",
    ),
    "damaged in the middle": (
        lambda f: bad.packed(f, lambda c: c[:600] + bytes(80) + c[680:]),
        "damaged|cut off",
    ),
    "zero-byte .nii": (lambda f: bad.raw(f, "a.nii", lambda c: b""), "not a NIfTI|empty"),
    "zero-byte .nii.gz": (lambda f: bad.packed(f, lambda c: b""), "not a NIfTI|empty"),
    "gzip of nothing": (lambda f: bad.packed(f, lambda c: gzip.compress(b"")), "not a NIfTI"),
    "text named .nii.gz": (
        lambda f: bad.packed(f, lambda c: b"<html>404</html>" * 50),
        "not a NIfTI",
    ),
    "NaN": (_values(lambda v: np.where(v == 9, np.nan, v)), "not finite"),
    "infinite": (_values(lambda v: np.where(v == 9, np.inf, v)), "not finite"),
    "infinite by its slope": (
        lambda f: bad.raw(f, "a.nii", bad.header(112, "<f", 3e38)),
        "not finite|Bq/ml",
    ),
    "negative": (_values(lambda v: -v), "below zero"),
    "z-scores": (_values(lambda v: (v - v.mean()) / v.std()), "below zero"),
    "all zero": (_values(lambda v: v * 0), "empty"),
    "Bq/ml as SUV": (_values(lambda v: v * 5000), "Bq/ml"),
    "CT as PET": (_values(lambda v: v * 200 - 1000), "CT"),
    "CT by its name": (lambda f: bad.nifti(f, "patient_CT.nii.gz"), "name says CT"),
    "MR by its name": (lambda f: bad.nifti(f, "a_MR.nii.gz"), "name says CT, MR"),
    "label map": (lambda f: bad.nifti(f, "a.nii.gz", (bad.body() > 2).astype(np.uint8)), "8-bit"),
    "complex numbers": (
        lambda f: bad.nifti(f, "a.nii.gz", bad.body().astype(np.complex64)),
        "complex",
    ),
    "two dimensions": (_shape(12, 10), "picture"),
    "five dimensions": (_shape(6, 5, 4, 1, 3), "several volumes"),
    "one slice": (_shape(12, 10, 1), "single slice"),
    "dynamic": (_shape(6, 5, 4, 7), "several volumes"),
    "giant dimensions": (
        lambda f: bad.raw(f, "a.nii.gz", bad.header(40, "<4h", 3, 32767, 32767, 32767)),
        "no PET exam",
    ),
    "dimensions beyond the file": (
        lambda f: bad.raw(f, "a.nii.gz", bad.header(40, "<4h", 3, 800, 800, 800)),
        "cut off",
    ),
    "negative dimensions": (
        lambda f: bad.raw(f, "a.nii", bad.header(40, "<4h", 3, -12, 10, 14)),
        "single slice|damaged",
    ),
    "decompression bomb": (bad.bomb, "empty"),
    "header as voxels": (lambda f: bad.raw(f, "a.nii", bad.header(108, "<f", 16.0)), "vox_offset"),
    "singular affine": (lambda f: bad.raw(f, "a.nii", bad.affine(np.zeros((3, 4)))), "singular"),
    "sheared affine": (
        lambda f: bad.raw(f, "a.nii", bad.affine([[8, 3, 0, 0], [0, 8, 0, 0], [0, 0, 6, 0]])),
        "sheared",
    ),
    "affine of NaN": (
        lambda f: bad.raw(f, "a.nii", bad.affine(np.full((3, 4), np.nan))),
        "singular or not finite",
    ),
    "voxels of a micrometre": (
        lambda f: bad.raw(f, "a.nii", bad.affine(np.eye(4)[:3] * 1e-3)),
        "no PET scanner",
    ),
    "no orientation": (lambda f: bad.raw(f, "a.nii", bad.header(252, "<2h", 0, 0)), "sform_code"),
    "header without its image": (_no_image, "not beside it"),
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
    "no pixel data": (
        lambda f: bad.series(f, lambda ds, k: delattr(ds, "PixelData") if k == 2 else None),
        "decoded",
    ),
    "pixel data cut off": (
        lambda f: bad.series(
            f, lambda ds, k: setattr(ds, "PixelData", ds.PixelData[:40]) if k == 2 else None
        ),
        "decoded",
    ),
    "two studies mixed": (bad.two_series, "several studies"),
    "missing slices": (lambda f: bad.series(f, _drop(4, 5)), "slices are missing"),
    "missing end": (lambda f: bad.series(f, _drop(13)), "ends early"),
    "one slice": (lambda f: bad.series(f, _drop(*range(1, 14))), "one slice"),
    "two images at one place": (bad.two_images_one_place, "two different images"),
    "missing weight": (lambda f: bad.series(f, PatientWeight=None), "Patient Weight"),
    "weight of zero": (lambda f: bad.series(f, PatientWeight="0"), "Patient Weight"),
    "missing dose": (
        lambda f: bad.series(f, drug=dicoms.item(RadionuclideTotalDose=None)),
        "Total Dose",
    ),
    "missing half-life": (
        lambda f: bad.series(f, drug=dicoms.item(RadionuclideHalfLife=None)),
        "Half Life",
    ),
    "dose after the scan": (
        lambda f: bad.series(f, drug=dicoms.item(RadiopharmaceuticalStartTime="123000")),
        "injected after the scan",
    ),
    "two injections": (lambda f: bad.series(f, drug=dicoms.item() + dicoms.item()), "2 items"),
    "tracer is not FDG": (
        lambda f: bad.series(f, drug=dicoms.item(Radiopharmaceutical="18F-PSMA-1007")),
        "other than FDG",
    ),
    "nuclide is not F-18": (
        lambda f: bad.series(f, drug=dicoms.item(RadionuclideHalfLife="4062.6")),
        "fluorine-18",
    ),
    "no attenuation correction": (lambda f: bad.series(f, CorrectedImage=["DECY"]), "attenuation"),
    "unknown units": (lambda f: bad.series(f, Units="PROPCPS"), "Units"),
    "no slope": (lambda f: bad.series(f, RescaleSlope=None), "Rescale Slope"),
    "no position": (lambda f: bad.series(f, ImagePositionPatient=None), "Image Position"),
    "enhanced PET": (
        lambda f: bad.series(f, SOPClassUID="1.2.840.10008.5.1.4.1.1.130"),
        "Enhanced PET",
    ),
    "CT": (
        lambda f: bad.series(f, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
        "no PET images .14 CT",
    ),
    "MR": (
        lambda f: bad.series(f, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"),
        "no PET images .14 MR",
    ),
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
    "link to itself": (lambda f: bad.loop(f / "a.nii.gz"), "leads nowhere"),
    "folder that links to itself": (lambda f: bad.loop(f / "loop" / "loop").parent, "no DICOM"),
    "named pipe": (lambda f: bad.fifo(f / "a.nii.gz"), "not a file"),
    "folder of named pipes": (lambda f: bad.fifo(f / "pipes" / "1.dcm").parent, "no DICOM"),
    "device": (_device, "not a file"),
    "NUL in the path": (lambda f: str(f / "a\0b.nii.gz"), "no such file"),
    "path too long": (lambda f: f / ("x" * 5000 + ".nii.gz"), "no such file"),
    "home of nobody": (lambda f: "~nobody-of-that-name/a.nii.gz", "no such file"),
    "home of a NUL": (lambda f: "~\0x/a.nii.gz", "no such file"),
    "phantom of no class": (lambda f: "phantom:bone/3", "no phantom class"),
    "phantom without a number": (lambda f: "phantom:lung", "phantom:<class>/<seed>"),
    "phantom of a path": (lambda f: "phantom:../../etc/passwd", "phantom:<class>/<seed>"),
}
EXAMS = [
    (g, k) for g, kinds in (("NIfTI", NIFTI), ("DICOM", DICOM), ("places", PLACES)) for k in kinds
]
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
    table = pd.concat(
        [frame, pd.DataFrame([("bad", "pb", "b", str(path), "train")], columns=COLUMNS)],
        ignore_index=True,
    )
    report = prepare(table, tmp_path / "out", settings(), "sync")
    mips = load(tmp_path / "out")
    unharmed = mips.sha256 == reference.sha256 and mips.exam_ids == reference.exam_ids
    tried(group, kind, str(caught.value), why, unharmed)
    assert unharmed and (report.prepared, report.rejected) == (3, 1)
    reject = pd.read_csv(tmp_path / "out/rejects.csv").iloc[0]
    assert (
        reject["exam"] == "bad"
        and faults_of_sentence(f"{reject['reason']}. {reject['remedy']}") == []
    )
    assert str(tmp_path) not in str(caught.value)


def _named(*parts):
    def build(folder):
        place = folder.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        return bad.nifti(place.parent, place.name)

    return build


def _flipped(folder):
    """Stored the other way left to right and front to back, with an affine that says so."""
    flip = nib.orientations.axcodes2ornt("LPI")
    nib.save(nib.Nifti1Image(bad.body(), bad.AFFINE).as_reoriented(flip), folder / "a.nii.gz")
    return folder / "a.nii.gz"


SOUND = {
    "flipped affine": _flipped,
    "spaces in the path": _named("a folder", "an exam.nii.gz"),
    "unicode in the path": _named("Größe", "検査 ☢.nii.gz"),
    "newline in the path": _named("two\nlines", "a\nb.nii.gz"),
    "quotes in the path": _named('say "hi", you', "it's.nii.gz"),
    "leading dashes": _named("--help", "-rf.nii.gz"),
    "offset of zero": lambda f: bad.raw(f, "a.nii", bad.header(108, "<f", 0.0)),
    "duplicate slices": bad.with_copies,
    "strangers among the slices": bad.among_strangers,
    "a deflated bomb among the slices": bad.deflated_bomb,
}


@pytest.mark.parametrize("kind", SOUND)
def test_odd_but_sound_is_read_right(kind, tmp_path, good):
    (tmp_path / "in").mkdir()
    path = SOUND[kind](tmp_path / "in")
    frame, reference = good
    table = pd.concat(
        [frame, pd.DataFrame([("odd", "pb", "b", str(path), "train")], columns=COLUMNS)],
        ignore_index=True,
    )
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


# ---- cohorts -------------------------------------------------------------------------------------

ROWS = [
    ("a", "p1", "x", "a.nii.gz", "train"),
    ("b", "p2", "y", "b.nii.gz", "train"),
    ("c", "p3", "x", "c.nii.gz", "test"),
    ("d", "p4", "y", "d.nii.gz", "test"),
]


def csv(rows=ROWS, header=COLUMNS, sep=",") -> bytes:
    return "".join(sep.join(r) + "\n" for r in (header, *rows)).encode()


def _with(row, column, value):
    rows = [list(r) for r in ROWS]
    rows[row][COLUMNS.index(column)] = value
    return csv(rows)


COHORTS = {
    "empty file": (b"", "cohort.csv is empty"),
    "header only": (csv([]), "no exams"),
    "missing column": (
        csv([r[:3] + r[4:] for r in ROWS], COLUMNS[:3] + COLUMNS[4:]),
        "no column path",
    ),
    "duplicate exam": (_with(2, "exam_id", "a"), "rows 2 and 4 have the same exam_id"),
    "duplicate file": (_with(2, "path", "a.nii.gz"), "rows 2 and 4 have the same path"),
    "patient in two splits": (
        _with(3, "patient_id", "p1"),
        "rows 2 and 5: one patient is in both splits",
    ),
    "unknown split": (_with(1, "split", "valid"), "row 3: split"),
    "empty class": (_with(1, "class", ""), "row 3: class is empty"),
    "class twice in other capitals": (_with(1, "class", "X"), "capitals"),
    "one class only": (csv([(*r[:2], "x", *r[3:]) for r in ROWS]), "one class only"),
    "one exam in each class": (csv([r[:4] for r in ROWS[:2]], COLUMNS[:4]), "two patients or more"),
    "nothing held out": (csv([(*r[:4], "train") for r in ROWS]), "no test exam"),
    "ragged row": (csv([*ROWS, ("e", "p5")]), "row 6: 2 values"),
    "open quote": (csv() + b'"e,p5,x,e,train\n', "quotes"),
    "semicolons in one row": (csv() + csv(ROWS[:1], sep=";").splitlines()[1], "row 6: 1 values"),
    "Excel workbook": (b"PK\x03\x04" + bytes(200), "Excel"),
    "binary": (bytes(range(256)) * 20, "cohort.csv"),
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
        path, why = {
            "a folder": (tmp_path, "cannot be read"),
            "missing file": (tmp_path / "gone.csv", "gone.csv does not exist"),
            "NUL in its name": (str(path) + "\0.csv", "does not exist|cannot be read"),
        }[kind]
    with pytest.raises(RadioganError) as caught:
        prepare(path, out, settings(), "sync")
    unharmed = load(out).sha256 == good[1].sha256
    tried("cohort csv", kind, str(caught.value), why, unharmed)
    assert unharmed and "p1" not in str(caught.value)


@pytest.mark.parametrize(
    "kind, change",
    [
        ("byte-order mark", lambda c: b"\xef\xbb\xbf" + c),
        ("semicolons", lambda c: c.replace(b",", b";")),
        ("tabs and CR LF", lambda c: c.replace(b",", b"\t").replace(b"\n", b"\r\n")),
        ("UTF-16", lambda c: c.decode().encode("utf-16")),
        (
            "carriage return inside a value",
            lambda c: c.replace(b",g1,", b',"g\r1",').replace(b"\ng1,", b'\n"g\r1",'),
        ),
    ],
)
def test_what_spreadsheets_write_is_read(kind, change, tmp_path, good):
    frame, reference = good
    (tmp_path / "cohort.csv").write_bytes(change(frame.to_csv(index=False).encode()))
    prepare(tmp_path / "cohort.csv", tmp_path / "out", settings(), "sync")
    mips = load(tmp_path / "out")
    right = mips.sha256 == reference.sha256 and list(mips.exams["class"]) == list(
        reference.exams["class"]
    )
    BAD_INPUT["odd but sound: read right"][f"csv with {kind}"] = {"clear": right, "unharmed": right}
    assert right


def test_class_counts_that_do_not_fit_the_cohort(tmp_path, good):
    with pytest.raises(RadioganError) as caught:
        prepare(good[0], tmp_path / "out", settings(train_exams=[1, 2, 3, 4, 5]), "sync")
    tried(
        "cohort csv",
        "numbers for other classes",
        str(caught.value),
        "5 numbers but the cohort has 2 classes",
    )


# ---- datasets ------------------------------------------------------------------------------------


def _json(**changes):
    def damage(out):
        content = json.loads((out / "dataset.json").read_text()) | changes
        (out / "dataset.json").write_text(
            json.dumps({k: v for k, v in content.items() if v is not ...}, default=str)
        )

    return damage


def _text(name, content):
    return lambda out: (out / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


DATASETS = {
    "never made": (lambda out: (out / "dataset.json").unlink(), "dataset.json.*Run notebooks/01"),
    "wrong canvas": (_json(canvas=[80, 48]), "mips.npy holds float32 .* where dataset.json says"),
    "wrong number of exams": (_json(exams=7), "mips.npy holds"),
    "canvas is text": (_json(canvas="abc"), "mips.npy holds|damaged"),
    "changed hash": (_json(sha256="0" * 64), "mips.npy changed"),
    "another version": (_json(schema_version=99), "version 99"),
    "pictures cut off": (
        lambda out: _text("mips.npy", (out / "mips.npy").read_bytes()[:-9])(out),
        "mips.npy changed",
    ),
    "exams cut off": (
        lambda out: _text("exams.csv", (out / "exams.csv").read_bytes()[:-9])(out),
        "exams.csv changed",
    ),
    "pictures gone": (lambda out: (out / "mips.npy").unlink(), "mips.npy is missing"),
    "description cut off": (
        lambda out: _text("dataset.json", (out / "dataset.json").read_bytes()[:200])(out),
        "damaged",
    ),
    "description of a thousand brackets": (_text("dataset.json", "[" * 100_000), "damaged"),
    "description is a list": (_text("dataset.json", "[1]"), "damaged"),
    "classes of another cohort": (_json(class_names=["x", "y"]), "contradict"),
    "field of view of letters": (_json(field_of_view_mm="ab"), "damaged"),
    "endless SUV": (_json(suv_max=10**400), "damaged"),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_a_bad_dataset_is_not_trusted_and_is_made_again(kind, tmp_path, home, good):
    out, frame = home / "data" / "set", good[0]
    prepare(frame, out, settings(), "sync")
    DATASETS[kind][0](out)
    with pytest.raises(RadioganError) as caught:
        load(out)
    prepare(frame, out, settings(), "sync")  # mended by running again
    again = load(out).sha256 == good[1].sha256
    tried("dataset", kind, str(caught.value), DATASETS[kind][1], again)
    assert again


# ---- settings ------------------------------------------------------------------------------------


def _laughs():
    """Nine lines that name a thousand million values."""
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"{c}: &{c} [{', '.join(['*' + p] * 10)}]" for p, c in zip("abcdefgh", "bcdefghi")]
    return "\n".join(lines) + "\nsettings: {epochs: *i}\n"


PROFILES = {
    "unknown key": ("settings: {epocs: 3}", "Did you mean 'epochs'"),
    "wrong type": ("settings: {epochs: three}", "must be int"),
    "negative epochs": ("settings: {epochs: -1}", "epochs = -1; choose a value between 1"),
    "not a number": ("settings: {learning_rate: .nan}", "nan; choose"),
    "numbers as keys": ("settings: {1: 2}", "no setting '1'"),
    "an endless number": (f"settings: {{learning_rate: {'9' * 400}}}", "choose a value"),
    "no table": ("settings: [1, 2]", "mine.yaml"),
    "not YAML": ("a: [", "mine.yaml"),
    "binary": ("\x00\x01", "mine.yaml"),
    "code in YAML": ("!!python/object/apply:os.system ['true']", "mine.yaml"),
    "brackets without end": ("[" * 5000, "mine.yaml"),
    "a thousand million values": (_laughs(), "epochs = a list of 10"),
    "empty list": ("settings: {train_exams: []}", "train_exams is empty"),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_a_bad_profile(kind, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.yaml").write_text(PROFILES[kind][0])
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    with pytest.raises(config.ConfigError) as caught:
        config.load("mine")
    code = batch.main(["--profile", "mine"])
    tried("settings", kind, str(caught.value), PROFILES[kind][1], length=1500)
    assert code == 1 and str(caught.value) in capsys.readouterr().err


# ---- command lines
# ------------------------------------------------------------------------------------------------


def _evaluation(*arguments):
    from radiogan_lib.evaluation.__main__ import main

    return main(list(arguments))


def _three(folder, content) -> list[str]:
    """--train and its two companions, all the same bad file."""
    path = folder / "images.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(
        path, content, allow_pickle=True
    )
    return [
        "--train",
        str(path),
        "--holdout",
        str(path),
        "--generated",
        str(path),
        "--out",
        str(folder / "report"),
    ]


def _labelled(folder, labels) -> list[str]:
    path = folder / "images.npz"
    np.savez(path, images=np.ones((20, 8, 8), np.float32), labels=labels)
    return sum(([f"--{n}", str(path)] for n in ("train", "holdout", "generated")), [])


def _png_bomb(folder):
    """A PNG whose header promises 60000 x 60000 pixels."""
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    (folder / "in").mkdir()
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    (folder / "in" / "big.png").write_bytes(content)
    return sum(([f"--{n}", str(folder / "in")] for n in ("train", "holdout", "generated")), [])


def _fetch_public(*arguments):
    folder = str(paths.REPO / "data_manifest")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import fetch_public

    return fetch_public.main(list(arguments))


def _file_as_home(folder, monkeypatch):
    (folder / "file").write_text("x")
    monkeypatch.setenv("RADIOGAN_HOME", str(folder / "file" / "home"))


COMMANDS = {
    "batch: misspelt parameter": (
        lambda f: batch.main(["--set", "clas_a=lung"]),
        "--set clas_a: no notebook has this parameter",
    ),
    "batch: misspelt profile": (lambda f: batch.main(["--profile", "tech"]), "no profile 'tech'"),
    "batch: profile that is a path": (
        lambda f: batch.main(["--profile", "../../etc/passwd"]),
        "no profile",
    ),
    "batch: setting without a value": (lambda f: batch.main(["--set", "epochs"]), "name=value"),
    "batch: profile as a setting": (
        lambda f: batch.main(["--set", "profile=smoke"]),
        "choose the profile with --profile",
    ),
    "batch: negative epochs": (lambda f: batch.main(["--set", "epochs=-3"]), "epochs = -3"),
    "batch: no such cohort": (
        lambda f: batch.main(["--set", "cohort=gone.csv"]),
        "gone.csv does not exist",
    ),
    "batch: a cohort in the home of nobody": (
        lambda f: batch.main(["--set", "cohort=~nobody-of-that-name/a.csv"]),
        "does not exist",
    ),
    "batch: a folder as cohort": (
        lambda f: batch.main(["--set", f"cohort={f}"]),
        "does not exist|is a folder",
    ),
    "batch: no such notebook": (lambda f: batch.main(["--from", "40"]), "no notebook lies between"),
    "evaluation: nothing there": (
        lambda f: _evaluation(
            *_three(f, b"")[:1], str(f / "gone"), "--holdout", "x", "--generated", "x"
        ),
        "gone",
    ),
    "evaluation: not images": (lambda f: _evaluation(*_three(f, b"\x93NUMPY junk")), "images.npy"),
    "evaluation: pickled objects": (
        lambda f: _evaluation(*_three(f, np.array([{}, print], dtype=object))),
        "images.npy",
    ),
    "evaluation: NaN": (
        lambda f: _evaluation(*_three(f, np.full((20, 8, 8), np.nan, np.float32))),
        "NaN|finite|number",
    ),
    "evaluation: pickled labels": (
        lambda f: _evaluation(*_labelled(f, np.array([{}] * 20, dtype=object))),
        "labels in images.npz",
    ),
    "evaluation: labels of letters": (
        lambda f: _evaluation(*_labelled(f, np.array(["a"] * 20))),
        "labels in images.npz",
    ),
    "evaluation: three images": (
        lambda f: _evaluation(*_three(f, np.zeros((3, 8, 8), np.float32))),
        "at least 10",
    ),
    "evaluation: one dimension": (
        lambda f: _evaluation(*_three(f, np.zeros(20, np.float32))),
        "shape|dimension",
    ),
    "evaluation: picture bomb": (lambda f: _evaluation(*_png_bomb(f)), "big.png"),
    "download: no table of labels": (
        lambda f: _fetch_public("--labels", str(f / "gone.csv"), "--classes", "lung"),
        "gone.csv",
    ),
    "download: unknown class": (
        lambda f: _fetch_public("--classes", "toe", "--collections", "tcga_luad"),
        "toe",
    ),
    "download: negative number": (
        lambda f: _fetch_public("--per-class", "-1"),
        "cannot be negative",
    ),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_bad_command_ends_with_one_sentence_and_code_1(kind, tmp_path, capsys, home):
    call, why = COMMANDS[kind]
    code = call(tmp_path)
    said = capsys.readouterr().err.strip()
    tried(
        "command line",
        kind,
        said,
        why,
        unharmed=not home.exists() or not list(home.rglob("*.part*")),
        length=1800,
    )
    assert code == 1


# ---- networks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run with untrained networks; no training is needed to break it."""
    from gan_tools import small

    from radiogan_lib import gan

    folder, cfg = tmp_path_factory.mktemp("run"), small()
    gan.build_generator(cfg, 3).save(folder / "generator.keras")
    gan.build_discriminator(cfg, 3).save(folder / "discriminator.keras")
    paths.write_json(folder / "config.json", cfg.as_dict())
    paths.write_json(folder / "provenance.json", {"class_names": ["a", "b", "c"]})
    (folder / "history.csv").write_text("epoch,d_loss\n1,0.7\n2,0.6\n")
    return folder


def _other_canvas(run):
    from gan_tools import small

    from radiogan_lib import gan

    gan.build_generator(small(doublings=2), 3).save(run / "generator.keras")


def _other_classes(run):
    from gan_tools import small

    from radiogan_lib import gan

    gan.build_generator(small(), 5).save(run / "generator.keras")


def _lambda(run):
    """A network that carries code: loading it would run what somebody else wrote."""
    import keras

    x = keras.Input((3,))
    keras.Model(x, keras.layers.Lambda(lambda v: v * 2, output_shape=(3,))(x)).save(
        run / "generator.keras"
    )


def _foreign(run):
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(run / "generator.keras")


def _cut(name, keep=0.5):
    return lambda run: (run / name).write_bytes(
        (run / name).read_bytes()[: int(keep * (run / name).stat().st_size)]
    )


NETWORKS = {
    "weights of another canvas": (_other_canvas, "20 x 12 pixels.*40 x 24"),
    "weights of other classes": (_other_classes, "knows 5 classes"),
    "not a Keras file": (
        lambda run: (run / "generator.keras").write_bytes(b"not a network"),
        "cannot be read",
    ),
    "HDF5 named .keras": (
        lambda run: (run / "generator.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500)),
        "cannot be read",
    ),
    "pickle named .keras": (
        lambda run: (run / "generator.keras").write_bytes(b"\x80\x04cos\nsystem\n"),
        "cannot be read",
    ),
    "Keras file with a Lambda layer": (_lambda, "cannot be read"),
    "network of another project": (_foreign, "not a generator"),
    "network cut off": (_cut("generator.keras"), "cannot be read"),
    "empty network": (_cut("discriminator.keras", 0), "cannot be read"),
    "settings cut off": (_cut("config.json"), "cannot be read"),
    "settings of another library": (
        lambda run: (run / "config.json").write_text('{"learning_speed": 1}'),
        "learning_speed",
    ),
    "no class names": (lambda run: (run / "provenance.json").write_text("{}"), "cannot be read"),
    "nothing there": (lambda run: (run / "generator.keras").unlink(), "generator.keras is missing"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_that_cannot_be_trusted(kind, trained, home):
    import shutil

    from radiogan_lib import gan

    run = home / "runs" / "mine"
    shutil.copytree(trained, run)
    assert gan.load_run(run).class_names == ["a", "b", "c"]
    NETWORKS[kind][0](run)
    with pytest.raises(RadioganError) as caught:
        gan.load_run(run)
    tried("networks", kind, str(caught.value), NETWORKS[kind][1], length=1500)


def test_a_history_cut_off_keeps_its_whole_lines(trained, home):
    import shutil

    from radiogan_lib import gan

    run = home / "runs" / "mine"
    shutil.copytree(trained, run)
    _cut("history.csv", 0.9)(run)
    assert list(gan.load_run(run).history.epoch) == [1]
    for junk in (b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"epoch\nx\n"):
        (run / "history.csv").write_bytes(junk)
        assert len(gan.load_run(run).history) == 0


def test_exams_of_another_canvas_are_not_trained_on(tmp_path):
    from gan_tools import blobs, small

    from radiogan_lib import gan

    with pytest.raises(gan.RunError) as caught:
        gan.train(small(doublings=2), blobs(small()), tmp_path / "run")
    tried(
        "networks",
        "exams of another canvas",
        str(caught.value),
        "40 x 24 pixels, but doublings = 2",
        not (tmp_path / "run").exists(),
    )


def test_samples_with_code_in_them_are_not_opened(trained, home):
    import shutil

    from radiogan_lib import gan

    run = home / "runs" / "mine"
    shutil.copytree(trained, run)
    (run / "samples").mkdir()
    np.save(
        run / "samples" / "epoch-000001.npy", np.array([print], dtype=object), allow_pickle=True
    )
    with pytest.raises(gan.RunError) as caught:
        gan.samples_over_epochs(gan.load_run(run))
    tried("networks", "pickled pictures", str(caught.value), "samples")


# ---- disks ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, options: str):
    """A disk of its own in memory; skips where nothing may be mounted."""
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("mount"):
        pytest.skip("there is no mount here; the same fault is injected in another test")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs root; the same fault is injected in another test")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def _fill(folder: Path, leave: int) -> Path:
    """Take all but `leave` bytes of a small disk."""
    import os

    with open(folder / "ballast", "wb") as f:
        left = os.statvfs(folder)
        f.write(bytes(max(0, left.f_bavail * left.f_frsize - leave)))
    return folder / "ballast"


def test_a_disk_that_fills_up_during_preparation(tmp_path, good, monkeypatch):
    """A cohort of 300 kB of pictures on 128 kB of room: one sentence, and the rest of the work when
    there is room."""
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        cfg = settings(doublings=5)
        ballast = _fill(disk, 128 << 10)
        with pytest.raises(RadioganError) as caught:
            prepare(good[0], disk / "out", cfg, "sync")
        kept = len(list((disk / "out/cache").glob("[!.]*.npz")))
        half = list((disk / "out").rglob("*.part*"))
        ballast.unlink()
        report = prepare(good[0], disk / "out", cfg, "sync")
        prepare(good[0], tmp_path / "reference", cfg, "sync")
        unharmed = (
            load(disk / "out").sha256 == load(tmp_path / "reference").sha256
            and report.reused == kept
            and not half
        )
    tried("disk", "full during preparation", str(caught.value), "No space left on device", unharmed)
    assert unharmed and kept >= 1


def test_a_disk_that_fills_up_during_training(tmp_path, monkeypatch):
    from gan_tools import blobs, small

    from radiogan_lib import gan

    cfg = small(epochs=2, samples_every=1)
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        ballast = _fill(disk, 300 << 10)
        with pytest.raises(RadioganError) as caught:
            gan.train(cfg, blobs(cfg), disk / "run", checkpoint_seconds=0)
        half = list((disk / "run").rglob("*.part*"))
        ballast.unlink()
        run = gan.train(cfg, blobs(cfg), disk / "run", checkpoint_seconds=0)
        whole = gan.train(cfg, blobs(cfg), tmp_path / "reference", checkpoint_seconds=0)
        same = all(
            np.array_equal(a, b)
            for a, b in zip(run.generator.get_weights(), whole.generator.get_weights(), strict=True)
        )
    tried(
        "disk",
        "full during training",
        str(caught.value),
        "No space left on device.*kept",
        same and not half,
    )
    assert same and run.finished and not half


def test_a_full_disk_injected_where_none_can_be_mounted(tmp_path, monkeypatch):
    import errno
    import os

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    paths.write_text(tmp_path / "old.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(paths.WriteError) as caught:
        paths.write_text(tmp_path / "old.txt", "new")
    assert (tmp_path / "old.txt").read_text() == "old" and len(list(tmp_path.glob(".*"))) == 0
    tried(
        "disk",
        "full (injected)",
        str(caught.value),
        "old.txt cannot be written .No space left",
        True,
    )


READ_ONLY = {
    "preparation": (
        lambda place, frame: prepare(frame, place / "out", settings(), "sync"),
        "Read-only",
    ),
    "training": (lambda place, frame: _train_in(place / "run"), "Read-only"),
    "evaluation": (lambda place, frame: _report_in(place / "report"), "Read-only"),
    "batch": (
        lambda place, frame: notebooks.run(
            _tiny_notebook(place), place / "runs" / "00.ipynb", {}, 60
        ),
        "Read-only",
    ),
}


def _train_in(folder):
    from gan_tools import blobs, small

    from radiogan_lib import gan

    gan.train(small(), blobs(small()), folder)


def _report_in(folder):
    import toy_mips

    from radiogan_lib.evaluation import evaluate, write_report

    sets = [images for images, _ in toy_mips.split(3, n_train=20, n_holdout=20, n_fresh=20)]
    write_report(evaluate(*sets, {"controls": False}, rounds=10), folder)


def _tiny_notebook(place):
    import nbformat

    from radiogan_lib.notebooks import KERNEL

    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": KERNEL}, cells=[nbformat.v4.new_code_cell("1")]
    )
    nbformat.write(nb, place.parent / "tiny.ipynb")
    return place.parent / "tiny.ipynb"


@pytest.mark.parametrize("kind", READ_ONLY)
def test_a_read_only_place(kind, tmp_path, good):
    call, why = READ_ONLY[kind]
    with small_disk(tmp_path / "disk", "size=1m,ro") as disk:
        with pytest.raises(RadioganError) as caught:
            call(disk, good[0])
    tried("disk", f"read-only: {kind}", str(caught.value), why)


@pytest.mark.parametrize("kind", ["preparation", "training"])
def test_a_file_where_the_folder_should_be(kind, tmp_path, good):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RadioganError) as caught:
        READ_ONLY[kind][0](tmp_path / "file", good[0])
    unharmed = (tmp_path / "file").read_text() == "mine"
    tried(
        "disk",
        f"a file in the way: {kind}",
        str(caught.value),
        "Not a directory|File exists",
        unharmed,
    )
    assert unharmed


def test_an_output_folder_in_use_is_waited_for(tmp_path, good):
    """Another process holds the folder: the second run says so, waits, and then finds the work
    done."""
    import threading
    import time

    import filelock

    out = tmp_path / "out"
    out.mkdir()
    lock = filelock.FileLock(out / ".lock", thread_local=False)
    lock.acquire()
    good[0].to_csv(tmp_path / "cohort.csv", index=False)
    script = textwrap.dedent(f"""
        from radiogan_lib import config, data
        cfg = config.load("smoke", train_exams=[0], test_exams=[0], keep_ids=True)
        print(data.prepare({str(tmp_path / "cohort.csv")!r}, {str(out)!r}, cfg, "sync").prepared)
    """)
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=paths.REPO
    )
    first = run.stdout.readline()
    waited = run.poll() is None and not (out / "dataset.json").exists()
    threading.Timer(0.2, lock.release).start()
    rest = run.communicate(timeout=50)[0]
    unharmed = waited and rest.split()[-1] == "3" and load(out).sha256 == good[1].sha256
    tried(
        "disk",
        "output folder in use",
        first.strip() + ".",
        "another run writes to this folder; waiting",
        unharmed,
    )
    assert unharmed and time.monotonic()


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 1], [0, 0, 1, 1], [0]])
def test_a_handful_of_exams_is_enough_to_watch_a_training(labels):
    """One or two exams in a class: the judge of classes has nothing to learn from, and says so by
    NaN."""
    from radiogan_lib.gan import diagnosis

    suv = np.random.default_rng(0).random((len(labels), 40, 24)).astype(np.float32)
    seen = diagnosis.SampleMeasures(suv, np.array(labels), 2).measure(suv, np.array(labels))
    BAD_INPUT["odd but sound: read right"][f"training exams of classes {labels}"] = {
        "clear": True,
        "unharmed": None,
    }
    assert np.isnan(seen["ceiling"]) and seen["chance"] == 0.5
