"""From a cohort to a dataset on disk: read, project, place on the canvas, once per exam.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import contextlib
import errno
import html
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import Config, RadioganError
from radiogan_lib.data import cohort as cohorts
from radiogan_lib.data import deidentify, executors, pictures, readers
from radiogan_lib.machine import Progress

SCHEMA_VERSION = 2


class DatasetError(RadioganError):
    """A dataset that cannot be made or cannot be trusted."""


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


@contextlib.contextmanager
def _only_one(directory: Path):
    """Let one `prepare` at a time write here; a second waits, then finds the work done."""
    try:
        (directory / "cache").mkdir(parents=True, exist_ok=True)
        with readers.only_one(directory / ".lock") as alone:
            if alone:  # nobody else writes: what is half written was left by a killed run
                for left in [*directory.glob(".*.part*"), *directory.glob("cache/.*.part*")]:
                    left.unlink(missing_ok=True)
            yield
    except OSError as e:
        if e.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.EISDIR,
            errno.ENAMETOOLONG,
        ):
            raise
        raise DatasetError(
            f"{paths.shown(directory)} cannot be written ({e.strerror}); make room or choose another "
            "folder, and run again: what is finished is kept."
        ) from None


def prepare(cohort, out_dir: Path | str, cfg: Config, scheduler=None) -> Report:
    """Make the MIP dataset of a cohort, or complete an interrupted one, or find that nothing changed.

    Every exam is read, projected at 2 mm (paper §3.1), clipped to [0, suv_max] and placed on the canvas. Exams that
    cannot be trusted are listed in rejects.csv with reason and remedy and do not stop the others. Only what changed
    (settings, source files, reading code) is prepared again.

    Args:
        cohort: csv path or DataFrame with `exam_id, patient_id, class, path` and optionally `split`.
        out_dir: folder of the dataset, e.g. `paths.dataset_dir(cfg)`.
        cfg: its data settings (caps, canvas, field of view, suv_max, keep_ids) and `workers`.
        scheduler: see `executors.run`: None, "processes", "threads", "sync", a Dask address or client.

    Returns:
        A `Report`; on disk mips.npy (n, h, w) float32 linear SUV in csv order, exams.csv, rejects.csv and, written
        last, dataset.json.

    Raises:
        ConfigError: the cohort or a setting is at fault.
        DatasetError: no exam, or no exam of some class, could be used.
    """
    started, directory = time.monotonic(), Path(out_dir)
    chosen = cohorts.capped(cohorts.without(cohorts.read(cohort), cfg), cfg)
    notes, exams = chosen.notes, chosen.exams
    table, secret = _published(exams, cfg, notes)
    jobs = [readers.task(exam, cfg) for exam in exams.to_dict("records")]
    with _only_one(directory):
        marks = [readers.fingerprint(job, secret) for job in jobs]
        files = [
            directory / "cache" / f"{deidentify.keyed('cache:' + v, secret)[:24]}.npz"
            for v in exams["exam_id"]
        ]
        settings = {
            k: v for k, v in cfg.stage("data").items() if k != "cohort"
        }  # its path may name a person
        whole = deidentify.keyed(
            json.dumps(
                [SCHEMA_VERSION, settings, marks, chosen.class_names, table.to_csv(index=False)]
            ),
            secret,
        )
        if (done := _finished(directory, whole, cfg)) is not None:
            return Report(
                directory,
                0,
                len(done["exams"]),
                done["rejects"],
                done["counts"],
                [*notes, *_remarks(done["exams"], done["counts"])],
            )
        results = [readers.recall(f, m, pixels=False) for f, m in zip(files, marks)]
        todo = [i for i, result in enumerate(results) if result is None]
        with Progress(len(todo), "preparing exams") as progress:
            for k, result in executors.run(
                readers.project, [jobs[i] for i in todo], scheduler, cfg.workers
            ):
                results[todo[k]] = _kept(
                    result, exams.iloc[todo[k]], files[todo[k]], marks[todo[k]]
                )
                progress.update()
        good = [i for i, result in enumerate(results) if "reason" not in result]
        rejects = _rejects(results, exams, table, cfg.keep_ids)
        counts = _count(exams, good, chosen.class_names)
        (directory / "dataset.json").unlink(
            missing_ok=True
        )  # until the new one is there, the dataset is unfinished
        paths.write_text(directory / "rejects.csv", rejects.to_csv(index=False))
        _refuse_if_empty(counts, rejects, directory)
        unit = _unit(results, good)
        listed = _write(
            directory,
            good,
            files,
            marks,
            table,
            results,
            cfg,
            {
                "schema_version": SCHEMA_VERSION,
                "class_names": chosen.class_names,
                "unit": unit,
                "counts": {
                    s: {c: int(counts.loc[c, s]) for c in chosen.class_names}
                    for s in counts.columns
                },
                "settings": settings,
                "rejected": len(rejects),
                "complete": not any(r.get("transient") for r in results),
                "fingerprint": whole,
            },
        )
    notes += _remarks(listed, counts)
    if todo:
        notes.append(f"{len(todo)} exams took {time.monotonic() - started:.0f} s.")
    now = len(set(good) & set(todo))
    return Report(directory, now, len(good) - now, rejects, counts, notes)


def _kept(result, exam: pd.Series, path: Path, mark: str) -> dict:
    """A worker's result with its texts scrubbed, written to the exam's cache file; returned without the picture.

    A result that another try may change (a lost worker, an error nobody foresaw) is not written.
    """
    if isinstance(result, executors.Died):
        result = {
            "reason": result.reason,
            "transient": True,
            "remedy": "use fewer workers or a machine with more memory, or leave the exam out",
        }
    result = _scrubbed(result, exam)
    if not result.get("transient"):
        readers.store(path, mark, result)
    return {k: v for k, v in result.items() if k != "mip"}


def _refuse_if_empty(counts: pd.DataFrame, rejects: pd.DataFrame, directory: Path) -> None:
    lost = counts.index[(counts["train"] == 0)]
    first = (
        ""
        if rejects.empty
        else f" The first reason: {rejects.reason[0]}; {rejects.remedy[0].rstrip('.')}."
    )
    where = f" All reasons are in {paths.shown(directory / 'rejects.csv')}." if len(rejects) else ""
    if counts[list(cohorts.SPLITS)].to_numpy().sum() == 0:
        raise DatasetError(
            f"all {len(rejects)} exams were rejected, so there is no dataset.{first}{where}"
        )
    if len(lost):
        raise DatasetError(
            f"no training exam is left of class {', '.join(lost)}; correct its exams or take the class "
            f"out of the cohort.{first}{where}"
        )


def _unit(results: list[dict], good: list[int]) -> str:
    """The unit of all exams: "SUV", or "window" where all are uncalibrated pictures."""
    units = [results[i]["facts"]["unit"] for i in good]
    if len(set(units)) > 1:
        raise DatasetError(
            f"{units.count('SUV')} exams are in SUV and {units.count('window')} are uncalibrated pictures; one dataset "
            "holds one kind: give the pictures suv_white and suv_black in the cohort, or take them out."
        )
    return units[0]


def _write(directory, good, files, marks, table, results, cfg, content: dict) -> pd.DataFrame:
    """Put the prepared exams together; dataset.json comes last and says that all is there. Returns exams.csv."""
    # Written piece by piece, not through a memory map: a disk that fills up under a map ends the process without a word.
    with paths.atomic(directory / "mips.npy") as temporary, open(temporary, "wb") as f:
        np.lib.format.write_array_header_1_0(
            f, {"descr": "<f4", "fortran_order": False, "shape": (len(good), *cfg.canvas)}
        )
        for i in good:
            result = readers.recall(files[i], marks[i])
            if result is None:
                raise DatasetError(f"{paths.shown(files[i])} vanished during the work; run again.")
            f.write(np.ascontiguousarray(result["mip"], "<f4").tobytes())
    facts = pd.DataFrame([results[i]["facts"] for i in good]).round(4)
    described = (
        table.iloc[good].drop(columns=[c for c in facts if c in table]).reset_index(drop=True)
    )
    exams = pd.concat([described, facts], axis=1)
    paths.write_text(directory / "exams.csv", exams.to_csv(index=False))
    h, w = cfg.canvas
    height, width = cfg.field_of_view_mm
    paths.write_json(
        directory / "dataset.json",
        content
        | {
            "exams": len(good),
            "canvas": [h, w],
            "field_of_view_mm": [height, width],
            "pixel_mm": [height / h, width / w],
            "projection_spacing_mm": readers.MIP_SPACING_MM,
            "suv_max": cfg.suv_max,
            "sha256": paths.sha256(directory / "mips.npy"),
            "exams_sha256": paths.sha256(directory / "exams.csv"),
        },
    )
    return exams


def _finished(directory: Path, fingerprint: str, cfg: Config) -> dict | None:
    """The dataset's tables if it is whole and was made from exactly these things."""
    try:
        content = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
        told = [content[k] for k in ("schema_version", "canvas", "field_of_view_mm", "suv_max")]
        if (
            content["fingerprint"] != fingerprint
            or not content["complete"]
            or told != [SCHEMA_VERSION, list(cfg.canvas), list(cfg.field_of_view_mm), cfg.suv_max]
            or paths.sha256(directory / "mips.npy") != content["sha256"]
            or paths.sha256(directory / "exams.csv") != content["exams_sha256"]
        ):
            return None
        rejects = pd.read_csv(directory / "rejects.csv", dtype=str, keep_default_na=False)
        names = content["class_names"]
        counts = pd.DataFrame(
            {s: [content["counts"][s][c] for c in names] for s in content["counts"]}, index=names
        )
        exams = pd.read_csv(directory / "exams.csv", dtype=str, keep_default_na=False)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if (
        content["rejected"] != len(rejects)
        or content["exams"] != len(exams)
        or not set(exams["class"]) <= set(names)
    ):
        return None
    return {"exams": exams, "rejects": rejects, "counts": counts}


def _published(exams: pd.DataFrame, cfg: Config, notes: list[str]) -> tuple[pd.DataFrame, bytes]:
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


def _scrubbed(result: dict, exam: pd.Series) -> dict:
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


def _rejects(
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


def _remarks(exams: pd.DataFrame, counts: pd.DataFrame) -> list[str]:
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


def _count(exams: pd.DataFrame, kept: list[int], class_names: list[str]) -> pd.DataFrame:
    """Exams per class: train, test, rejected."""
    status = exams["split"].where(exams.index.isin(exams.index[kept]), "rejected")
    counts = pd.crosstab(exams["class"], status).reindex(
        index=class_names, columns=[*cohorts.SPLITS, "rejected"]
    )
    counts.index.name = counts.columns.name = None
    return counts.fillna(0).astype(int)
