"""One exam: read as SUV, projected, placed on the canvas, and kept on disk under a fingerprint.

The fingerprint holds what it was made from: the settings that decide pixels, the source's files,
and the versions of the code that reads them.
"""

import contextlib
import json
import logging
import os
import threading
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

import petphantom
import petsuv
from petsuv import ExamError, ExamNote
from radiogan_lib import paths
from radiogan_lib.config import Config
from radiogan_lib.data import deidentify, executors, pictures, projection
from radiogan_lib.data.projection import coronal_mip, fit_to_canvas, nifti_mip
from radiogan_lib.machine import Progress

MIP_SPACING_MM = 2.0  # paper §3.1: exams are resampled to 2 x 2 x 2 mm
STORED = ".mip.npz"  # an exam of which only the 2 mm projection was kept
_READERS = ("pydicom", "nibabel.global")  # loggers that may quote a header
_LISTENING = threading.Lock()  # warnings are recorded for the whole process: one exam at a time


def read_suv(path: str | os.PathLike, phantom_spacing_mm: float | None = None) -> nib.Nifti1Image:
    """Read one exam as SUV.

    Args:
        path: what `petsuv.read` takes, or `phantom:<class>/<seed>`.
        phantom_spacing_mm: isotropic voxels of a phantom; None or 0 is the paper's grid.

    Returns:
        3-D nibabel image: SUVbw in g/ml, float32, RAS+, mm.

    Warns:
        ExamNote: a choice made among series, a value put right.

    Raises:
        ExamError: the exam cannot be trusted; says why and what to do.
    """
    if isinstance(path, str) and path.startswith("phantom:"):
        return _phantom(path, phantom_spacing_mm)
    return petsuv.read(path)


def read_mip(
    path: str | os.PathLike, spacing_mm: float = 2.0, phantom_spacing_mm: float | None = None
) -> np.ndarray:
    """`coronal_mip(read_suv(path))`, bit for bit; NIfTI is projected while it is unpacked."""
    return _mip_and_voxels(path, spacing_mm, phantom_spacing_mm)[0]


def _mip_and_voxels(path, spacing_mm: float, phantom_spacing_mm: float | None):
    """`read_mip`, and the exam's voxel size along right-left, back-front and foot-head, mm."""
    if isinstance(path, str) and path.startswith("phantom:"):
        image = _phantom(path, phantom_spacing_mm)
    else:
        found = petsuv.locate(path)
        if found.kind == "nifti":  # the volume never exists
            return nifti_mip(found.path, spacing_mm, found.notes)
        image = petsuv.read(found)
    return coronal_mip(image, spacing_mm), voxel_sizes(image.affine)


def _phantom(path: str, spacing_mm: float | None) -> nib.Nifti1Image:
    try:
        return petphantom.make(*petphantom.parse(path.strip()), spacing_mm)
    except petphantom.PhantomError as error:
        raise ExamError(str(error).rstrip("."), "Correct the path.") from None


@contextlib.contextmanager
def _remarks():
    """Yield a list that gets the `ExamNote`s. All else that readers say may name a patient."""
    notes = []
    levels = {logging.getLogger(n): logging.getLogger(n).level for n in _READERS}
    with _LISTENING, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            for logger in levels:
                logger.setLevel(logging.CRITICAL + 1)
            yield notes
        finally:
            notes += [str(w.message) for w in heard if issubclass(w.category, ExamNote)]
            for logger, level in levels.items():
                logger.setLevel(level)


def read(path: str, phantom_spacing_mm: float | None = None) -> tuple[np.ndarray, list[float], str]:
    """The 2 mm coronal MIP of an exam, without keeping its volume.

    Args:
        path: what `read_suv` takes, or a `.mip.npz` file that `data_manifest/fetch_public.py` made.
        phantom_spacing_mm: as in `read_suv`.

    Returns:
        (rows, cols) float32 SUV; the exam's voxel size along x, y, z, mm; remarks or "".

    Raises:
        ExamError: the exam cannot be trusted.
    """
    with _remarks() as remarks:
        note = ""
        if path.endswith(STORED):
            mip, spacing, note = _stored_mip(path)
        else:
            mip, spacing = _mip_and_voxels(path, MIP_SPACING_MM, phantom_spacing_mm)
    if not np.isfinite(mip).all():
        raise ExamError("the volume holds values that are no numbers", "Export the exam again.")
    if not mip.max() > 0:
        raise ExamError("the volume is empty: no SUV is above 0", "Export the exam again.")
    return mip, [float(v) for v in spacing], " ".join(r for r in [*remarks, note] if r)


def _stored_mip(path: str) -> tuple[np.ndarray, list[float], str]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            rest = json.loads(str(stored["rest"]))
            return stored["mip"], rest["spacing_mm"], rest["note"]
    except FileNotFoundError:
        said, remedy = "there is no such file or folder", "Correct the path in the cohort."
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        said, remedy = "the stored projection is damaged", "Delete it and fetch it again."
    raise ExamError(said, remedy)


