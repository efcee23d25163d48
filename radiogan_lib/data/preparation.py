"""From a cohort to a dataset on disk: read, project, place on the canvas, once per exam."""

import contextlib
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
from radiogan_lib.data import deidentify, pictures, readers

SCHEMA_VERSION = 2
REJECTS = ["exam", "file", "reason", "remedy"]  # columns of rejects.csv
# Cohort columns that are published beside hashed identifiers; any other may hold a name or a date.
OPEN_COLUMNS = {
    *"sex age manufacturer scanner model collection licence license doi".split(),
    *pictures.COLUMNS,
}


class DatasetError(RadioganError):
    """A dataset that cannot be made or cannot be trusted."""


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
        done = f"{self.prepared} exams prepared now, {self.reused} were ready"
        where = paths.shown(self.directory)
        lines = [f"{done}, {self.rejected} rejected: {where}", self.counts.to_string()]
        for r in self.rejects.head(10).itertuples():
            lines.append(f"{r.exam} ({r.file}): {r.reason}; {r.remedy}")
        if self.rejected > 10:
            lines.append(f"and {self.rejected - 10} more in rejects.csv")
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        text = (
            f"<p><b>{self.prepared}</b> exams prepared now, <b>{self.reused}</b> were ready, "
            f"<b>{self.rejected}</b> rejected. Dataset: "
            f"<code>{html.escape(paths.shown(self.directory))}</code></p>{self.counts.to_html()}"
        )
        if self.rejected:
            first = " (first 10; all in rejects.csv)" if self.rejected > 10 else ""
            text += f"<p>Rejected{first}:</p>" + self.rejects.head(10).to_html(index=False)
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
        if e.errno not in paths.CANNOT_WRITE:
            raise
        raise DatasetError(
            f"{paths.shown(directory)} cannot be written ({e.strerror}); make room or choose "
            "another folder, and run again: what is finished is kept."
        ) from None


def prepare(cohort, out_dir: Path | str, cfg: Config, scheduler=None) -> Report:
    """Make the MIP dataset of a cohort, complete an interrupted one, or find that nothing changed.

    Every exam is read, projected at 2 mm (paper §3.1), clipped to [0, suv_max] and placed on the
    canvas. Exams that cannot be trusted are listed in rejects.csv with reason and remedy and do not
    stop the others. Only what changed (settings, source files, reading code) is prepared again.

    Args:
        cohort: csv path or DataFrame with `exam_id, patient_id, class, path` and perhaps `split`.
        out_dir: folder of the dataset, e.g. `paths.dataset_dir(cfg)`.
        cfg: its data settings (caps, canvas, field of view, suv_max, keep_ids) and `workers`.
        scheduler: see `executors.run`: None, "processes", "threads", "sync", an address or client.

    Returns:
        A `Report`; on disk mips.npy (n, h, w) float32 linear SUV in csv order, exams.csv,
        rejects.csv and, written last, dataset.json.

    Raises:
        ConfigError: the cohort or a setting is at fault.
        DatasetError: no exam, or no exam of some class, could be used.
    """
    started, directory = time.monotonic(), Path(out_dir)
    chosen = cohorts.capped(cohorts.without(cohorts.read(cohort), cfg), cfg)
    notes, exams, names = chosen.notes, chosen.exams, chosen.class_names
    table, secret = _published(exams, cfg, notes)
    jobs = [readers.task(exam, cfg) for exam in exams.to_dict("records")]
    # The cohort's path may name a person.
    settings = {k: v for k, v in cfg.stage("data").items() if k != "cohort"}
    with _only_one(directory):
        marks = [readers.fingerprint(job, secret) for job in jobs]
        parts = [SCHEMA_VERSION, settings, marks, names, table.to_csv(index=False)]
        whole = deidentify.keyed(json.dumps(parts), secret)
        if (done := _finished(directory, whole, cfg)) is not None:
            listed, rejects, counts = done
            notes += _remarks(listed, counts)
            return Report(directory, 0, len(listed), rejects, counts, notes)
        kept = (deidentify.keyed("cache:" + v, secret)[:24] for v in exams["exam_id"])
        files = [directory / "cache" / f"{name}.npz" for name in kept]
        work = readers.Work(jobs, files, marks)

        def mend(result: dict, i: int) -> dict:
            return _scrubbed(result, exams.iloc[i])

        work.complete(readers.project, "preparing exams", scheduler, cfg.workers, mend)
        rejects = _rejects(work.results, exams, table, cfg.keep_ids)
        counts = _count(exams, work.good, names)
        # Until the new one is there, the dataset is unfinished.
        (directory / "dataset.json").unlink(missing_ok=True)
        paths.write_text(directory / "rejects.csv", rejects.to_csv(index=False))
        _refuse_if_empty(counts, rejects, directory)
        content = {
            "schema_version": SCHEMA_VERSION,
            "class_names": names,
            "unit": _unit(work),
            "counts": {s: {c: int(counts.loc[c, s]) for c in names} for s in counts.columns},
            "settings": settings,
            "rejected": len(rejects),
            "complete": not any(r.get("transient") for r in work.results),
            "fingerprint": whole,
        }
        listed = _write(directory, work, table, cfg, content)
    notes += _remarks(listed, counts)
    if work.todo:
        notes.append(f"{len(work.todo)} exams took {time.monotonic() - started:.0f} s.")
    now = len(set(work.good) & set(work.todo))
    return Report(directory, now, len(work.good) - now, rejects, counts, notes)


