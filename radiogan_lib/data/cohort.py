"""The cohort csv: one row per exam, checked before any work begins.

Columns `exam_id, patient_id, class, path` and `split` (train or test); others are kept. Explained
in data_manifest/README.md. Errors name rows, never patients.
"""

import contextlib
import csv
import io
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from radiogan_lib.config import Config, ConfigError, load
from radiogan_lib.data import pictures

REQUIRED = ("exam_id", "patient_id", "class", "path")
SPLITS = ("train", "test")
SPLIT_SEED = 20240607  # of the split made for a cohort without one; fixed, so that it never moves
TEST_SHARE = 0.2  # of the patients


@dataclass
class Cohort:
    """A checked cohort: the csv's columns as text, plus `row`, the line in the csv (header = 1)."""

    exams: pd.DataFrame
    class_names: list[str]
    notes: list[str] = field(default_factory=list)


def read(source: str | Path | pd.DataFrame) -> Cohort:
    """Read and check a cohort.

    Args:
        source: a csv path or a DataFrame. Relative exam paths start at the csv's folder (a
            DataFrame: at the current one). A missing or empty `split` column is filled: see
            `split_by_patient`.

    Raises:
        ConfigError: a missing file or column, an empty cell, a repeated exam, a patient in both
            splits, fewer than two classes; the sentence names file, row and remedy.
    """
    if isinstance(source, pd.DataFrame):
        name, folder, exams = "the cohort table", Path.cwd(), _from_frame(source)
    else:
        path = _at_home(source)
        name, exams = path.name, _parse(path)
        folder = path.resolve().parent
    notes: list[str] = []
    exams = _without_totals(_known_names(exams, name), notes)
    class_names = _checked(exams, name)
    exams["path"] = [
        p if p.startswith("phantom:") else str(folder / _at_home(p)) for p in exams["path"]
    ]
    _check_split(exams, name, notes)
    for exam in exams[exams["path"].map(pictures.is_picture)].to_dict("records"):
        try:
            pictures.Window.parse(exam)
        except ConfigError as e:
            raise ConfigError(f"{name}, {_rows([exam['row']])}: {e}") from None
    return Cohort(exams, class_names, notes)


def _checked(exams: pd.DataFrame, name: str) -> list[str]:
    """The classes in their order, once columns, cells and classes are sound."""
    if missing := [c for c in REQUIRED if c not in exams]:
        there = ", ".join(c for c in exams.columns if c != "row")
        copy = " (if every exam is another patient's, copy exam_id)"
        hint = copy if missing == ["patient_id"] else ""
        said = f"{name} has no column {', '.join(missing)}; its columns are {there}"
        raise ConfigError(f"{said}. Add what is missing{hint}.")
    if exams.empty:
        raise ConfigError(f"{name} has a header but no exams; write one row per exam.")
    for column in REQUIRED:
        if (empty := exams[column] == "").any():
            where = f"{name}, {_rows(exams.row[empty])}"
            raise ConfigError(f"{where}: {column} is empty; fill it in or delete the row.")
    remedies = {"exam_id": "give each exam its own", "path": "keep one row per exam"}
    for column, remedy in remedies.items():
        if (again := exams[column].duplicated(keep=False)).any():
            same = exams[column] == exams[column][again].iloc[0]
            raise ConfigError(f"{name}, {_rows(exams.row[same])} have the same {column}; {remedy}.")
    class_names = list(dict.fromkeys(exams["class"]))
    folded: dict[str, str] = {}
    for label in class_names:
        if (other := folded.setdefault(label.casefold(), label)) != label:
            both = f"the classes {other!r} and {label!r}"
            raise ConfigError(f"{name}: {both} differ only in capitals; write them alike.")
    if len(class_names) < 2:
        said = f"{name} has one class only ({class_names[0]!r})"
        raise ConfigError(f"{said}; a conditional GAN needs two or more: add exams of another.")
    return class_names


