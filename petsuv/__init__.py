"""petsuv: a DICOM PET series or a NIfTI file → SUVbw, or one sentence on why it cannot be trusted.

    import petsuv
    image = petsuv.read("exam/")          # nibabel image: SUVbw in g/ml, float32, RAS+, mm

`python -m petsuv FOLDER` prints the facts of an exam and its SUV range. The rules stand in README.md beside this file.
Names are loaded when first used: `import petsuv` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from petsuv.errors import ExamError, ExamNote

if TYPE_CHECKING:  # what editors and type checkers see
    from petsuv.dicom import as_image, read_series, volume, with_one_slope  # noqa: F401
    from petsuv.source import locate, read  # noqa: F401
    from petsuv.write import write_phantom_series  # noqa: F401

READER_VERSION = 1  # raised whenever the same exam would give other voxel values

_HOME = {
    "read": "source",
    "locate": "source",
    "read_series": "dicom",
    "volume": "dicom",
    "with_one_slope": "dicom",
    "as_image": "dicom",
    "write_phantom_series": "write",
}
__all__ = ["READER_VERSION", "ExamError", "ExamNote", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
