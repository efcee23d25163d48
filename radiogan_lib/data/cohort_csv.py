"""The cohort csv as text: every encoding, separator and quoting that spreadsheets write, or one sentence with the row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd

from radiogan_lib.config import ConfigError

REQUIRED = ("exam_id", "patient_id", "class", "path")


def rows(lines, limit: int = 5) -> str:
    """`row 3`, `rows 3, 7 and 12` or `rows 3, 4, 5, 6, 7 and 20 more`."""
    lines = [int(n) for n in lines]
    if len(lines) == 1:
        return f"row {lines[0]}"
    if len(lines) <= limit:
        return f"rows {', '.join(map(str, lines[:-1]))} and {lines[-1]}"
    return f"rows {', '.join(map(str, lines[:limit]))} and {len(lines) - limit} more"


def _decode(path: Path) -> str:
    """The csv's text, from UTF-8 with or without a byte-order mark, UTF-16 with one, or a Windows code page."""
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as e:
        fault = (
            "does not exist"
            if isinstance(e, (FileNotFoundError, ValueError))
            else f"cannot be read ({type(e).__name__})"
        )
        raise ConfigError(
            f"the cohort file {path.name} {fault}; give the path of a csv with the columns "
            f"{', '.join(REQUIRED)} and split."
        ) from None
    if raw[:2] == b"PK":
        raise ConfigError(
            f"{path.name} is an Excel workbook; save it as csv and name that file as the cohort."
        )
    for encoding in (
        ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    ):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ConfigError(
        f"{path.name} is not a text file that can be read; save the cohort as csv in UTF-8."
    )


def parse(path: Path) -> pd.DataFrame:
    """The csv as text columns and `row`; comma, semicolon and tab all separate."""
    text = _decode(path)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
                raise ConfigError(
                    f"{path.name}, row {reader.line_num}: {len(values)} values under {len(names)} column "
                    f"names; quote values that hold a {'tab' if delimiter == chr(9) else delimiter!r}."
                )
            else:
                records.append([_one_line(v, n) for v, n in zip(values, names)] + [reader.line_num])
    except csv.Error as e:
        raise ConfigError(
            f"{path.name}, row {reader.line_num}: not readable as csv ({e}); check its quotes."
        ) from None
    if names is None:
        raise ConfigError(
            f"{path.name} is empty; write a header with {', '.join(REQUIRED)} and one row per exam."
        )
    lower = [n.lower() if n.lower() in (*REQUIRED, "split") else n for n in names]
    twice = sorted({n for n in lower if lower.count(n) > 1})
    if twice or "row" in lower:
        raise ConfigError(
            f"{path.name}: column {(twice or ['row'])[0]!r} "
            f"{'appears twice' if twice else 'is a name kept for line numbers'}; rename it."
        )
    return pd.DataFrame(records, columns=[*lower, "row"], dtype=object).astype({"row": int})


def _one_line(value: str, column: str) -> str:
    """A value without blanks around it and, unless it is a path, with every line break inside it as one blank."""
    return value.strip() if str(column).lower() == "path" else " ".join(value.split())


def from_frame(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.drop(columns="row", errors="ignore").reset_index(drop=True)
    table = table.map(lambda v: "" if pd.isna(v) else str(v)).astype(object)
    for name in table:
        table[name] = [_one_line(v, name) for v in table[name]]
    return table.assign(row=np.arange(len(table)) + 2)  # as if it had been written as csv