def _at_home(path: str | Path) -> Path:
    """`~` replaced by the user's folder; `~` of nobody stays, and its exam is refused."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def _check_split(exams: pd.DataFrame, name: str, notes: list[str]) -> None:
    """Make the split, or check the one that is there; in place."""
    if made := "split" not in exams or (exams["split"] == "").all():
        exams["split"] = split_by_patient(exams["patient_id"], exams["class"])
        n = exams["split"].value_counts()
        notes.append(
            f"{name} has no split: patients were divided into {n.get('train', 0)} training and "
            f"{n.get('test', 0)} test exams, about 80 to 20 in each class, seed {SPLIT_SEED}."
        )
    exams["split"] = exams["split"].str.lower()
    words = {"training": "train", "testing": "test"}
    if exams["split"].isin(words).any():
        notes.append(f"{name}: split training was read as train, testing as test.")
        exams["split"] = exams["split"].replace(words)
    if (wrong := ~exams["split"].isin(SPLITS)).any():
        raise ConfigError(
            f"{name}, {_rows(exams.row[wrong])}: split is neither train nor test; write one of the "
            "two, or leave the whole column empty to have patients divided for you."
        )
    torn = exams["patient_id"][exams.groupby("patient_id")["split"].transform("nunique") > 1]
    if len(torn):
        where = f"{name}, {_rows(exams.row[exams['patient_id'] == torn.iloc[0]])}"
        more = f" (and {torn.nunique() - 1} more patients)" if torn.nunique() > 1 else ""
        said = f"{where}: one patient is in both splits{more}"
        raise ConfigError(f"{said}; keep all exams of a patient in one split.")
    for split, role in zip(SPLITS, ("to learn from", "to tell memorising from generalising")):
        if not (exams["split"] == split).any():
            remedy = "a class needs two patients or more to have one held out: add some"
            if not made:
                divide = "leave the split column empty to have patients divided for you"
                remedy = f"mark some patients {split}, or {divide}"
            raise ConfigError(f"{name} has no {split} exam {role}; {remedy}.")


def split_by_patient(patients, classes) -> list[str]:
    """Divide patients into train and test, about 80 to 20, so that every class keeps its share.

    A patient belongs to the stratum of all classes that they have exams of, so the few with two
    diagnoses are divided as fairly as the rest. The order of rows does not matter.

    Args:
        patients, classes: one value per exam.

    Returns:
        "train" or "test" per exam. Every class with two patients or more has both.
    """
    patients = [str(p) for p in patients]
    classes_of, strata = defaultdict(set), defaultdict(list)
    for patient, label in zip(patients, classes):
        classes_of[patient].add(str(label))
    for patient in sorted(classes_of):
        strata[tuple(sorted(classes_of[patient]))].append(patient)
    # Patients with several classes first: what they hold out counts for each of their classes.
    test, rng = set(), np.random.default_rng(SPLIT_SEED)
    for stratum in sorted(strata, key=lambda s: (-len(s), s)):
        members = strata[stratum]
        order = [members[i] for i in rng.permutation(len(members))]
        n_test = int(np.floor(TEST_SHARE * len(members) + 0.5))
        if len(stratum) == 1:  # a class is known by its own patients: at least one on either side
            n_test = min(max(n_test, 1), len(members) - 1)
        test.update(order[:n_test])
    return ["test" if p in test else "train" for p in patients]


def without(cohort: Cohort, cfg: Config) -> Cohort:
    """The cohort without the classes that `cfg.leave_out` names; two or more must be left.

    A profile's own list may name classes that a user's cohort does not have; a user's may not.
    """
    names = [n.strip() for n in cfg.leave_out.split(",") if n.strip()]
    if not names:
        return cohort
    unknown = [n for n in names if n not in cohort.class_names]
    if unknown and cfg.leave_out != load(cfg.profile).leave_out:
        known = ", ".join(cohort.class_names)
        raise ConfigError(f"leave_out names {unknown[0]!r}; the cohort's classes are {known}.")
    left = [c for c in cohort.class_names if c not in names]
    if len(left) < 2:
        said = f"leave_out = {cfg.leave_out!r} leaves fewer than two classes"
        raise ConfigError(f"{said}; a conditional GAN needs two.")
    keep = cohort.exams["class"].isin(left)
    notes = list(cohort.notes)
    if gone := int((~keep).sum()):
        shown = ", ".join(n for n in names if n not in unknown)
        notes.append(f"{gone} exams of class {shown} are left out (setting leave_out).")
    return Cohort(cohort.exams[keep].reset_index(drop=True), left, notes)


def capped(cohort: Cohort, cfg: Config) -> Cohort:
    """The first `cfg.train_exams` and `cfg.test_exams` exams of each class, in csv order; 0 = all.

    One number holds for every class, otherwise there is one per class in the cohort's order. A
    profile's own list is made for the embedded cohort: where it does not fit the user's classes,
    all exams are kept and a note says so.
    """
    exams, names, notes = cohort.exams, cohort.class_names, list(cohort.notes)
    keep = np.ones(len(exams), bool)
    for split in SPLITS:
        caps = getattr(cfg, f"{split}_exams")
        if len(caps) not in (1, len(names)):
            if caps != getattr(load(cfg.profile), f"{split}_exams"):
                raise ConfigError(
                    f"{split}_exams has {len(caps)} numbers but the cohort has {len(names)} "
                    f"classes ({', '.join(names)}); give one number for all, or one per class in "
                    "this order."
                )
            notes.append(
                f"profile {cfg.profile} limits {split} exams for {len(caps)} classes; this cohort "
                f"has {len(names)}, so all are kept."
            )
            continue
        for label, cap in zip(names, caps * len(names) if len(caps) == 1 else caps):
            chosen = np.flatnonzero((exams["class"] == label) & (exams["split"] == split))
            if cap:
                keep[chosen[cap:]] = False
    if not keep.all():
        notes.append(
            f"{keep.sum()} of the cohort's {len(keep)} exams are used: settings train_exams and "
            "test_exams keep the first of each class."
        )
    return Cohort(exams[keep].reset_index(drop=True), names, notes)


def _rows(lines, limit: int = 5) -> str:
    """`row 3`, `rows 3, 7 and 12` or `rows 3, 4, 5, 6, 7 and 20 more`."""
    *said, last = [str(int(n)) for n in lines]
    if not said:
        return f"row {last}"
    if len(said) < limit:
        return f"rows {', '.join(said)} and {last}"
    return f"rows {', '.join([*said, last][:limit])} and {len(said) + 1 - limit} more"


def _decode(path: Path) -> str:
    """The csv's text, from UTF-8 or UTF-16 with or without a mark, or a Windows code page."""
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as e:
        missing = isinstance(e, (FileNotFoundError, ValueError))
        fault = "does not exist" if missing else f"cannot be read ({type(e).__name__})"
        remedy = f"give the path of a csv with the columns {', '.join(REQUIRED)} and split."
        raise ConfigError(f"the cohort file {path.name} {fault}; {remedy}") from None
    if raw[:2] == b"PK":
        said = f"{path.name} is an Excel workbook"
        raise ConfigError(f"{said}; save it as csv and name that file as the cohort.")
    encodings = ("utf-8-sig", "cp1252")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ("utf-16",)
    elif b"\0" in raw[:2]:  # UTF-16 without a byte-order mark: every other byte of plain text is 0
        encodings = ("utf-16-be" if raw[0] == 0 else "utf-16-le",)
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    said = f"{path.name} is not a text file that can be read"
    raise ConfigError(f"{said}; save the cohort as csv in UTF-8.")


