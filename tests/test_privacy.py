"""Nothing that identifies a patient gets out, nothing that was read is ever run, and no path leaves
its folder.

`test_deidentify.py` plants identifiers in DICOM headers, file names and csv columns and searches
every artefact of a preparation; here the same is done for what comes after it (reports, figures, a
notebook, training) and for NIfTI headers, and the source is searched for the ways in which data
become code.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import warnings
from pathlib import Path

import bad_exams as bad
import nibabel as nib
import pandas as pd
import pytest
from survived import COUNTS
from test_deidentify import PLANTED, everything, plant

from radiogan_lib import batch, config, data, paths
from radiogan_lib.data.dataset import load, prepare

LIBRARY = sorted((paths.REPO / "radiogan_lib").rglob("*.py"))
COLUMNS = ["exam_id", "patient_id", "class", "path", "split"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# ---- planted identifiers
# ------------------------------------------------------------------------------------------


def named_nifti(path: Path, seed: int) -> Path:
    """A sound exam whose header says whom it shows, in every text field and in an extension."""
    image = nib.Nifti1Image(bad.body(seed), bad.AFFINE)
    image.header["descrip"] = f"{PLANTED['name']}^{PLANTED['given']}".encode()
    image.header["aux_file"], image.header["db_name"] = (
        PLANTED["mrn"].encode(),
        PLANTED["accession"].encode(),
    )
    image.header["intent_name"] = PLANTED["birth"].encode()
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension(6, f"{PLANTED['uid']} {PLANTED['institution']}".encode())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def cohort(tmp_path):
    """Two DICOM and four NIfTI exams full of identifiers, one of them broken, in a folder and a csv
    that are named after the patient."""
    source = tmp_path / PLANTED["folder"] / f"{PLANTED['name']}_{PLANTED['given']}"
    rows = []
    for i in range(7):
        name = f"{PLANTED['name']}_{i}"
        if i < 2:
            plant(source / name, i)
        else:
            name = named_nifti(source / f"{name}.nii.gz", i).name
        if i == 6:
            (source / name).write_bytes((source / name).read_bytes()[:-200])
        rows.append(
            (
                f"{PLANTED['accession']}-{i}",
                f"{PLANTED['mrn']}-{i}",
                "ab"[i % 2],
                name,
                "test" if i in (4, 5) else "train",
                f"{PLANTED['name']}, {PLANTED['given']}",
                PLANTED["birth"],
                PLANTED["comment"],
            )
        )
    table = pd.DataFrame(rows, columns=[*COLUMNS, "full name", "born", "remarks"])
    table.to_csv(source / "cohort.csv", index=False)
    return source / "cohort.csv"


def leaks(haystacks, extra=()) -> list[str]:
    """Where a planted value is found, in capitals or not."""
    needles = [n.lower().encode() for n in (*PLANTED.values(), *extra)]
    return [
        f"{n.decode()} in {where}"
        for where, content in haystacks
        for n in needles
        if n in content.lower()
    ]


def test_identifiers_reach_neither_report_nor_figure_nor_training(
    home, tmp_path, cohort, caplog, capfd, recwarn
):
    from gan_tools import small

    from radiogan_lib import gan, lab
    from radiogan_lib.data import qc

    caplog.set_level(logging.DEBUG)
    cfg = config.load("smoke", cohort=str(cohort), train_exams=[0], test_exams=[0])
    shown = [prepare(cohort, home / "data/set", cfg, "sync")]
    mips = load(home / "data/set")
    assert shown[0].rejected == 1 and len(mips) == 6
    shown += [mips, mips.exams, qc.summary(mips), lab.Table([("exams", str(len(mips)))])]
    for figure in (qc.contact_sheet(mips), qc.histograms(mips)):
        for kind in ("svg", "png"):
            picture = io.BytesIO()
            figure.savefig(picture, format=kind)
            (home / f"figure.{kind}").write_bytes(picture.getvalue())
    training = small(epochs=1, cohort=str(cohort))
    gan.train(training, load(home / "data/set", "train"), home / "runs/mine", checkpoint_seconds=0)
    shown += [gan.load_run(home / "runs/mine").history, training]
    texts = [getattr(s, "_repr_html_", lambda: "")() or "" for s in shown] + [
        repr(s) + str(s) for s in shown
    ]
    out = capfd.readouterr()
    haystacks = [
        *everything(home),
        ("shown", " ".join(texts).encode()),
        ("output", (out.out + out.err).encode()),
        ("log", caplog.text.encode()),
        *(("warning", str(w.message).encode()) for w in recwarn),
    ]
    found = leaks(haystacks, [str(tmp_path)])
    COUNTS["privacy"] += [
        (
            f"{len(PLANTED)} identifiers planted in {len(mips) + 1} exams, bytes searched",
            sum(len(c) for _, c in haystacks),
        )
    ]
    assert not found, found
    control = [("control", (home / "data/set/rejects.csv").read_bytes() + PLANTED["name"].encode())]
    assert leaks(control)  # the search itself can find


def test_identifiers_do_not_reach_the_tables_that_explain_one_exam(tmp_path, cohort):
    """The step-by-step part of notebook 01, on an exam of one's own whose header fields hold names
    where codes belong."""
    import pydicom

    from radiogan_lib import lab

    folder = cohort.parent / f"{PLANTED['name']}_0"
    tables = [lab.exam_facts(data.read_suv(folder)), lab.suv_explanation(folder)]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for file in folder.rglob("*.dcm"):
            ds = pydicom.dcmread(file)
            ds["Units"].value = f"{PLANTED['name']}"
            ds["DecayCorrection"].value = PLANTED["given"]
            ds["PatientWeight"].value = "70"
            ds.save_as(file)
    del heard
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        said = []
        for call in (lab.suv_explanation, data.read_suv):
            with pytest.raises(data.ExamError) as caught:
                call(folder)
            said.append(str(caught.value))
    text = (
        " ".join(str(t) + t._repr_html_() for t in tables)
        + " ".join(said)
        + " ".join(str(w.message) for w in heard)
    )
    assert not leaks([("tables", text.encode())], [str(tmp_path)])


def test_an_image_that_was_read_carries_nothing_of_its_file(tmp_path):
    image = data.read_suv(named_nifti(tmp_path / f"{PLANTED['name']}.nii.gz", 3))
    assert not leaks(
        [
            (
                "image",
                image.to_bytes() + repr(image.header).encode() + str(image.get_filename()).encode(),
            )
        ]
    )


def test_a_cohorts_place_is_not_shown_with_its_settings(tmp_path):
    cfg = config.load("smoke", cohort=f"/srv/{PLANTED['folder']}/{PLANTED['name']}/exams.csv")
    assert not leaks([("settings", (repr(cfg) + str(cfg) + cfg._repr_html_()).encode())])
    assert cfg.cohort.startswith("/srv/") and "exams.csv" in cfg._repr_html_()


# ---- data never become code
# ---------------------------------------------------------------------------------------

CODE_FROM_DATA = {"eval", "exec", "compile", "__import__"}
PICKLES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
UNSAFE = {
    ("allow_pickle", True),
    ("safe_mode", False),
    ("shell", True),
    ("weights_only", False),
    ("verify", False),
}


def unsafe_calls(tree: ast.AST) -> list[str]:
    """Every way in a syntax tree by which data could be run or a pickle opened."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
            )
            found += [
                f"line {node.lineno}: import {m}" for m in modules if m.split(".")[0] in PICKLES
            ]
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.id
            if isinstance(node.func, ast.Name)
            else node.func.attr
            if isinstance(node.func, ast.Attribute)
            else ""
        )
        owner = (
            node.func.value.id
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
            else ""
        )
        if (
            (name in CODE_FROM_DATA and not owner)
            or (owner, name) in {("os", "system"), ("os", "popen")}
            or name in ("enable_unsafe_deserialization", "read_pickle", "unsafe_load", "full_load")
        ):
            found.append(f"line {node.lineno}: {name}")
        if (owner, name) == ("yaml", "load") and not any(
            k.arg == "Loader" and getattr(k.value, "id", "") == "_Yaml" for k in node.keywords
        ):
            found.append(f"line {node.lineno}: yaml.load without a safe loader")
        if (owner, name) in {("np", "load"), ("numpy", "load")} and not any(
            k.arg == "allow_pickle" and getattr(k.value, "value", None) is False
            for k in node.keywords
        ):
            found.append(f"line {node.lineno}: np.load without allow_pickle=False")
        if name == "load_model" and not any(
            k.arg == "safe_mode" and getattr(k.value, "value", None) is True for k in node.keywords
        ):
            found.append(f"line {node.lineno}: load_model without safe_mode=True")
        found += [
            f"line {node.lineno}: {k.arg}={k.value.value}"
            for k in node.keywords
            if isinstance(k.value, ast.Constant)
            and any((k.arg, k.value.value) == (a, v) and k.value.value is v for a, v in UNSAFE)
        ]
    return found


