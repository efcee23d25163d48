"""One small file per prepared exam, so that finished work is never done twice and a changed exam is never kept.

A cache file remembers what it was made from (its fingerprint): the settings that decide pixels, the source's files,
and the code that reads them. A fingerprint that differs means the exam is prepared again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zipfile
from pathlib import Path

import filelock
import numpy as np

import petphantom
import petsuv
from radiogan_lib import paths
from radiogan_lib.config import Config
from radiogan_lib.data import deidentify, pictures, projection

MIP_SPACING_MM = 2.0  # paper §3.1: exams are resampled to 2 x 2 x 2 mm


def versions(path: str) -> list[int]:
    """The versions of the code that decides the pixels of an exam; another version prepares it again."""
    if path.startswith("phantom:"):
        return [petphantom.VERSION, projection.VERSION]
    if pictures.is_picture(path):
        return [pictures.VERSION, projection.VERSION]
    return [petsuv.READER_VERSION, projection.VERSION]


def task(exam: dict, cfg: Config) -> dict:
    """What a worker must know to prepare one exam (a row of the cohort); plain values only, because it travels.

    It names the versions of the code, so that a worker elsewhere with another version is found out.
    """
    path = exam["path"]
    return {
        "path": path,
        "canvas": list(cfg.canvas),
        "field_of_view_mm": list(cfg.field_of_view_mm),
        "suv_max": cfg.suv_max,
        "versions": versions(path),
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
    settings = {k: v for k, v in job.items() if k != "path"}
    return deidentify.keyed(json.dumps([MIP_SPACING_MM, settings, source]), secret)


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


@contextlib.contextmanager
def only_one(path: Path):
    """Hold the lock file, so that one process at a time writes to its folder; say so if it must be waited for.

    The operating system drops the lock with its process, so a crash leaves none behind.

    Yields:
        False where the file system has no locks; two runs then repeat each other's work, which is atomic and the same.
    """
    logging.getLogger("filelock").setLevel(
        logging.WARNING
    )  # it logs the path, which may name a person
    lock = filelock.FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print("… another run writes to this folder; waiting for it", flush=True)
            lock.acquire()
    except NotImplementedError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