def _parse(path: Path) -> pd.DataFrame:
    """The csv as text columns and `row`; comma, semicolon, tab and bar all separate.

    Lines before the header (Excel's `sep=;`, a title, a comment) and invisible characters are
    passed over.
    """
    text = _decode(path).translate(dict.fromkeys((0xFEFF, 0x200B)))
    lines = text.splitlines(keepends=True)
    titled = (i for i, line in enumerate(lines[:20]) if re.search(r"exam[\s_-]*id", line, re.I))
    above = next(titled, 0)
    text = "\n" * above + "".join(lines[above:])  # row numbers stay those of the file
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t|，；", key=header.count)
    look = dict(delimiter=delimiter, strict=True, skipinitialspace=True)
    reader = csv.reader(io.StringIO(text, newline=""), **look)
    names, records = None, []
    try:
        for values in reader:
            if not any(v.strip() for v in values):
                continue
            if names is None:
                names = [v.strip() for v in values]
                while names and not names[-1]:  # a spreadsheet's empty columns at the right
                    names.pop()
            elif len(values) < len(names) or any(v.strip() for v in values[len(names) :]):
                mark = "tab" if delimiter == "\t" else repr(delimiter)
                said = f"{len(values)} values under {len(names)} column names"
                where = f"{path.name}, row {reader.line_num}"
                raise ConfigError(f"{where}: {said}; quote values that hold a {mark}.")
            else:
                records.append([_one_line(v, n) for v, n in zip(values, names)] + [reader.line_num])
    except csv.Error as e:
        where = f"{path.name}, row {reader.line_num}"
        raise ConfigError(f"{where}: not readable as csv ({e}); check its quotes.") from None
    if names is None:
        said = f"{path.name} is empty; write a header with {', '.join(REQUIRED)}"
        raise ConfigError(f"{said} and one row per exam.")
    if "row" in names:
        raise ConfigError(f"{path.name}: column 'row' is a name kept for line numbers; rename it.")
    return pd.DataFrame(records, columns=[*names, "row"], dtype=object).astype({"row": int})


def _known_names(exams: pd.DataFrame, name: str) -> pd.DataFrame:
    """Columns that the library knows under their names: `Exam ID` and `exam-id` are exam_id."""
    known = {*REQUIRED, "split", *pictures.COLUMNS}
    plain = [re.sub(r"[\s_-]+", "_", str(c).strip().lower()) for c in exams.columns]
    columns = [p if p in known else c for p, c in zip(plain, exams.columns)]
    if twice := sorted({str(c) for c in columns if columns.count(c) > 1}):
        raise ConfigError(f"{name}: column {twice[0]!r} appears twice; rename it.")
    return exams.set_axis(columns, axis=1)


def _without_totals(exams: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Drop a spreadsheet's last row if it counts the others: `Total` and empty cells."""
    if exams.empty or not set(REQUIRED) <= set(exams):
        return exams
    last = exams.iloc[-1]
    is_total = last["exam_id"].lower().rstrip(":") in ("total", "sum", "count", "n")
    if not is_total or last["patient_id"] or last["class"] or last["path"]:
        return exams
    notes.append(f"row {last['row']} is a total, not an exam; it was passed over.")
    return exams.iloc[:-1].copy()


def _one_line(value: str, column: str) -> str:
    """Without blanks around it and, unless it is a path, with line breaks as one blank."""
    return value.strip() if str(column).lower() == "path" else " ".join(value.split())


def _from_frame(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.drop(columns="row", errors="ignore").reset_index(drop=True)
    table = table.map(lambda v: "" if pd.isna(v) else str(v)).astype(object)
    for name in table:
        table[name] = [_one_line(v, name) for v in table[name]]
    return table.assign(row=np.arange(len(table)) + 2)  # as if it had been written as csv
