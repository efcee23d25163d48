"""Nothing that identifies a patient reaches an artefact, a log or a figure."""

import contextlib
import io
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

import petsuv
from radiogan_lib import config, data, paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data import deidentify
from radiogan_lib.data.dataset import load, prepare


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_key_is_made_once_private_and_outside_every_dataset(home):
    first = deidentify.key()
    assert len(first) == 32 and deidentify.key() == first
    assert stat.S_IMODE((home / "data/.key").stat().st_mode) == 0o600
    (home / "data/.key").chmod(0o644)
    assert deidentify.key() == first and stat.S_IMODE((home / "data/.key").stat().st_mode) == 0o600


def test_processes_that_start_together_agree_on_the_key():
    script = "from radiogan_lib.data import deidentify; print(deidentify.key().hex())"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=paths.REPO
        )
        for _ in range(4)
    ]
    assert len({run.communicate(timeout=60)[0] for run in runs}) == 1


@pytest.mark.parametrize("content", ["", "not hex", "abcd"])
def test_a_key_that_is_none_is_refused(home, content):
    (home / "data").mkdir(parents=True)
    (home / "data/.key").write_text(content)
    with pytest.raises(ConfigError, match="data/.key"):
        deidentify.key()


def test_hashes_need_the_key_and_keep_kinds_apart():
    one, two = b"1" * 32, b"2" * 32
    assert deidentify.hashed("exam", "17", one) == deidentify.hashed("exam", "17", one)
    seen = {
        deidentify.hashed(kind, name, key)
        for kind in ("exam", "patient")
        for name in ("17", "18")
        for key in (one, two)
    }
    assert len({s.split("-")[1] for s in seen}) == 8


@pytest.mark.parametrize(
    "text, left",
    [
        ("no file /home/doe/a b/1.dcm there", "no file … there"),
        ("cannot open 'C:\\Users\\doe\\x.nii.gz'", "cannot open '…'"),
        ("s3://bucket/uuid/ is empty", "… is empty"),
        ("series 1.2.840.113619.2.55.3 twice", "series … twice"),
        ("scanned 20190317 or 2019-03-17 or 20190317101500.12", "scanned … or … or …"),
        ("name DOE^JOHN^^DR found", "name …"),
        ("the file doe_john.nii.gz ends early", "the file … ends early"),
        (
            "slope 2.429e-4 of (0028,1053), 267 slices of 3.27 mm, SUV 66.52, 128 x 128; 5.4/2.1",
            None,
        ),
        ("Units (0054,1001) is CNTS without (7053,1000) and/or (7053,1009)", None),
    ],
)
def test_scrub_takes_what_identifies_and_leaves_numbers(text, left):
    assert deidentify.scrub(text) == (text if left is None else left)


def test_scrub_takes_the_rows_own_values():
    scrubbed = deidentify.scrub(
        "Exam MRN-77 of Mustermann: 7 slices", ("mrn-77", "Mustermann", "7")
    )
    assert scrubbed == "Exam … of …: 7 slices"


PLANTED = {
    "name": "Mustermann",
    "given": "Erika",
    "birth": "19640812",
    "accession": "ACC7734219",
    "mrn": "MRN5550123",
    "institution": "Waldklinik",
    "physician": "Quacksalber",
    "uid": "1.2.826.0.1.3680043.2.1125.77",
    "folder": "geheim_ordner",
    "comment": "Kommentarfeld",
}


def plant(folder, seed, broken=False):
    """A phantom written as DICOM with an identifier in every text tag; `broken` makes an exam that
    must be refused."""
    petsuv.write_phantom_series(data.read_suv(f"phantom:lung/{30000 + seed}", 12.0), folder)
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        ds = pydicom.dcmread(file)
        ds.PatientName = f"{PLANTED['name']}^{PLANTED['given']}"
        ds.PatientBirthDate, ds.PatientID = PLANTED["birth"], PLANTED["mrn"]
        ds.AccessionNumber, ds.InstitutionName = PLANTED["accession"], PLANTED["institution"]
        ds.ReferringPhysicianName = ds.OperatorsName = f"{PLANTED['physician']}^Hans"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = (
            PLANTED["uid"] + ".1",
            f"{PLANTED['uid']}.{seed}",
        )
        ds.PatientComments = ds.ImageComments = ds.SeriesDescription = ds.StudyDescription = (
            PLANTED["comment"]
        )
        ds.ProtocolName = PLANTED["comment"]
        if broken == "units":
            ds.Units = "PROPCPS"
        if broken == "text":  # a value that readers quote in their complaints
            ds.PatientWeight = None
            ds.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = None
        ds.save_as(file)