def project(job: dict) -> dict:
    """Prepare one exam; runs in a worker and never raises for a bad exam.

    Args:
        job: from `task`.

    Returns:
        `mip` (h, w) float32 SUV clipped to [0, suv_max] and `facts` for quality control, or
        `reason` and `remedy`; `transient` marks what another try may change.
    """
    try:
        if job["versions"] == versions(job["path"]):
            return _projected(job)
        reason = "the Dask worker that tried it has another version of this library"
        remedy = "install the same version on every worker, then run again"
    except ExamError as e:
        return {"reason": e.reason, "remedy": e.remedy}
    except MemoryError:
        reason, remedy = "not enough memory to read it", "use fewer workers"
    except Exception as e:  # one bad exam never stops the others
        kind = type(e).__name__
        remedy = "try radiogan_lib.data.read_suv on this exam alone to see the full error"
        reason = f"could not be read ({kind}: {e})"
        return {"reason": reason, "error": kind, "remedy": remedy, "transient": True}
    return {"reason": reason, "remedy": remedy, "transient": True}


def _projected(job: dict) -> dict:
    top, unit, assumed, note = job["suv_max"], "SUV", "", ""
    if job["window"] is None:
        mip, spacing, note = read(job["path"], job["phantom_spacing_mm"])
        pixel = (MIP_SPACING_MM, MIP_SPACING_MM)
    else:
        with _remarks():
            shown = pictures.project(job["path"], pictures.Window.parse(job["window"]))
        mip, pixel, unit, assumed = shown.values, shown.pixel_mm, shown.unit, shown.assumed
        spacing = [pixel[1], 0.0, pixel[0]]  # a picture has no depth
    clipped = mip > top
    if unit == "window":
        clipped = mip >= 1
        mip = mip * np.float32(top)
    facts = {f"spacing_{axis}_mm": round(v, 4) for axis, v in zip("xyz", spacing)} | {
        "height_mm": mip.shape[0] * pixel[0],
        "width_mm": mip.shape[1] * pixel[1],
        "highest": float(mip.max()),
        "median": float(np.median(mip)),
        "share_clipped": float(clipped.mean()),
        "unit": unit,
        "assumed": assumed,
        "note": note,
    }
    mip = fit_to_canvas(np.clip(mip, 0, top), job["canvas"], job["field_of_view_mm"], pixel)
    return {"mip": mip, "facts": facts}


def versions(path: str) -> list[int]:
    """The versions of the code that decides an exam's pixels; another prepares it again."""
    if path.startswith("phantom:"):
        return [petphantom.VERSION, projection.VERSION]
    if pictures.is_picture(path):
        return [pictures.VERSION, projection.VERSION]
    return [petsuv.READER_VERSION, projection.VERSION]


def task(exam: dict, cfg: Config) -> dict:
    """What a worker must know to prepare one exam (a row of the cohort); plain values, to travel.

    It names the versions of the code, so that a worker elsewhere with another one is found out.
    """
    path = exam["path"]
    cells = {k: exam.get(k, "") for k in pictures.COLUMNS}
    return {
        "path": path,
        "canvas": list(cfg.canvas),
        "field_of_view_mm": list(cfg.field_of_view_mm),
        "suv_max": cfg.suv_max,
        "versions": versions(path),
        "phantom_spacing_mm": cfg.phantom_spacing_mm if path.startswith("phantom:") else None,
        "window": cells if pictures.is_picture(path) else None,
    }


def _files(path: str) -> list:
    """Name, bytes and modification time of every file that the exam consists of."""
    found = [path]
    if os.path.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    out = []
    for file in sorted(found):
        name = os.path.relpath(file, os.path.dirname(path))
        try:
            stat = os.stat(file)
            out.append([name, stat.st_size, stat.st_mtime_ns])
        except (OSError, ValueError):  # not there, or a path that none can be (a NUL in it)
            out.append([name, "missing"])
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
    """The stored result if it was made from the same things, else None."""
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


@dataclass
class Work:
    """One result per exam, kept on disk: what is there already is not made again."""

    jobs: list[dict]  # what the function that makes a result takes
    files: list[Path]  # where each result is kept
    marks: list[str]  # what each was made from

    def __post_init__(self):
        # Without their pictures; None while a result is missing.
        self.results = [recall(f, m, pixels=False) for f, m in zip(self.files, self.marks)]
        self.todo = [i for i, result in enumerate(self.results) if result is None]

    def complete(
        self, function: Callable, label: str, scheduler, workers: int, mend=lambda result, i: result
    ) -> None:
        """Make what is missing; see `executors.run`. `mend` changes a result before it is kept.

        What another try may change (a lost worker, an error nobody foresaw) is not kept.
        """
        jobs = [self.jobs[i] for i in self.todo]
        lost = "use fewer workers or a machine with more memory, or leave the exam out"
        with Progress(len(jobs), label) as progress:
            for k, result in executors.run(function, jobs, scheduler, workers):
                i = self.todo[k]
                if isinstance(result, executors.Died):
                    result = {"reason": result.reason, "transient": True, "remedy": lost}
                result = mend(result, i)
                if not result.get("transient"):
                    store(self.files[i], self.marks[i], result)
                self.results[i] = {key: v for key, v in result.items() if key != "mip"}
                progress.update()

    @property
    def good(self) -> list[int]:
        """Numbers of the exams that could be used."""
        return [i for i, result in enumerate(self.results) if "reason" not in result]


@contextlib.contextmanager
def only_one(path: Path):
    """Hold the lock file, so that one process at a time writes to its folder; else wait and say so.

    Yields:
        False where the file system has no locks; two runs then repeat each other's work, which is
        atomic and the same.
    """
    # It logs the path, which may name a person.
    logging.getLogger("filelock").setLevel(logging.WARNING)
    lock = filelock.FileLock(path)
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