def _refuse_if_empty(counts: pd.DataFrame, rejects: pd.DataFrame, directory: Path) -> None:
    first = where = ""
    if len(rejects):
        first = f" The first reason: {rejects.reason[0]}; {rejects.remedy[0].rstrip('.')}."
        where = f" All reasons are in {paths.shown(directory / 'rejects.csv')}."
    if counts[list(cohorts.SPLITS)].to_numpy().sum() == 0:
        said = f"all {len(rejects)} exams were rejected, so there is no dataset."
        raise DatasetError(f"{said}{first}{where}")
    if len(lost := counts.index[counts["train"] == 0]):
        said = f"no training exam is left of class {', '.join(lost)}"
        remedy = "correct its exams or take the class out of the cohort."
        raise DatasetError(f"{said}; {remedy}{first}{where}")


def _unit(work: readers.Work) -> str:
    """The unit of all exams: "SUV", or "window" where all are uncalibrated pictures."""
    units = [work.results[i]["facts"]["unit"] for i in work.good]
    if len(set(units)) > 1:
        raise DatasetError(
            f"{units.count('SUV')} exams are in SUV and {units.count('window')} are uncalibrated "
            "pictures; one dataset holds one kind: give the pictures suv_white and suv_black in "
            "the cohort, or take them out."
        )
    return units[0]


def _write(directory: Path, work: readers.Work, table, cfg: Config, content: dict) -> pd.DataFrame:
    """Put the exams together; dataset.json comes last and says that all is there."""
    good, (h, w), (height, width) = work.good, cfg.canvas, cfg.field_of_view_mm
    # Piece by piece, not through a memory map: a disk that fills up under a map ends the process
    # without a word.
    with paths.atomic(directory / "mips.npy") as temporary, open(temporary, "wb") as f:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(good), h, w)}
        np.lib.format.write_array_header_1_0(f, header)
        for i in good:
            result = readers.recall(work.files[i], work.marks[i])
            if result is None:
                name = paths.shown(work.files[i])
                raise DatasetError(f"{name} vanished during the work; run again.")
            f.write(np.ascontiguousarray(result["mip"], "<f4").tobytes())
    facts = pd.DataFrame([work.results[i]["facts"] for i in good]).round(4)
    known = table.iloc[good].drop(columns=[c for c in facts if c in table]).reset_index(drop=True)
    exams = pd.concat([known, facts], axis=1)
    paths.write_text(directory / "exams.csv", exams.to_csv(index=False))
    content = content | {
        "exams": len(good),
        "canvas": [h, w],
        "field_of_view_mm": [height, width],
        "pixel_mm": [height / h, width / w],
        "projection_spacing_mm": readers.MIP_SPACING_MM,
        "suv_max": cfg.suv_max,
        "sha256": paths.sha256(directory / "mips.npy"),
        "exams_sha256": paths.sha256(directory / "exams.csv"),
    }
    paths.write_json(directory / "dataset.json", content)
    return exams


def _finished(directory: Path, fingerprint: str, cfg: Config) -> tuple | None:
    """exams.csv, rejects.csv and the counts, if the dataset is whole and made from these things."""
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
        exams, rejects = (
            pd.read_csv(directory / name, dtype=str, keep_default_na=False)
            for name in ("exams.csv", "rejects.csv")
        )
        names = content["class_names"]
        counts = pd.DataFrame(content["counts"]).loc[names]
        sizes = content["rejected"] == len(rejects) and content["exams"] == len(exams)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (exams, rejects, counts) if sizes and set(exams["class"]) <= set(names) else None


