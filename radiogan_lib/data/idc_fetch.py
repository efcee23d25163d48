"""Public series into projections: fetch, read, project, delete, one after the other, and never twice."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from petsuv import ExamError
from radiogan_lib import paths
from radiogan_lib.data import cache, executors, s3, worker
from radiogan_lib.machine import Progress

_BUSY = ".fetching"  # folder of the series that are on disk right now


def stream(job: dict) -> dict:
    """Fetch one series, make its MIP, delete the series. Runs in a worker; never raises for a bad exam.

    Args:
        job: `s3_prefix, instances, bytes, endpoint, series_uid`, and `scratch`, a folder for the slices.

    Returns:
        `mip` (rows, cols) float32 SUV at 2 mm, `spacing_mm`, `note`, `again` (files asked for twice), or `reason`,
        `remedy` and `transient`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
            again = s3.fetch_series(
                job["s3_prefix"], Path(folder), job["instances"], job["bytes"], job["endpoint"]
            )
            _expect(Path(folder), job["series_uid"])
            mip, spacing, note = worker.read(folder)
        return {"mip": mip, "spacing_mm": [float(v) for v in spacing], "note": note, "again": again}
    except s3.TransferError as e:
        return {"reason": e.reason, "remedy": e.remedy, "transient": e.transient}
    except ExamError as e:
        return {
            "reason": e.reason,
            "remedy": "Nothing: it is listed and left out.",
            "transient": False,
        }
    except OSError as e:
        return {
            "reason": f"the disk refused ({type(e).__name__})",
            "remedy": "Make room, then run again.",
            "transient": True,
        }
    except Exception as e:  # one bad exam never stops the others
        return {
            "reason": f"could not be read ({type(e).__name__}: {e})",
            "remedy": "Please report it.",
            "transient": True,
        }


def _expect(folder: Path, series_uid: str) -> None:
    """The series on disk is the one of the manifest."""
    import pydicom

    first = next(iter(sorted(folder.iterdir())))
    try:
        found = pydicom.dcmread(
            first, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
        ).SeriesInstanceUID
    except (pydicom.errors.InvalidDicomError, AttributeError):
        raise ExamError("what was fetched is not DICOM") from None
    if str(found) != series_uid:
        raise ExamError("what was fetched is another series than the manifest names")


def fetch(
    exams: pd.DataFrame,
    out_dir: Path | str,
    endpoint: str = "",
    workers: int = 2,
    scheduler: str | None = None,
) -> dict:
    """Stream the chosen series into 2 mm projections and a cohort.csv beside them; continues where it was stopped.

    Args:
        exams: rows of the manifest with their classes, from `idc_index.choose`.
        out_dir: folder for `<series>.mip.npz`, cohort.csv and rejects.csv.
        endpoint: of another S3 server than Amazon's.
        workers: series on disk at a time (about 0.1 GB each).
        scheduler: processes, threads or sync, on this machine.

    Returns:
        Numbers: fetched now, ready before, rejected, gigabytes moved, files asked for again.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    with cache.only_one(out / ".lock"):
        return _fetch_alone(exams, out, endpoint, workers, scheduler)


def _fetch_alone(
    exams: pd.DataFrame, out: Path, endpoint: str, workers: int, scheduler: str | None
) -> dict:
    scratch = out / _BUSY
    shutil.rmtree(scratch, ignore_errors=True)  # slices of a run that was killed
    scratch.mkdir(parents=True)
    names = [Path(p.rstrip("/")).name for p in exams["s3_prefix"]]
    files = [out / f"{name}{worker.STORED}" for name in names]
    sizes = [round(mb * 1e6) for mb in exams["megabytes"]]
    marks = [
        json.dumps([p, int(n), size])
        for p, n, size in zip(exams["s3_prefix"], exams["instances"], sizes)
    ]
    results: list[dict | None] = [_stored(f, m) for f, m in zip(files, marks)]
    todo = [i for i, r in enumerate(results) if r is None]
    jobs = [
        {
            "s3_prefix": exams["s3_prefix"].iloc[i],
            "instances": int(exams["instances"].iloc[i]),
            "bytes": sizes[i],
            "series_uid": exams["series_uid"].iloc[i],
            "endpoint": endpoint,
            "scratch": str(scratch),
        }
        for i in todo
    ]
    try:
        with Progress(len(todo), "fetching series", lines=20) as progress:
            for k, result in executors.run(stream, jobs, scheduler, workers):
                i = todo[k]
                if isinstance(result, executors.Died):
                    result = {
                        "reason": result.reason,
                        "remedy": "Use fewer workers.",
                        "transient": True,
                    }
                if not result.get("transient"):
                    _store(files[i], marks[i], result)
                results[i] = {key: v for key, v in result.items() if key != "mip"}
                progress.update(
                    note=f"{sum(sizes[j] for j in todo[: progress.done + 1]) / 1e9:.1f} GB"
                )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    good = [i for i, r in enumerate(results) if "reason" not in r]
    kept = exams.reset_index(drop=True)[
        ["patient_id", "class", "split", "collection", "licence", "doi"]
    ]
    cohort = kept.assign(exam_id=names, path=[f.name for f in files]).iloc[good]
    first = ["exam_id", "patient_id", "class", "path", "split"]
    paths.write_text(
        out / "cohort.csv", cohort[first + [c for c in kept if c not in first]].to_csv(index=False)
    )
    rejects = [
        {
            "exam": names[i],
            "file": exams["s3_prefix"].iloc[i],
            "reason": r["reason"],
            "remedy": r["remedy"],
        }
        for i, r in enumerate(results)
        if "reason" in r
    ]
    listed = pd.DataFrame(rejects, columns=["exam", "file", "reason", "remedy"])
    paths.write_text(out / "rejects.csv", listed.to_csv(index=False))
    now = [i for i in todo if "reason" not in results[i]]
    return {
        "fetched": len(now),
        "ready": len(good) - len(now),
        "rejected": len(rejects),
        "gigabytes": round(sum(sizes[i] for i in now) / 1e9, 3),
        "again": sum(results[i]["again"] for i in now),
    }


def _store(path: Path, mark: str, result: dict) -> None:
    """One finished series: its projection, or the reason why it cannot be used."""
    rest = {k: v for k, v in result.items() if k not in ("mip", "again")}
    with paths.atomic(path) as temporary:
        np.savez_compressed(
            temporary,
            source=np.array(mark),
            rest=np.array(json.dumps(rest)),
            mip=result.get("mip", np.zeros((0, 0), np.float32)),
        )


def _stored(path: Path, mark: str) -> dict | None:
    """What is known of a finished series without its pixels; None if it must be fetched."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return (
                json.loads(str(stored["rest"])) | {"again": 0}
                if str(stored["source"]) == mark
                else None
            )
    except Exception:  # missing, half written by another program, or no archive: all mean fetch
        return None
