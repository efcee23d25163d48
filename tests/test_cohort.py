"""A cohort csv is read from whatever a spreadsheet writes, and its faults are named by file, row
and remedy."""

import json

import pandas as pd
import pytest

from radiogan_lib import config, paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data import cohort

GOOD = [
    ("a", "p1", "normal", "x/a.nii.gz", "train"),
    ("b", "p2", "lung", "b", "train"),
    ("c", "p3", "normal", "c", "test"),
    ("d", "p4", "lung", "phantom:lung/3", "test"),
]
HEADER = ("exam_id", "patient_id", "class", "path", "split")


def text(rows=GOOD, header=HEADER, sep=","):
    return "\n".join(sep.join(r) for r in (header, *rows)) + "\n"


@pytest.fixture
def write(tmp_path):
    def _write(content, encoding="utf-8"):
        path = tmp_path / "cohort.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return _write


def test_paths_start_at_the_csv_and_classes_keep_their_order(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    got = cohort.read(write(text()))
    assert got.class_names == ["normal", "lung"] and got.notes == []
    assert list(got.exams["path"]) == [
        str(tmp_path / "x/a.nii.gz"),
        str(tmp_path / "b"),
        str(tmp_path / "c"),
        "phantom:lung/3",
    ]
    assert list(got.exams["row"]) == [2, 3, 4, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dialects(write, encoding, sep, newline):
    rows = [(*r, "größe") for r in GOOD]
    content = text(rows, (*HEADER, "note"), sep).replace("\n", newline)
    got = cohort.read(write(content, encoding)).exams
    assert list(got["exam_id"]) == ["a", "b", "c", "d"] and list(got["note"]) == ["größe"] * 4


def test_spreadsheet_debris(write):
    """Capitals and blanks in the header, blank lines, empty columns at the right, quoted
    separators, numbers as ids."""
    content = (
        ' Exam_ID ,patient_id,CLASS,path,Split,,\n\n007,001,"a, b",p,TRAIN,,\n'
        ",,,,,,\n008,NA,c,q,Test,,\n"
    )
    got = cohort.read(write(content)).exams
    assert list(got["exam_id"]) == ["007", "008"] and list(got["patient_id"]) == ["001", "NA"]
    assert (
        list(got["class"]) == ["a, b", "c"]
        and list(got["split"]) == ["train", "test"]
        and list(got["row"]) == [3, 5]
    )


def without(column):
    keep = [i for i, c in enumerate(HEADER) if c != column]
    return text([tuple(r[i] for i in keep) for r in GOOD], tuple(HEADER[i] for i in keep))


def changed(row, column, value):
    rows = [list(r) for r in GOOD]
    rows[row][HEADER.index(column)] = value
    return text([tuple(r) for r in rows])


FAULTS = {
    "no patient column": (without("patient_id"), "patient_id.*copy exam_id"),
    "no path column": (without("path"), "has no column path"),
    "no rows": (text([]), "header but no exams"),
    "nothing": ("", "is empty"),
    "only blank lines": ("\n \n", "is empty"),
    "one class": (text([r[:2] + ("lung",) + r[3:] for r in GOOD]), "one class only"),
    "same exam twice": (changed(2, "exam_id", "a"), "rows 2 and 4 have the same exam_id"),
    "same file twice": (changed(2, "path", "b"), "rows 3 and 4 have the same path"),
    "patient in two splits": (
        changed(3, "patient_id", "p2"),
        "rows 3 and 5: one patient is in both",
    ),
    "wrong split": (changed(1, "split", "valid"), "row 3: split is neither"),
    "empty cell": (changed(1, "class", ""), "row 3: class is empty"),
    "capitals": (changed(1, "class", "Normal"), "differ only in capitals"),
    "no test": (text([r[:4] + ("train",) for r in GOOD]), "has no test exam"),
    "no train": (text([r[:4] + ("test",) for r in GOOD]), "has no train exam"),
    "ragged": (text([*GOOD, ("e", "p5")]), "row 6: 2 values under 5"),
    "unquoted": (
        text([*GOOD, ("e", "p5", "lung", "a,b", "train")]),
        "row 6: 6 values under 5.*quote",
    ),
    "open quote": (text() + '"e,p,lung,x,train\n', "check its quotes"),
    "twice a column": (
        text(header=("exam_id", "exam_id", "class", "path", "split")),
        "appears twice",
    ),
    "workbook": (b"PK\x03\x04rest", "Excel workbook"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(write, fault):
    content, match = FAULTS[fault]
    with pytest.raises(ConfigError, match=match) as caught:
        cohort.read(write(content))
    assert "cohort.csv" in str(caught.value) and "\n" not in str(caught.value)
    assert "p2" not in str(caught.value)  # rows are named, patients are not


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.csv does not exist"):
        cohort.read(tmp_path / "nowhere.csv")


def test_frame_with_gaps_and_numbers():
    frame = pd.DataFrame(
        {
            "exam_id": [1, 2, 3],
            "patient_id": [1, 2, 3],
            "class": ["a", "b", "b"],
            "path": ["/x", "/y", "/z"],
            "split": [None, float("nan"), ""],
        },
        index=[7, 7, 7],
    )
    got = cohort.read(frame)
    assert list(got.exams["exam_id"]) == ["1", "2", "3"] and len(got.notes) == 1
    assert (
        list(frame["split"][:2].isna()) == [True, True] and "row" not in frame
    )  # the caller's table is left alone


def test_nobody_can_be_held_out_of_classes_of_one():
    frame = pd.DataFrame(
        {"exam_id": [1, 2], "patient_id": [1, 2], "class": ["a", "b"], "path": ["/x", "/y"]}
    )
    with pytest.raises(ConfigError, match="a class needs two patients"):
        cohort.read(frame)


def test_missing_split_is_made_by_patient_and_class(write):
    rows = [(f"e{i}", f"p{i // 2}", "ab"[i // 2 % 2], f"f{i}") for i in range(200)]
    got = cohort.read(write(text(rows, HEADER[:4])))
    exams = got.exams
    assert "no split" in got.notes[0]
    assert (exams.groupby("patient_id")["split"].nunique() == 1).all()
    assert (
        exams[exams.split == "test"]["class"].value_counts() == 20
    ).all()  # 20 of 100 in each class


def test_the_split_does_not_depend_on_row_order_and_keeps_shares():
    patients = [f"p{i}" for i in range(500)] + [f"p{i}" for i in range(30)]
    classes = ["x"] * 400 + ["y"] * 100 + ["y"] * 30  # thirty patients have both
    split = dict(zip(zip(patients, classes), cohort.split_by_patient(patients, classes)))
    back = dict(
        zip(
            zip(patients[::-1], classes[::-1]),
            cohort.split_by_patient(patients[::-1], classes[::-1]),
        )
    )
    assert split == back
    assert all(split[p, "x"] == split[p, "y"] for p in patients[500:])
    for label, n in (("x", 400), ("y", 130)):
        share = sum(v == "test" for k, v in split.items() if k[1] == label) / n
        assert 0.19 < share < 0.21
    both = sum(split[f"p{i}", "y"] == "test" for i in range(30))
    assert both == 6  # a fifth of those with two diagnoses


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_classes_keep_a_training_exam(n):
    split = cohort.split_by_patient([f"p{i}" for i in range(n)], ["a"] * n)
    assert "train" in split and ("test" in split) == (n > 1)


class TestCaps:
    frame = pd.DataFrame(
        [
            (f"{c}{s}{i}", f"{c}{s}{i}", c, f"/{c}{s}{i}", s)
            for i in range(5)
            for c in "ab"
            for s in ("train", "test")
        ],
        columns=HEADER,
    )

    def caps(self, **settings):
        got = cohort.capped(cohort.read(self.frame), config.load("paper", **settings))
        return got, got.exams.groupby(["class", "split"]).size().to_dict()

    def test_one_number_for_all_and_zero_for_everything(self):
        got, n = self.caps(train_exams=[2], test_exams=[0])
        assert n == {("a", "train"): 2, ("a", "test"): 5, ("b", "train"): 2, ("b", "test"): 5}
        assert list(got.exams.query("split == 'train'")["exam_id"]) == [
            "atrain0",
            "btrain0",
            "atrain1",
            "btrain1",
        ]
        assert "14 of the cohort's 20" in got.notes[-1]

    def test_one_number_per_class(self):
        _, n = self.caps(train_exams=[3, 1], test_exams=[1, 0])
        assert n == {("a", "train"): 3, ("a", "test"): 1, ("b", "train"): 1, ("b", "test"): 5}

    def test_wrong_number_of_numbers(self):
        with pytest.raises(
            ConfigError, match="train_exams has 3 numbers but the cohort has 2 classes"
        ):
            self.caps(train_exams=[3, 1, 1])

    def test_the_paper_profile_fits_the_users_classes_too(self):
        got, n = self.caps()
        assert set(n.values()) == {5} and "so all are kept" in got.notes[0]


class TestSchema:
    """schema.json describes the shipped tables, and would notice if it did not."""

    folder = paths.REPO / "data_manifest"
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))

    def validator(self, name):
        import jsonschema

        jsonschema.Draft202012Validator.check_schema(self.schema)
        return jsonschema.Draft202012Validator({**self.schema, "$ref": f"#/$defs/{name}"})

    def rows(self, name):
        table = pd.read_csv(self.folder / f"{name}.csv", dtype=str, keep_default_na=False)
        return table.to_dict("records")

    @pytest.mark.parametrize("name", ["synthetic", "public", "real"])
    def test_every_row_of_the_shipped_tables(self, name):
        check, rows = self.validator(name), self.rows(name)
        assert len(rows) > (400 if name == "real" else 2000)
        faults = [(i, e.message) for i, row in enumerate(rows) for e in check.iter_errors(row)]
        assert faults == []

    @pytest.mark.parametrize(
        "name, column, value",
        [
            ("synthetic", "sha256", "abc"),
            ("synthetic", "class", "healthy"),
            ("synthetic", "path", "x.nii.gz"),
            ("synthetic", "split", "valid"),
            ("synthetic", "extra", "1"),
            ("public", "series_uid", "1.2.a"),
            ("public", "licence", "CC BY-NC 4.0"),
            ("public", "megabytes", "1,5"),
            ("public", "s3_prefix", "s3://b/key"),
            ("public", "class", "oesophagus"),
            ("real", "class", "healthy"),
            ("real", "sha256", "abc"),
            ("real", "fingerprint", "iVBORw0KGgo"),
        ],
    )
    def test_a_wrong_value_is_noticed(self, name, column, value):
        assert list(self.validator(name).iter_errors(self.rows(name)[0] | {column: value}))

    def test_a_cohort_and_its_schema_agree(self, write):
        check = self.validator("cohort")
        for row in GOOD:
            check.validate(dict(zip(HEADER, row)))
            check.validate(dict(zip(HEADER, row)) | {"suv_white": "uncalibrated", "row_mm": "2.0"})
        assert list(check.iter_errors(dict(zip(HEADER, GOOD[0])) | {"dark_is_high": "dark"}))
        assert list(check.iter_errors(dict(zip(HEADER, ("a", "", "c", "d", "train")))))

    def test_the_embedded_cohort_is_a_cohort(self):
        got = cohort.read(self.folder / "synthetic.csv")
        assert (
            got.class_names == ["normal", "head_neck", "oesophagus", "lung", "lymphoma"]
            and got.notes == []
        )


@pytest.mark.parametrize(
    "head, mark",
    [
        ("sep=;\r\n", ";"),
        ("# cohort of 2024\n", ","),
        ("Cohort 2024,,,,\n", ","),
        ("\ufeff\ufeff", "|"),
    ],
)
def test_lines_above_the_header_are_passed_over(tmp_path, head, mark):
    rows = ["exam_id,patient_id,class,path,split", "a,p1,x,a.nii.gz,train", "b,p2,y,b.nii.gz,test"]
    file = tmp_path / "cohort.csv"
    file.write_text(head + "\n".join(rows).replace(",", mark), encoding="utf-8")
    assert list(cohort.read(file).exams.exam_id) == ["a", "b"]


def test_header_names_with_blanks_words_for_splits_and_a_total(tmp_path):
    rows = ["Exam ID,Patient-ID,Class,Path,Split", "a,p1,x,a.nii.gz,Training"]
    rows += ["b,p2,y,b.nii.gz,Testing", "Total,,,,2"]
    file = tmp_path / "cohort.csv"
    file.write_text("\n".join(rows))
    got = cohort.read(file)
    assert list(got.exams.exam_id) == ["a", "b"] and list(got.exams.split) == ["train", "test"]
    assert "training was read as train" in " ".join(got.notes)
    assert "row 4 is a total" in " ".join(got.notes)


@pytest.mark.parametrize(
    "change, why",
    [
        (("Total,,,,2", "Total,p3,x,t.nii.gz,2"), "row 4: split is neither"),
        (("Total,,,,2", "c,,,,train"), "row 4: patient_id is empty"),
        (("Testing", "Validation"), "row 3: split is neither"),
        (("Path", "Exam ID"), "column 'exam_id' appears twice"),
    ],
)
def test_what_only_looks_like_a_total_or_a_split_is_refused(tmp_path, change, why):
    rows = ["exam_id,patient_id,class,Path,split", "a,p1,x,a.nii.gz,Training"]
    rows += ["b,p2,y,b.nii.gz,Testing", "Total,,,,2"]
    file = tmp_path / "cohort.csv"
    file.write_text("\n".join(rows).replace(*change))
    with pytest.raises(ConfigError, match=why):
        cohort.read(file)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_and_full_width_commas(tmp_path, encoding):
    rows = [
        "exam_id,patient_id,class,path,split",
        "a,p1,grö,a.nii.gz,train",
        "b,p2,y,b.nii.gz,test",
    ]
    file = tmp_path / "cohort.csv"
    file.write_bytes("\n".join(rows).replace(",", "，").encode(encoding))
    assert cohort.read(file).class_names == ["grö", "y"]
