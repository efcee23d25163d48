"""One small file per prepared exam, so that finished work is never done twice and a changed exam is never kept.

A cache file remembers what it was made from (its fingerprint): the settings that decide pixels, the source's files,
and the code that reads them. A fingerprint that differs means the exam is prepared again.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

import petphantom
from radiogan_lib import paths
from radiogan_lib.config import Config
from radiogan_lib.data import deidentify, pictures

MIP_SPACING_MM = 2.0  # paper §3.1: exams are resampled to 2 x 2 x 2 mm
# Modules of this package that decide no pixel: changing them leaves prepared exams valid. All others count.
_NO_PIXELS = {
    "__init__",
    "cache",
    "cohort",
    "cohort_csv",
    "dataset",
    "deidentify",
    "errors",
    "executors",
    "executors_dask",
    "idc",
    "idc_fetch",
    "idc_index",
    "intensity",
    "preparation",
    "qc",
    "report",
    "s3",
}


@cache
def code_version() -> str:
    """A digest of the source of every module that decides pixels."""
    digest = hashlib.sha256(f"petphantom {petphantom.VERSION}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in _NO_PIXELS:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def task(exam: dict, cfg: Config, local: bool = True) -> dict:
    """What a worker must know to prepare one exam (a row of the cohort); plain values only, because it travels.

    A worker elsewhere (`local=False`) is told the version of the code, so that an outdated one is found out.
    """
    path = exam["path"]
    return {
        "path": path,
        "canvas": list(cfg.canvas),
        "field_of_view_mm": list(cfg.field_of_view_mm),
        "suv_max": cfg.suv_max,
        "code": "" if local else code_version(),
        "phantom_spacing_mm": cfg.phantom_spacing_mm if path.startswith("phantom:") else None,
        "window": {k: exam.get(k, "") for k in pictures.COLUMNS}
        if pictures.is_picture(path)
        else None,
    }


def _files(path: str) -> list:
    """Name, bytes and modification time of every file that the exam consists of."""
    if os.path.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    else:
        found = [path]
    out = []
    for name in sorted(found):
        try:
            stat = os.stat(name)
            out.append(
                [os.path.relpath(name, os.path.dirname(path)), stat.st_size, stat.st_mtime_ns]
            )
        except (OSError, ValueError):  # not there, or a path that none can be (a NUL in it)
            out.append([os.path.relpath(name, os.path.dirname(path)), "missing"])
    return out


def fingerprint(job: dict, secret: bytes) -> str:
    """What the exam's pixels depend on, as a keyed digest (file names may hold names of people)."""
    source = job["path"] if job["path"].startswith("phantom:") else _files(job["path"])
    settings = {k: v for k, v in job.items() if k not in ("path", "code")}
    return deidentify.keyed(json.dumps([MIP_SPACING_MM, code_version(), settings, source]), secret)


def store(path: Path, mark: str, result: dict) -> None:
    """Keep one result (`mip` and `facts`, or `reason` and `remedy`) under its fingerprint."""
    mip = result.get("mip", np.zeros((0, 0), np.float32))
    rest = json.dumps({k: v for k, v in result.items() if k != "mip"})
    with paths.atomic(path) as temporary:
        np.savez_compressed(temporary, fingerprint=np.array(mark), rest=np.array(rest), mip=mip)


def recall(path: Path, mark: str, pixels: bool = True) -> dict | None:
    """The stored result if it was made from the same things; None if there is none or it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != mark:
                return None
            result = json.loads(str(stored["rest"]))
            if pixels and "reason" not in result:
                result["mip"] = stored["mip"]
            return result
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.zlib.error):
        return None


def locked(handle) -> bool:
    """Wait until no other process holds the lock on this open file; False where the system has none.

    Closing the file, or the end of the process, gives it back.
    """
    try:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("… another run writes to this folder; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    except (ImportError, OSError):
        return False
