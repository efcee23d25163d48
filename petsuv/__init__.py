"""petsuv: a DICOM PET series or a NIfTI file → SUVbw, or one sentence on why it cannot be trusted.

    import petsuv
    image = petsuv.read("exam/")          # nibabel image: SUVbw in g/ml, float32, RAS+, mm

`python -m petsuv FOLDER` prints the facts of an exam and its SUV range. The rules stand in
README.md beside this file. Names are loaded when first used: `import petsuv` costs nothing.
"""

from typing import TYPE_CHECKING

import lazy_loader

from petsuv.errors import ExamError, ExamNote

if TYPE_CHECKING:  # what editors and type checkers see
    from petsuv.dicom import as_image, read_series, volume, with_one_slope
    from petsuv.source import locate, read
    from petsuv.write import write_phantom_series

READER_VERSION = 1  # raised whenever the same exam would give other voxel values

__getattr__, __dir__, _lazy = lazy_loader.attach(
    __name__,
    submod_attrs={
        "source": ["read", "locate"],
        "dicom": ["read_series", "volume", "with_one_slope", "as_image"],
        "write": ["write_phantom_series"],
    },
)
__all__ = ["READER_VERSION", "ExamError", "ExamNote", *_lazy]
