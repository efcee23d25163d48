"""Exams in, MIP dataset out.

`read_suv` reads any exam as SUV, `coronal_mip` projects it, `prepare` does both for a cohort, `load` opens the result.
Names are loaded when first used: `from radiogan_lib import data` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "ExamError": "errors",
    "ExamNote": "errors",
    "read_suv": "volumes",
    "read_mip": "volumes",
    "nifti_mip": "nifti",
    "coronal_mip": "mip",
    "sagittal_mip": "mip",
    "rotating_mips": "rotating",
    "prepare": "dataset",
    "load": "dataset",
    "load_if_there": "dataset",
    "MipDataset": "dataset",
    "fit_to_canvas": "dataset",
    "encode": "intensity",
    "decode": "intensity",
}
_MODULES = (
    "anatomy",
    "canvas",
    "checks",
    "cohort",
    "cohort_csv",
    "dataset",
    "deidentify",
    "dicom",
    "dicom_files",
    "dicom_geometry",
    "dicom_series",
    "dicom_times",
    "dicom_values",
    "dicom_vet",
    "dicom_write",
    "errors",
    "executors",
    "foci",
    "idc",
    "intensity",
    "lesions",
    "mip",
    "nifti",
    "nifti_header",
    "organs",
    "pictures",
    "phantom",
    "preparation",
    "qc",
    "rotating",
    "scanner",
    "suv",
    "suv_activity",
    "suv_kinds",
    "suv_times",
    "tracer",
    "volumes",
)
__all__ = [*_HOME]

if TYPE_CHECKING:  # what editors and type checkers see
    from radiogan_lib.data.dataset import MipDataset, fit_to_canvas, load, prepare  # noqa: F401
    from radiogan_lib.data.errors import ExamError, ExamNote  # noqa: F401
    from radiogan_lib.data.intensity import decode, encode  # noqa: F401
    from radiogan_lib.data.mip import coronal_mip, sagittal_mip  # noqa: F401
    from radiogan_lib.data.nifti import nifti_mip  # noqa: F401
    from radiogan_lib.data.rotating import rotating_mips  # noqa: F401
    from radiogan_lib.data.volumes import read_mip, read_suv  # noqa: F401


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(sorted(_HOME))}"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
