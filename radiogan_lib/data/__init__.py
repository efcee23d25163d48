"""Exams in, MIP dataset out.

`read_suv` reads any exam as SUV, `coronal_mip` projects it, `prepare` does both for a cohort, and
`load` opens the result. Names are loaded when first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

from petsuv import ExamError, ExamNote

if TYPE_CHECKING:  # what editors and type checkers see
    from radiogan_lib.data.dataset import MipDataset, decode, encode, load, load_if_there
    from radiogan_lib.data.preparation import prepare
    from radiogan_lib.data.projection import coronal_mip, fit_to_canvas, rotating_mips, sagittal_mip
    from radiogan_lib.data.readers import read_mip, read_suv

MODULES = "cohort dataset deidentify executors pictures preparation projection qc readers"
__getattr__, __dir__, _lazy = lazy_loader.attach(
    __name__,
    submodules=MODULES.split(),
    submod_attrs={
        "readers": ["read_suv", "read_mip"],
        "projection": ["coronal_mip", "sagittal_mip", "rotating_mips", "fit_to_canvas"],
        "preparation": ["prepare"],
        "dataset": ["load", "load_if_there", "MipDataset", "encode", "decode"],
    },
)
__all__ = ["ExamError", "ExamNote", *_lazy]
