"""One phantom by class and seed: its volume, its lesions, its checksum, and a NIfTI file of it."""

import copy
import gzip
import hashlib
import os
import re
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from petphantom import disease, organs
from petphantom.canvas import STEP, Canvas, scan
from petphantom.patient import Patient, between, patient_seed

VERSION = 1  # goes up when any seed's volume changes
CLASSES = ("normal", "head_neck", "oesophagus", "lung", "lymphoma")  # the paper's order
GRID = (168, 168, 429)  # x, y, z voxels (RadioGAN, section 4.1: 429 x 168 x 168)
VOXEL_MM = (4.06, 4.06, 2.0)
TOP_MM = GRID[2] * VOXEL_MM[2] / 2  # z of the volume's upper face
CHECKSUM_SPACING_MM = 4.0


class PhantomError(ValueError):
    """A phantom that cannot be made: an unknown class, seed or voxel size."""


def parse(path: str) -> tuple[str, int]:
    """Class and seed of a cohort path such as `phantom:lung/30017`.

    Raises:
        PhantomError: another form, or an unknown class.
    """
    match = re.fullmatch(r"phantom:([A-Za-z_]+)/(\d{1,9})", str(path))
    if not match:
        raise PhantomError("a phantom is named phantom:<class>/<seed>, such as phantom:lung/30017.")
    _check(match[1], int(match[2]))
    return match[1], int(match[2])


def _check(class_name: str, seed: int) -> None:
    if class_name not in CLASSES:
        raise PhantomError(
            f"there is no phantom class {class_name!r}; choose one of {', '.join(CLASSES)}."
        )
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 10**9:
        raise PhantomError(f"phantom seed {seed!r}: it must be a whole number from 0 to 999999999.")


