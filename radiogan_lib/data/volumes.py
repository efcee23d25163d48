"""Every exam of a cohort: what petsuv reads, or a phantom.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

import petphantom
import petsuv
from petsuv import ExamError
from radiogan_lib.data.projection import coronal_mip, nifti_mip


def read_suv(path: str | os.PathLike, phantom_spacing_mm: float | None = None) -> nib.Nifti1Image:
    """Read one exam as SUV.

    Args:
        path: what `petsuv.read` takes (a DICOM folder, a NIfTI file, a study folder), or `phantom:<class>/<seed>`.
        phantom_spacing_mm: isotropic voxels of this size for a phantom; None or 0 is the paper's grid.

    Returns:
        3-D nibabel image: SUVbw in g/ml, float32, RAS+, mm; its header holds nothing of the source.
        `image.extra` has `notes`, and of a DICOM exam the SUV factor with its derivation (`suv`).

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
    """`coronal_mip(read_suv(path))`, bit for bit; a NIfTI file is projected while it is unpacked."""
    return read_mip_and_voxels(path, spacing_mm, phantom_spacing_mm)[0]


def read_mip_and_voxels(
    path: str | os.PathLike, spacing_mm: float = 2.0, phantom_spacing_mm: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`read_mip`, and the exam's voxel size along right-left, back-front and foot-head, mm."""
    if not (isinstance(path, str) and path.startswith("phantom:")):
        found = petsuv.locate(path)
        if found.kind == "nifti":  # the volume never exists
            return nifti_mip(found.path, spacing_mm, found.notes)
        image = petsuv.read(found)
    else:
        image = _phantom(path, phantom_spacing_mm)
    return coronal_mip(image, spacing_mm), voxel_sizes(image.affine)


def _phantom(path: str, spacing_mm: float | None) -> nib.Nifti1Image:
    try:
        return petphantom.make(*petphantom.parse(path.strip()), spacing_mm)
    except petphantom.PhantomError as error:
        raise ExamError(str(error).rstrip("."), "Correct the path.") from None
