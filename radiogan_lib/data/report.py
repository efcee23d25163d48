"""What may be seen of a cohort: the published tables, the rejects with their reasons, the report in the notebook.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import Config
from radiogan_lib.data import deidentify, pictures
from radiogan_lib.data.cohort import SPLITS

# Optional cohort columns that are published beside hashed identifiers; any other may hold a name or a date.
OPEN_COLUMNS = (
    "sex",
    "age",
    "manufacturer",
    "scanner",
    "model",
    "collection",
    "licence",
    "license",
    "doi",
    *pictures.COLUMNS,
)


@dataclass
class Report:
    """What `prepare` did. `counts` has one row per class; `rejects` is rejects.csv."""

    directory: Path
    prepared: int
    reused: int
    rejects: pd.DataFrame
    counts: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        return len(self.rejects)

    def __str__(self) -> str:
        lines = [
            f"{self.prepared} exams prepared now, {self.reused} were ready, {self.rejected} rejected: "
            f"{paths.shown(self.directory)}",
            self.counts.to_string(),
        ]
        lines += [
            f"{r.exam} ({r.file}): {r.reason}; {r.remedy}"
            for r in self.rejects.head(10).itertuples()
        ]
        if self.rejected > 10:
            lines.append(f"and {self.rejected - 10} more in rejects.csv")
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        text = (
            f"<p><b>{self.prepared}</b> exams prepared now, <b>{self.reused}</b> were ready, "
            f"<b>{self.rejected}</b> rejected. Dataset: <code>{html.escape(paths.shown(self.directory))}</code></p>"
            f"{self.counts.to_html()}"
        )
        if self.rejected:
            text += (
                f"<p>Rejected{' (first 10; all in rejects.csv)' if self.rejected > 10 else ''}:</p>"
                + self.rejects.head(10).to_html(index=False)
            )
        return text + "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)


def published(exams: pd.DataFrame, cfg: Config, notes: list[str]) -> tuple[pd.DataFrame, bytes]:
    """The table that may be seen (row for row as `exams`), and the key that its hashes were made with."""
    private = ~exams["path"].str.startswith("phantom:") & (not cfg.keep_ids)
    secret = deidentify.key() if private.any() else b""
    table = pd.DataFrame(index=exams.index)
    for kind in ("exam", "patient"):
        table[f"{kind}_id"] = [
            deidentify.hashed(kind, v, secret) if hide else v
            for v, hide in zip(exams[f"{kind}_id"], private)
        ]
    table["class"], table["split"] = exams["class"], exams["split"]
    if not private.all():
        shown = exams["path"].str.replace(r"[\r\n]+", " ", regex=True)  # a table's row is one line
        table["path"] = shown.where(~private, "")
    optional = [c for c in exams.columns if c not in table and c not in ("row", "path")]
    for column in optional:
        if column.lower() in OPEN_COLUMNS or not private.all():
            table[column] = exams[column].where(~private | (column.lower() in OPEN_COLUMNS), "")
    if hidden := [c for c in optional if private.any() and c.lower() not in OPEN_COLUMNS]:
        notes.append(
            f"Not published, because they may identify someone: column {', '.join(hidden)} "
            "(the setting keep_ids=True keeps all)."
        )
    return table, secret


def scrubbed(result: dict, exam: pd.Series) -> dict:
    """A worker's result whose texts hold nothing that identifies the exam. A phantom has nothing to hide."""
    if exam["path"].startswith("phantom:"):
        return result
    source, result = Path(exam["path"]), dict(result)
    names = [v for k, v in exam.items() if k not in ("class", "split", "row")]
    names += [source.name, source.stem, source.name.split(".")[0], *source.parts[-3:]]
    if (
        "error" in result
    ):  # a foreign error's message may quote any header value, so only its type is told
        result["reason"] = f"could not be read ({result.pop('error')})"
    for key in ("reason", "remedy"):
        if key in result:
            result[key] = deidentify.scrub(result[key], tuple(names))
    if "facts" in result:
        result["facts"] = result["facts"] | {
            "note": deidentify.scrub(result["facts"]["note"], tuple(names))
        }
    return result


def rejects(
    results: list[dict], exams: pd.DataFrame, table: pd.DataFrame, keep_ids: bool
) -> pd.DataFrame:
    """rejects.csv: exam, file, reason, remedy; `file` is a row number unless the user keeps identifiers."""
    lines = []
    for i, result in enumerate(results):
        if "reason" in result:
            path = " ".join(exams["path"][i].splitlines())
            is_open = keep_ids or path.startswith("phantom:")
            lines.append(
                {
                    "exam": table["exam_id"][i],
                    "file": path if is_open else f"row {exams['row'][i]} of the cohort",
                    "reason": result["reason"],
                    "remedy": result["remedy"],
                }
            )
    return pd.DataFrame(lines, columns=["exam", "file", "reason", "remedy"])


def remarks(exams: pd.DataFrame, counts: pd.DataFrame) -> list[str]:
    """What else the reader should know about a finished dataset."""
    out = []
    if (exams["unit"] == "window").any():
        out.append(
            "The pictures are uncalibrated: a value is the share of the source's window, not an SUV. It is stored "
            "times suv_max, so that suv_max is the window's end."
        )
    for text, n in exams.loc[exams["assumed"] != "", "assumed"].value_counts().items():
        out.append(
            f"{n} pictures were read with assumptions: {text}. Columns of the cohort can say otherwise: "
            f"{', '.join(pictures.COLUMNS)}."
        )
    if n := int((exams["note"] != "").sum()):
        out.append(f"{n} exams were read with a remark: column note of exams.csv.")
    if untested := list(counts.index[counts["test"] == 0]):
        out.append(
            f"No exam of class {', '.join(untested)} is held out: its pictures cannot be compared with unseen "
            "ones."
        )
    return out


def count(exams: pd.DataFrame, kept: list[int], class_names: list[str]) -> pd.DataFrame:
    """Exams per class: train, test, rejected."""
    status = exams["split"].where(exams.index.isin(exams.index[kept]), "rejected")
    counts = pd.crosstab(exams["class"], status).reindex(
        index=class_names, columns=[*SPLITS, "rejected"]
    )
    counts.index.name = counts.columns.name = None
    return counts.fillna(0).astype(int)