def grid(spacing_mm: float | None = None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxel counts (x, y, z) and sizes (mm): the paper's for None or 0, else isotropic.

    Raises:
        PhantomError: a voxel size outside 1 to 20 mm.
    """
    if not spacing_mm:
        return GRID, VOXEL_MM
    if not 1 <= spacing_mm <= 20:
        raise PhantomError(
            f"phantom voxels of {spacing_mm!r} mm: the size must lie between 1 and 20 mm."
        )
    shape = tuple(int(np.ceil(n * d / spacing_mm)) for n, d in zip(GRID, VOXEL_MM, strict=True))
    return shape, (float(spacing_mm),) * 3


def _codes(class_name: str, seed: int, spacing_mm: float | None) -> nib.Nifti1Image:
    """The exam as an int16 image in steps of 1/256 SUV, (x, y, z) in RAS+ order."""
    _check(class_name, seed)
    patient = Patient(seed)
    data, affine = _scanned(patient, disease.draw(class_name, patient), spacing_mm)
    return _image(data, affine, class_name, seed)


def _scanned(patient: Patient, foci: list, spacing_mm: float | None):
    """The scan of a patient with these foci: int16 steps of 1/256 SUV (x, y, z) and the affine."""
    shape, voxel = grid(spacing_mm)
    x, y = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape[:2], voxel)]
    s = patient.fov_start_mm + (np.arange(shape[2]) + 0.5) * voxel[2]
    low, high = patient.bounds()
    inside = [np.flatnonzero((a > lo) & (a < hi)) for a, lo, hi in zip((x, y), low, high)]
    box = [slice(k[0], k[-1] + 1) for k in inside]
    canvas = Canvas(x[box[0]], y[box[1]], s)
    organs.paint(canvas, patient)
    disease.paint(canvas, foci)
    data = np.zeros(shape, np.int16)
    data[box[0], box[1]] = scan(canvas, patient)[:, :, ::-1]  # s runs down, z runs up
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * d for n, d in zip(shape, voxel, strict=True)]
    affine[2, 3] = TOP_MM - (shape[2] - 0.5) * voxel[2]  # every grid hangs from its upper face
    return data, affine


def _image(data: np.ndarray, affine: np.ndarray, class_name: str, seed: int) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"synthetic FDG PET, {class_name}, seed {seed}, SUVbw".encode()
    return image


def make(class_name: str, seed: int, spacing_mm: float | None = None) -> nib.Nifti1Image:
    """One exam.

    Args:
        class_name: one of `CLASSES`.
        seed: 0 to 999999999; the same seed gives the same voxels, and the same body whatever the
            class.
        spacing_mm: None or 0 for the paper's 168 x 168 x 429 voxels of 4.06 x 4.06 x 2.0 mm (x, y,
            z), or an isotropic voxel size over the same box of 682 x 682 x 858 mm.

    Returns:
        RAS+ image, float32 SUVbw in steps of 1/256; `lesions(class_name, seed)` says what it shows.

    Raises:
        PhantomError: an unknown class, or a seed or voxel size out of range.
    """
    codes = _codes(class_name, seed, spacing_mm)
    suv = np.asarray(codes.dataobj, np.float32)
    suv *= np.float32(STEP)
    return _image(suv, codes.affine, class_name, seed)


def morph(
    first: tuple[str, int], second: tuple[str, int], share: float, spacing_mm: float | None = None
) -> nib.Nifti1Image:
    """A phantom between two others: a true in-between, unlike a blend of their images.

    The body's continuous features (size, shape and uptake of every organ) move towards the second
    exam's; the first exam's foci shrink while the second's grow. Sex, arms up or down, missing
    organs, texture and noise stay the first's.

    Args:
        first, second: (class, seed), as for `make`.
        share: 0 gives the first exam, voxel by voxel; 1 has the second's proportions and foci.
        spacing_mm: as for `make`.

    Returns:
        RAS+ image, float32 SUVbw, as `make`'s.

    Raises:
        PhantomError: as `make`, and a share outside 0 to 1.
    """
    _check(*first)
    _check(*second)
    if not 0 <= share <= 1:
        raise PhantomError(f"share = {share!r}: it must lie between 0 and 1.")
    patient = between(Patient(first[1]), Patient(second[1]), share)
    other = copy.copy(patient)  # the same body, with the second exam's random streams
    other.seed, other.person = int(second[1]), patient_seed(int(second[1]))
    foci = disease.shrunk(disease.draw(first[0], patient), 1 - share)
    foci += disease.shrunk(disease.draw(second[0], other), share)
    codes, affine = _scanned(patient, foci, spacing_mm)
    return _image(codes.astype(np.float32) * np.float32(STEP), affine, *first)


def lesions(class_name: str, seed: int) -> list[dict]:
    """The truth of an exam: per lesion its site, centre_mm (x, y, z), diameter_mm and suv.

    `suv` is the activity before the scanner; a small lesion looks weaker. `kind` tells a class's
    own lesions ("tumour") from the benign foci that every class may have ("benign").
    """
    _check(class_name, seed)
    patient = Patient(seed)
    top = TOP_MM + patient.fov_start_mm
    return [lesion.truth(top) for lesion in disease.draw(class_name, patient)]


def write(path: Path | str, class_name: str, seed: int, spacing_mm: float | None = None) -> Path:
    """Write one exam as int16 NIfTI with scl_slope 1/256 (lossless); the same bytes every time.

    Args:
        path: ends with .nii or .nii.gz; written whole or not at all.
        class_name, seed, spacing_mm: as for `make`.

    Returns:
        the path.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise PhantomError(f"{path.name}: the file must end with .nii or .nii.gz.")
    image = _codes(class_name, seed, spacing_mm)
    # by hand, since nibabel would rescale the integers and stamp the gzip with the time
    header = image.header.copy()
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = STEP, 0.0, 352
    header["magic"] = b"n+1"
    codes = np.asarray(image.dataobj)
    data = header.binaryblock + b"\0\0\0\0" + codes.tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        part.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)
        os.replace(part, path)
    return path


def checksum(class_name: str, seed: int, spacing_mm: float = CHECKSUM_SPACING_MM) -> str:
    """SHA-256 of the exam: little-endian int16 steps of 1/256 SUV, C order (x, y, z)."""
    codes = np.asarray(_codes(class_name, seed, spacing_mm).dataobj)
    return hashlib.sha256(codes.astype("<i2").tobytes()).hexdigest()
