"""From a cohort to a dataset on disk: read, project, place on the canvas, once per exam.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import contextlib
import html
import json
import logging
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import Config, RadioganError
from radiogan_lib.data import cache, cohort as cohorts, deidentify, executors
from radiogan_lib.data.canvas import fit_to_canvas
from radiogan_lib.data.errors import ExamError, ExamNote
from radiogan_lib.progress import Progress

SCHEMA_VERSION = 1
# Optional cohort columns that are published beside hashed identifiers; any other may hold a name or a date.
OPEN_COLUMNS = ("sex", "age", "manufacturer", "scanner", "model", "collection", "licence", "license", "doi")
_UNEXPECTED = "could not be read ({})"
_UNEXPECTED_REMEDY = "try radiogan_lib.data.read_suv on this exam alone to see the full error"


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
        lines = [f"{self.prepared} exams prepared now, {self.reused} were ready, {self.rejected} rejected: "
                 f"{paths.shown(self.directory)}", self.counts.to_string()]
        lines += [f"{r.exam} ({r.file}): {r.reason}; {r.remedy}" for r in self.rejects.head(10).itertuples()]
        if self.rejected > 10:
            lines.append(f"and {self.rejected - 10} more in rejects.csv")
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        text = (f"<p><b>{self.prepared}</b> exams prepared now, <b>{self.reused}</b> were ready, <b>{self.rejected}</b> "
                f"rejected. Dataset: <code>{html.escape(paths.shown(self.directory))}</code></p>{self.counts.to_html()}")
        if self.rejected:
            text += f"<p>Rejected{' (first 10; all in rejects.csv)' if self.rejected > 10 else ''}:</p>" \
                    + self.rejects.head(10).to_html(index=False)
        return text + "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)


_heard = threading.local()


def _hear(message, category, *args, **kwargs) -> None:
    """In place of `warnings.showwarning`: inside `project`, keep an `ExamNote` and drop all else; outside, pass on.

    Readers quote header values in their warnings, and those may name a patient.
    """
    if getattr(_heard, "notes", None) is None:
        _shown(message, category, *args, **kwargs)
    elif issubclass(category, ExamNote):
        _heard.notes.append(str(message))


def _listen() -> None:
    """Send warnings through `_hear`, and keep the readers' loggers silent."""
    global _shown
    if warnings.showwarning is not _hear:
        _shown, warnings.showwarning = warnings.showwarning, _hear
    warnings.simplefilter("always", ExamNote)
    for name in ("pydicom", "nibabel.global"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


_shown = warnings.showwarning


def project(job: dict) -> dict:
    """Prepare one exam; runs in a worker and never raises for a bad exam.

    Args:
        job: from `cache.task`.

    Returns:
        `mip` (h, w) float32 SUV clipped to [0, suv_max] and `facts` for quality control, or `reason` and `remedy`.
    """
    from radiogan_lib import data
    _listen()
    _heard.notes = []
    try:
        image = data.read_suv(job["path"], phantom_spacing_mm=job["phantom_spacing_mm"])
        mip = data.coronal_mip(image, spacing_mm=cache.MIP_SPACING_MM)  # (rows, cols)
        if not np.isfinite(mip).all():
            return {"reason": "the volume holds values that are no numbers", "remedy": "export the exam again"}
        if not mip.max() > 0:
            return {"reason": "the volume is empty: no SUV is above 0", "remedy": "export the exam again"}
        spacing = [float(v) for v in image.header.get_zooms()[:3]]
        facts = {"voxels": [int(n) for n in image.shape[:3]], "spacing_mm": spacing,
                 "height_mm": mip.shape[0] * cache.MIP_SPACING_MM, "width_mm": mip.shape[1] * cache.MIP_SPACING_MM,
                 "suv_highest": float(mip.max()), "suv_median": float(np.median(mip)),
                 "share_clipped": float((mip > job["suv_max"]).mean()), "note": " ".join(_heard.notes)}
        clipped = np.clip(mip, 0, job["suv_max"])
        return {"mip": fit_to_canvas(clipped, job["canvas"], job["field_of_view_mm"], cache.MIP_SPACING_MM),
                "facts": facts}
    except ExamError as e:
        return {"reason": e.reason, "remedy": e.remedy}
    except MemoryError:
        return {"reason": "not enough memory to read it", "remedy": "use fewer workers", "transient": True}
    except Exception as e:  # one bad exam never stops the others
        return {"reason": _UNEXPECTED.format(f"{type(e).__name__}: {e}"), "type": type(e).__name__,
                "remedy": _UNEXPECTED_REMEDY, "transient": True}
    finally:
        _heard.notes = None


def _published(exams: pd.DataFrame, cfg: Config, notes: list[str]) -> tuple[pd.DataFrame, bytes]:
    """The table that may be seen (row for row as `exams`), and the key that its hashes were made with."""
    private = ~exams["path"].str.startswith("phantom:") & (not cfg.keep_ids)
    secret = deidentify.key() if private.any() else b""
    table = pd.DataFrame(index=exams.index)
    for kind in ("exam", "patient"):
        table[f"{kind}_id"] = [deidentify.hashed(kind, v, secret) if hide else v
                               for v, hide in zip(exams[f"{kind}_id"], private)]
    table["class"], table["split"] = exams["class"], exams["split"]
    table["path"] = exams["path"].where(~private, "")
    optional = [c for c in exams.columns if c not in table and c != "row"]
    for column in optional:
        if column.lower() in OPEN_COLUMNS or not private.all():
            table[column] = exams[column].where(~private | (column.lower() in OPEN_COLUMNS), "")
    if hidden := [c for c in optional if private.any() and c.lower() not in OPEN_COLUMNS]:
        notes.append(f"Not published, because they may identify someone: column {', '.join(hidden)} "
                     "(the setting keep_ids=True keeps all).")
    return table, secret


def _scrubbed(text: str, exam: pd.Series, keep_ids: bool) -> str:
    """A reason, remedy or note with nothing in it that identifies the exam, unless the user keeps identifiers."""
    if keep_ids or exam["path"].startswith("phantom:"):
        return text
    source = Path(exam["path"])
    row = [v for k, v in exam.items() if k not in ("class", "split", "row")]
    return deidentify.scrub(text, (*row, source.name, source.stem, source.name.split(".")[0], *source.parts[-3:]))


def _reject(result: dict, exam: pd.Series, seen: pd.Series, keep_ids: bool) -> dict:
    """One line of rejects.csv."""
    is_open = keep_ids or exam["path"].startswith("phantom:")
    # a foreign error's message may quote any header value, so only its type is told
    reason = _UNEXPECTED.format(result["type"]) if "type" in result and not is_open else result["reason"]
    return {"exam": seen["exam_id"], "file": exam["path"] if is_open else f"row {exam['row']} of the cohort",
            "reason": _scrubbed(reason, exam, keep_ids), "remedy": _scrubbed(result["remedy"], exam, keep_ids)}


@contextlib.contextmanager
def _only_one(directory: Path):
    """Let one `prepare` at a time write here; a second waits, then finds the work done.

    The operating system drops the lock with its process, so a crash leaves none behind. Where locks are not supported
    (Windows, some network drives) two runs repeat each other's work, which is atomic and the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as handle:
        try:
            import fcntl
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("… another run is preparing this dataset; waiting for it", flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield


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
    chosen = cohorts.capped(cohorts.read(cohort), cfg)
    notes, exams = chosen.notes, chosen.exams
    table, secret = _published(exams, cfg, notes)
    jobs = [cache.task(path, cfg) for path in exams["path"]]
    with _only_one(directory):
        marks = [cache.fingerprint(job, secret) for job in jobs]
        files = [directory / "cache" / f"{deidentify.keyed('cache:' + v, secret)[:24]}.npz" for v in exams["exam_id"]]
        settings = {k: v for k, v in cfg.stage("data").items() if k != "cohort"}  # its path may name a person
        whole = deidentify.keyed(json.dumps([SCHEMA_VERSION, settings, marks, chosen.class_names,
                                             table.to_csv(index=False)]), secret)
        if (done := _finished(directory, whole)) is not None:
            return Report(directory, 0, len(done["exams"]), done["rejects"], done["counts"], _noted(notes, done["exams"]))
        ready = [cache.recall(f, m, pixels=False) for f, m in zip(files, marks)]
        todo = [i for i, result in enumerate(ready) if result is None]
        with Progress(len(todo), "preparing exams") as progress:
            for i, result in executors.run(project, [jobs[i] for i in todo], scheduler, cfg.workers):
                i = todo[i]
                if isinstance(result, executors.Died):
                    result = {"reason": result.reason, "remedy": "use fewer workers or a machine with more memory, "
                              "or leave the exam out", "transient": True}
                if not result.get("transient"):
                    cache.store(files[i], marks[i], result)
                ready[i] = {k: v for k, v in result.items() if k != "mip"}
                progress.update()
        rejects = pd.DataFrame([_reject(r, exams.iloc[i], table.iloc[i], cfg.keep_ids)
                                for i, r in enumerate(ready) if "reason" in r], columns=["exam", "file", "reason", "remedy"])
        kept = [i for i, r in enumerate(ready) if "reason" not in r]
        counts = _counts(exams, kept, chosen.class_names)
        (directory / "dataset.json").unlink(missing_ok=True)  # until the new one is there, the dataset is unfinished
        paths.write_text(directory / "rejects.csv", rejects.to_csv(index=False))
        _refuse_if_empty(counts, rejects, directory)
        for i in kept:
            ready[i]["facts"]["note"] = _scrubbed(ready[i]["facts"]["note"], exams.iloc[i], cfg.keep_ids)
        _write(directory, kept, files, marks, table, ready, cfg, {
            "schema_version": SCHEMA_VERSION, "class_names": chosen.class_names,
            "counts": {s: {c: int(counts.loc[c, s]) for c in chosen.class_names} for s in counts.columns},
            "settings": settings, "rejected": len(rejects), "complete": not any(r.get("transient") for r in ready),
            "fingerprint": whole})
    _noted(notes, pd.DataFrame([ready[i]["facts"] for i in kept]))
    if todo:
        notes.append(f"{len(todo)} exams took {time.monotonic() - started:.0f} s.")
    reused = len(kept) - sum("reason" not in ready[i] for i in todo)
    return Report(directory, len(kept) - reused, reused, rejects, counts, notes)


def _noted(notes: list[str], exams: pd.DataFrame) -> list[str]:
    """Say how many exams were read with a remark."""
    if n := int((exams["note"] != "").sum()):
        notes.append(f"{n} exams were read with a remark: column note of exams.csv.")
    return notes


def _counts(exams: pd.DataFrame, kept: list[int], class_names: list[str]) -> pd.DataFrame:
    """Exams per class: train, test, rejected."""
    status = exams["split"].where(exams.index.isin(exams.index[kept]), "rejected")
    counts = pd.crosstab(exams["class"], status).reindex(index=class_names, columns=[*cohorts.SPLITS, "rejected"])
    counts.index.name = counts.columns.name = None
    return counts.fillna(0).astype(int)


def _refuse_if_empty(counts: pd.DataFrame, rejects: pd.DataFrame, directory: Path) -> None:
    lost = counts.index[(counts["train"] == 0)]
    first = "" if rejects.empty else f" The first reason: {rejects.reason[0]}; {rejects.remedy[0]}."
    where = f" All reasons are in {paths.shown(directory / 'rejects.csv')}." if len(rejects) else ""
    if counts[list(cohorts.SPLITS)].to_numpy().sum() == 0:
        raise DatasetError(f"all {len(rejects)} exams were rejected, so there is no dataset.{first}{where}")
    if len(lost):
        raise DatasetError(f"no training exam is left of class {', '.join(lost)}; correct its exams or take the class "
                           f"out of the cohort.{first}{where}")


def _write(directory, kept, files, marks, table, ready, cfg, content: dict) -> None:
    """Put the prepared exams together; dataset.json comes last and says that all is there."""
    shape = (len(kept), *cfg.canvas)
    with paths.atomic(directory / "mips.npy") as temporary:
        mips = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for row, i in enumerate(kept):
            result = cache.recall(files[i], marks[i])
            if result is None:
                raise DatasetError(f"{paths.shown(files[i])} vanished during the work; run again.")
            mips[row] = result["mip"]
        mips.flush()
        del mips
    facts = pd.DataFrame([{k: v for k, v in ready[i]["facts"].items() if not isinstance(v, list)}
                          | {f"spacing_{a}_mm": round(v, 4) for a, v in zip("xyz", ready[i]["facts"]["spacing_mm"])}
                          for i in kept]).round(4)
    clash = [c for c in table.columns if c in facts]
    exams = pd.concat([table.iloc[kept].drop(columns=clash).reset_index(drop=True), facts], axis=1)
    paths.write_text(directory / "exams.csv", exams.to_csv(index=False))
    h, w = cfg.canvas
    height, width = cfg.field_of_view_mm
    paths.write_json(directory / "dataset.json", content | {
        "exams": len(kept), "canvas": [h, w], "field_of_view_mm": [height, width],
        "pixel_mm": [height / h, width / w], "projection_spacing_mm": cache.MIP_SPACING_MM, "suv_max": cfg.suv_max,
        "sha256": paths.sha256(directory / "mips.npy"), "exams_sha256": paths.sha256(directory / "exams.csv")})


def _finished(directory: Path, fingerprint: str) -> dict | None:
    """The dataset's tables if it is whole and was made from exactly these things."""
    try:
        content = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint or not content["complete"] \
                or paths.sha256(directory / "mips.npy") != content["sha256"] \
                or paths.sha256(directory / "exams.csv") != content["exams_sha256"]:
            return None
        rejects = pd.read_csv(directory / "rejects.csv", dtype=str, keep_default_na=False)
        names = content["class_names"]
        counts = pd.DataFrame({s: [content["counts"][s][c] for c in names] for s in content["counts"]}, index=names)
        exams = pd.read_csv(directory / "exams.csv", dtype=str, keep_default_na=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if content["rejected"] != len(rejects):
        return None
    return {"exams": exams, "rejects": rejects, "counts": counts}
