"""Exams in, MIP dataset out.

`read_suv` reads any exam as SUV, `coronal_mip` projects it, `prepare` does both for a cohort, `load` opens the result.
Names are loaded when first used: `from radiogan_lib import data` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from petsuv import ExamError, ExamNote

_HOME = {
    "read_suv": "volumes",
    "read_mip": "volumes",
    "coronal_mip": "projection",
    "sagittal_mip": "projection",
    "rotating_mips": "projection",
    "prepare": "dataset",
    "load": "dataset",
    "load_if_there": "dataset",
    "MipDataset": "dataset",
    "fit_to_canvas": "dataset",
    "encode": "intensity",
    "decode": "intensity",
}
_MODULES = (
    "canvas",
    "cohort",
    "cohort_csv",
    "dataset",
    "deidentify",
    "executors",
    "idc",
    "intensity",
    "pictures",
    "preparation",
    "projection",
    "qc",
    "volumes",
)
__all__ = ["ExamError", "ExamNote", *_HOME]

if TYPE_CHECKING:  # what editors and type checkers see
    from radiogan_lib.data.dataset import MipDataset, fit_to_canvas, load, prepare  # noqa: F401
    from radiogan_lib.data.intensity import decode, encode  # noqa: F401
    from radiogan_lib.data.projection import coronal_mip, rotating_mips, sagittal_mip  # noqa: F401
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