def everything(folder: Path):
    """Every byte that was written: names of files, their content, members of zipped arrays."""
    for file in folder.rglob("*"):
        yield str(file.relative_to(folder)), file.name.encode()
        if file.is_file() and file.name != ".key":
            yield str(file.relative_to(folder)), file.read_bytes()
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as z:
                    for name in z.namelist():
                        raw = z.read(name)
                        yield f"{file.name}:{name}", raw
                        yield (
                            f"{file.name}:{name}",
                            raw.replace(b"\0", b""),
                        )  # NumPy's text is UTF-32


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_nothing_planted_lands_anywhere(home, tmp_path, scheduler, recwarn):
    source = tmp_path / PLANTED["folder"]
    rows = []
    for i, broken in enumerate([False, False, False, False, "units", "text"]):
        plant(source / f"{PLANTED['name']}_{i}", i, broken)
        rows.append(
            (
                f"{PLANTED['accession']}-{i}",
                PLANTED["mrn"] + str(i),
                "ab"[i % 2],
                f"{PLANTED['name']}_{i}",
                "test" if i in (2, 3) else "train",
                PLANTED["name"],
                PLANTED["birth"],
                "F",
            )
        )
    nib.save(
        nib.Nifti1Image(np.full((9, 9, 9), 9e6, np.float32), np.eye(4)),
        source / f"{PLANTED['name']}.nii.gz",
    )
    (source / f"{PLANTED['given']}.nii.gz").write_bytes(PLANTED["uid"].encode())
    for i, name in (
        (6, f"{PLANTED['name']}.nii.gz"),
        (7, f"{PLANTED['given']}.nii.gz"),
        (8, f"no_{PLANTED['given']}"),
    ):
        rows.append(
            (
                f"{PLANTED['accession']}-{i}",
                PLANTED["mrn"] + str(i),
                "ab"[i % 2],
                name,
                "train",
                PLANTED["name"],
                PLANTED["birth"],
                "F",
            )
        )
    cohort = source / "cohort.csv"
    pd.DataFrame(
        rows,
        columns=[
            "exam_id",
            "patient_id",
            "class",
            "path",
            "split",
            "full name",
            "birth date",
            "sex",
        ],
    ).to_csv(cohort, index=False)
    cfg = config.load("smoke", cohort=str(cohort), train_exams=[0], test_exams=[0])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        report = prepare(cohort, home / "data/set", cfg, scheduler)
        mips = load(home / "data/set")
        print(report, report._repr_html_(), mips, mips.exams.to_html())
    assert report.rejected == 5 and len(mips) == 4  # the refusals are refusals, the others are read
    assert list(mips.exams["sex"]) == ["F"] * 4 and "full name" not in mips.exams
    assert "full name" in str(report)  # the column is named, its content is not shown
    haystacks = [
        ("output", said.getvalue().encode()),
        *everything(home),
        *(("warning", str(w.message).encode()) for w in recwarn),
    ]
    for needle in [*PLANTED.values(), str(tmp_path)]:
        for where, content in haystacks:
            assert needle.lower().encode() not in content.lower(), f"{needle} found in {where}"


def test_the_search_itself_finds_what_is_there(home, tmp_path):
    """The control: with keep_ids the same values do land in the dataset, and the search above sees
    them."""
    source = tmp_path / "in"
    rows = []
    for i in range(4):
        folder = source / f"{PLANTED['name']}_{i}"
        plant(folder, i)
        rows.append(
            (
                f"{PLANTED['accession']}-{i}",
                PLANTED["mrn"] + str(i),
                "ab"[i % 2],
                str(folder),
                "test" if i > 1 else "train",
                PLANTED["birth"],
            )
        )
    table = pd.DataFrame(
        rows, columns=["exam_id", "patient_id", "class", "path", "split", "birth date"]
    )
    prepare(table, home / "data/set", config.load("smoke", keep_ids=True), "sync")
    found = b"".join(content for _, content in everything(home))
    for name in ("accession", "mrn", "birth", "name"):
        assert PLANTED[name].encode() in found


def test_hashes_are_stable_between_runs_and_differ_between_homes(tmp_path, monkeypatch):
    ids = []
    table = pd.DataFrame(
        [
            (f"e{i}", f"p{i}", "ab"[i % 2], f"{tmp_path}/e{i}.nii", "test" if i > 1 else "train")
            for i in range(4)
        ],
        columns=["exam_id", "patient_id", "class", "path", "split"],
    )
    for path in table["path"]:
        nib.save(
            nib.Nifti1Image(
                5 * np.random.default_rng(0).random((9, 9, 9), dtype=np.float32), np.eye(4)
            ),
            path,
        )
    for where in ("one", "one", "two"):
        monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / where))
        prepare(table, tmp_path / where / "set", config.load("smoke"), "sync")
        ids.append(load(tmp_path / where / "set").exam_ids)
    assert ids[0] == ids[1] and set(ids[0]).isdisjoint(ids[2])