def _published(exams: pd.DataFrame, cfg: Config, notes: list[str]) -> tuple[pd.DataFrame, bytes]:
    """The table that may be seen (row for row as `exams`), and the key of its hashes."""
    private = ~exams["path"].str.startswith("phantom:") & (not cfg.keep_ids)
    secret = deidentify.key() if private.any() else b""
    table = pd.DataFrame(index=exams.index)
    for kind in ("exam", "patient"):
        ids = zip(exams[f"{kind}_id"], private)
        hashed = [deidentify.hashed(kind, v, secret) if hide else v for v, hide in ids]
        table[f"{kind}_id"] = hashed
    table["class"], table["split"] = exams["class"], exams["split"]
    if not private.all():
        shown = exams["path"].str.replace(r"[\r\n]+", " ", regex=True)  # a table's row is one line
        table["path"] = shown.where(~private, "")
    optional = [c for c in exams.columns if c not in table and c not in ("row", "path")]
    for column in optional:
        if column.lower() in OPEN_COLUMNS or not private.all():
            table[column] = exams[column].where(~private | (column.lower() in OPEN_COLUMNS), "")
    if hidden := [c for c in optional if private.any() and c.lower() not in OPEN_COLUMNS]:
        said = f"Not published, because they may identify someone: column {', '.join(hidden)}"
        notes.append(f"{said} (the setting keep_ids=True keeps all).")
    return table, secret


def _scrubbed(result: dict, exam: pd.Series) -> dict:
    """A result whose texts hold nothing that identifies the exam; a phantom has nothing to hide."""
    if exam["path"].startswith("phantom:"):
        return result
    source, result = Path(exam["path"]), dict(result)
    names = [v for k, v in exam.items() if k not in ("class", "split", "row")]
    names += [source.name, source.stem, source.name.split(".")[0], *source.parts[-3:]]
    if "error" in result:  # its message may quote any header value, so only its type is told
        result["reason"] = f"could not be read ({result.pop('error')})"
    for key in ("reason", "remedy"):
        if key in result:
            result[key] = deidentify.scrub(result[key], tuple(names))
    if facts := result.get("facts"):
        result["facts"] = facts | {"note": deidentify.scrub(facts["note"], tuple(names))}
    return result


def _rejects(results: list[dict], exams, table, keep_ids: bool) -> pd.DataFrame:
    """rejects.csv; `file` is a row number unless the user keeps identifiers."""
    lines = []
    for i, result in enumerate(results):
        if "reason" in result:
            path = " ".join(exams["path"][i].splitlines())
            shown = keep_ids or path.startswith("phantom:")
            file = path if shown else f"row {exams['row'][i]} of the cohort"
            lines.append((table["exam_id"][i], file, result["reason"], result["remedy"]))
    return pd.DataFrame(lines, columns=REJECTS)


def _remarks(exams: pd.DataFrame, counts: pd.DataFrame) -> list[str]:
    """What else the reader should know about a finished dataset."""
    out = []
    if (exams["unit"] == "window").any():
        out.append(
            "The pictures are uncalibrated: a value is the share of the source's window, not an "
            "SUV. It is stored times suv_max, so that suv_max is the window's end."
        )
    for text, n in exams.loc[exams["assumed"] != "", "assumed"].value_counts().items():
        out.append(
            f"{n} pictures were read with assumptions: {text}. Columns of the cohort can say "
            f"otherwise: {', '.join(pictures.COLUMNS)}."
        )
    if n := int((exams["note"] != "").sum()):
        out.append(f"{n} exams were read with a remark: column note of exams.csv.")
    if untested := list(counts.index[counts["test"] == 0]):
        said = f"No exam of class {', '.join(untested)} is held out"
        out.append(f"{said}: its pictures cannot be compared with unseen ones.")
    return out


def _count(exams: pd.DataFrame, kept: list[int], class_names: list[str]) -> pd.DataFrame:
    """Exams per class: train, test, rejected."""
    status = exams["split"].where(exams.index.isin(exams.index[kept]), "rejected")
    columns = [*cohorts.SPLITS, "rejected"]
    counts = pd.crosstab(exams["class"], status).reindex(index=class_names, columns=columns)
    return counts.rename_axis(index=None, columns=None).fillna(0).astype(int)
