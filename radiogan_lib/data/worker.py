"""What a worker does with one exam: read it, project it, place it on the canvas, and never raise.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import logging
import threading
import warnings

import numpy as np

from radiogan_lib.data import cache
from radiogan_lib.data.canvas import fit_to_canvas
from radiogan_lib.data.errors import ExamError, ExamNote

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
    if job["code"] not in ("", cache.code_version()):
        return {"reason": "the Dask worker that tried it has another version of this library", "transient": True,
                "remedy": "install the same version on every worker, then run again"}
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
        facts = {f"spacing_{axis}_mm": round(v, 4) for axis, v in zip("xyz", spacing)}
        facts |= {"height_mm": mip.shape[0] * cache.MIP_SPACING_MM, "width_mm": mip.shape[1] * cache.MIP_SPACING_MM,
                  "suv_highest": float(mip.max()), "suv_median": float(np.median(mip)),
                  "share_clipped": float((mip > job["suv_max"]).mean()), "note": " ".join(_heard.notes)}
        clipped = np.clip(mip, 0, job["suv_max"])
        return {"mip": fit_to_canvas(clipped, job["canvas"], job["field_of_view_mm"], cache.MIP_SPACING_MM),
                "facts": facts}
    except ExamError as e:
        return {"reason": e.reason, "remedy": e.remedy}
    except MemoryError:
        return {"reason": "not enough memory to read it", "remedy": "use fewer workers",
                "transient": True}
    except Exception as e:  # one bad exam never stops the others
        return {"reason": f"could not be read ({type(e).__name__}: {e})", "error": type(e).__name__,
                "remedy": "try radiogan_lib.data.read_suv on this exam alone to see the full error", "transient": True}
    finally:
        _heard.notes = None