def test_the_library_never_runs_data():
    found = {
        str(p.relative_to(paths.REPO)): f
        for p in LIBRARY
        if (f := unsafe_calls(ast.parse(p.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "exec(x)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "keras.saving.load_model(f, safe_mode=False)",
        "keras.saving.load_model(f)",
        "yaml.load(t, Loader=yaml.Loader)",
        "subprocess.run(c, shell=True)",
        "os.system(c)",
        "pd.read_pickle(f)",
        "requests.get(u, verify=False)",
        "keras.config.enable_unsafe_deserialization()",
    ],
)
def test_the_search_for_unsafe_calls_can_find(code):
    assert unsafe_calls(ast.parse(code))


# ---- no path leaves its folder
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_ids", [False, True])
def test_no_identifier_is_a_way_out_of_the_output_folder(home, tmp_path, keep_ids):
    """Exam, patient and class names that are paths: what is written lies below the home folder, and
    nowhere else."""
    ways = [
        "../../escaped",
        str(tmp_path / "escaped"),
        "..",
        "a/../../b",
        "a\0b",
        "CON",
        "-rf",
        "~/escaped",
        "x" * 3000,
        "..\\..\\escaped",
    ]
    rows = [
        (
            f"{w}{k}",
            f"{w}-{k}",
            ["../../class", "/etc/class"][k % 2],
            str(bad.nifti(tmp_path, f"e{i}{k}.nii.gz", bad.body(i))),
            "test" if i > 7 else "train",
        )
        for i, w in enumerate(ways)
        for k in range(2)
    ]
    before = {p for p in tmp_path.rglob("*")}
    prepare(
        pd.DataFrame(rows, columns=COLUMNS),
        home / "data/set",
        config.load("smoke", keep_ids=keep_ids, train_exams=[0], test_exams=[0]),
        "sync",
    )
    mips = load(home / "data/set")
    after = {p for p in tmp_path.rglob("*")} - before
    assert len(mips) == len(rows) and mips.class_names == ["../../class", "/etc/class"]
    assert all(home in p.parents or p == home for p in after)


def test_a_dicom_tag_is_no_way_out(home, tmp_path):
    import pydicom

    folder = bad.series(tmp_path / "in", seed=1)
    for file in bad.slices(folder):
        ds = pydicom.dcmread(file)
        ds.PatientID = ds.PatientName = ds.SeriesDescription = ds.StudyID = "../../escaped"
        ds.save_as(file)
    rows = [
        (
            f"e{i}",
            f"p{i}",
            "ab"[i % 2],
            str(folder if i == 0 else bad.nifti(tmp_path, f"{i}.nii", bad.body(i))),
            "test" if i > 1 else "train",
        )
        for i in range(4)
    ]
    before = {p for p in tmp_path.rglob("*")}
    prepare(pd.DataFrame(rows, columns=COLUMNS), home / "data/set", config.load("smoke"), "sync")
    assert all(home in p.parents or p == home for p in {p for p in tmp_path.rglob("*")} - before)


def test_folders_of_runs_stay_below_home(home):
    for cohort in ("../../x/..", "/etc/passwd", "..", "a b\n;rm -rf ~.csv"):
        cfg = config.load("smoke", cohort=cohort, diffaugment="../../x", generated=3, seed=4)
        for place in (paths.run_dir(cfg), paths.dataset_dir(cfg)):
            assert place.parent in (
                home.resolve() / "runs",
                home.resolve() / "data",
            ) and place.name not in ("", ".", "..")


def test_an_archives_file_names_stay_in_their_folder(tmp_path, monkeypatch):
    """Keys of a hostile bucket: nothing is written outside the series' folder."""
    monkeypatch.syspath_prepend(paths.REPO / "data_manifest")
    import fetch_public as s3

    body = b"x" * 10
    for key in ("p/../../escaped.dcm", "p//etc/escaped.dcm", "p/..", "p/a/../../b.dcm"):
        monkeypatch.setattr(s3, "listing", lambda *_, key=key: {key: (10, "")})
        monkeypatch.setattr(s3, "_body", lambda *_: body)
        (tmp_path / "in" / "series").mkdir(parents=True, exist_ok=True)
        for old in (tmp_path / "in" / "series").iterdir():
            old.unlink()
        try:
            s3.fetch_series("s3://bucket/p/", tmp_path / "in" / "series", 1, 10)
        except (OSError, s3.TransferError):
            pass
        assert {p.name for p in tmp_path.iterdir()} == {"in"} and {
            p.name for p in (tmp_path / "in").iterdir()
        } == {"series"}


# ---- servers and pins
# ---------------------------------------------------------------------------------------------


def test_the_lab_and_the_test_servers_listen_on_loopback_only():
    makefile = (paths.REPO / "Makefile").read_text(encoding="utf-8")
    launched = [line for line in makefile.splitlines() if "jupyter" in line or "voila" in line]
    assert launched and all("--ip=127.0.0.1" in line for line in launched if "bin" in line.lower())
    assert not re.search(r"token=|password=|--allow-root|disable_check_xsrf", makefile), (
        "outside tests a token guards the lab"
    )
    for path in (
        *LIBRARY,
        *(paths.REPO / "tests").rglob("*.py"),
        *(paths.REPO / "benchmarks").glob("*.py"),
    ):
        text = path.read_text(encoding="utf-8")
        assert "0.0." + "0.0" not in text, f"{path.name} listens to everybody"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_every_pin_is_exact_and_hashed(name):
    text = (paths.REPO / name).read_text(encoding="utf-8")
    entries = [
        e
        for e in re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"\\\n", " ", text))
        if e.strip() and not e.lstrip().startswith("#")
    ]
    assert len(entries) > 80
    for entry in entries:
        assert "==" in entry and "--hash=sha256:" in entry, entry[:80]
    assert "git+" not in text and "http://" not in text
    assert "--require-hashes" in (paths.REPO / "Makefile").read_text(encoding="utf-8")


def test_notebooks_ask_for_no_secrets_and_reach_no_network():
    """Only the set-up cell for hosted notebooks may fetch something: the repository that its reader
    names."""
    hosted = []
    for path in sorted((paths.REPO / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            code = "".join(cell["source"])
            if "cloud" in cell["metadata"].get("tags", []):
                hosted.append((path.name, code))
                continue
            assert not re.search(
                r"\b(requests|urllib|socket|getpass|subprocess|os\.environ)\b", code
            ), path.name
    assert [name for name, _ in hosted] == ["00_start_here.ipynb", "07_latent_explorer.ipynb"]
    for _, code in hosted:
        before, guarded = code.split("if repository and ")
        assert "run(" not in before and guarded.count("subprocess.run([") == 2
        assert not re.search(r"shell|requests|urllib|socket|getpass|os\.environ", code)


def test_the_batch_runs_no_shell():
    """A setting is a value, never a command."""
    for text in ("seed=$(touch x)", "cohort=`id`", "seed=!!python/object/apply:os.system ['true']"):
        try:
            name, values = batch.parse_setting(text)
        except config.ConfigError:
            continue
        assert values == [text.partition("=")[2]]
