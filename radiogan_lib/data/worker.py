"""What a worker does with one exam: read it, project it, place it on the canvas, and never raise.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import warnings
import zipfile

import numpy as np

from petsuv import ExamError, ExamNote
from radiogan_lib.data import cache, pictures
from radiogan_lib.data.projection import fit_to_canvas

STORED = ".mip.npz"  # an exam of which only the 2 mm projection was kept
_READERS = ("pydicom", "nibabel.global")  # loggers that may quote a header
_LISTENING = threading.Lock()  # warnings are recorded for the whole process: one exam at a time


@contextlib.contextmanager
def _remarks():
    """Yield a list that gets the reader's `ExamNote`s. All else that readers say is dropped: it may name a patient."""
    loggers, notes = [logging.getLogger(name) for name in _READERS], []
    levels = [logger.level for logger in loggers]
    with _LISTENING, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield notes
        finally:
            notes += [str(w.message) for w in heard if issubclass(w.category, ExamNote)]
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def read(path: str, phantom_spacing_mm: float | None = None) -> tuple[np.ndarray, list[float], str]:
    """The 2 mm coronal MIP of an exam, without keeping its volume.

    Args:
        path: what `volumes.read_suv` takes, or a `.mip.npz` file that `idc.fetch` made.
        phantom_spacing_mm: isotropic voxels of a phantom; None or 0 is the paper's grid.

    Returns:
        (rows, cols) float32 SUV; the exam's voxel size along x, y, z, mm; remarks of the reader or "".

    Raises:
        ExamError: the exam cannot be trusted.
    """
    with _remarks() as remarks:
        mip, spacing = _mip_and_spacing(path, phantom_spacing_mm)
    if path.endswith(STORED):
        with np.load(path, allow_pickle=False) as stored:
            remarks.append(json.loads(str(stored["rest"]))["note"])
    if not np.isfinite(mip).all():
        raise ExamError("the volume holds values that are no numbers", "Export the exam again.")
    if not mip.max() > 0:
        raise ExamError("the volume is empty: no SUV is above 0", "Export the exam again.")
    return mip, [float(v) for v in spacing], " ".join(r for r in remarks if r)


def _mip_and_spacing(path: str, phantom_spacing_mm: float | None) -> tuple[np.ndarray, np.ndarray]:
    from radiogan_lib.data import volumes  # here, so that only workers load the readers

    if path.endswith(STORED):
        try:
            with np.load(path, allow_pickle=False) as stored:
                return stored["mip"], json.loads(str(stored["rest"]))["spacing_mm"]
        except FileNotFoundError:
            raise ExamError(
                "there is no such file or folder", "Correct the path in the cohort."
            ) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise ExamError(
                "the stored projection is damaged", "Delete it and fetch it again."
            ) from None
    return volumes.read_mip_and_voxels(path, cache.MIP_SPACING_MM, phantom_spacing_mm)


def project(job: dict) -> dict:
    """Prepare one exam; runs in a worker and never raises for a bad exam.

    Args:
        job: from `cache.task`.

    Returns:
        `mip` (h, w) float32 SUV clipped to [0, suv_max] and `facts` for quality control, or `reason` and `remedy`.
    """
    if job["versions"] != cache.versions(job["path"]):
        return {
            "reason": "the Dask worker that tried it has another version of this library",
            "transient": True,
            "remedy": "install the same version on every worker, then run again",
        }
    try:
        if job["window"] is None:
            mip, spacing, note = read(job["path"], job["phantom_spacing_mm"])
            pixel, unit, assumed = (cache.MIP_SPACING_MM, cache.MIP_SPACING_MM), "SUV", ""
            clipped = float((mip > job["suv_max"]).mean())
        else:
            with _remarks():
                shown = pictures.project(job["path"], pictures.Window.parse(job["window"]))
            mip, pixel, unit, assumed, note = (
                shown.values,
                shown.pixel_mm,
                shown.unit,
                shown.assumed,
                "",
            )
            spacing = [pixel[1], 0.0, pixel[0]]  # a picture has no depth
            if unit == "window":
                clipped = float((mip >= 1).mean())
                mip = mip * np.float32(job["suv_max"])
            else:
                clipped = float((mip > job["suv_max"]).mean())
        facts = {f"spacing_{axis}_mm": round(v, 4) for axis, v in zip("xyz", spacing)}
        facts |= {
            "height_mm": mip.shape[0] * pixel[0],
            "width_mm": mip.shape[1] * pixel[1],
            "highest": float(mip.max()),
            "median": float(np.median(mip)),
            "share_clipped": clipped,
            "unit": unit,
            "assumed": assumed,
            "note": note,
        }
        mip = np.clip(mip, 0, job["suv_max"])
        return {
            "mip": fit_to_canvas(mip, job["canvas"], job["field_of_view_mm"], pixel),
            "facts": facts,
        }
    except ExamError as e:
        return {"reason": e.reason, "remedy": e.remedy}
    except MemoryError:
        return {
            "reason": "not enough memory to read it",
            "remedy": "use fewer workers",
            "transient": True,
        }
    except Exception as e:  # one bad exam never stops the others
        return {
            "reason": f"could not be read ({type(e).__name__}: {e})",
            "error": type(e).__name__,
            "remedy": "try radiogan_lib.data.read_suv on this exam alone to see the full error",
            "transient": True,
        }
