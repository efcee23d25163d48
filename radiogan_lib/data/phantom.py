"""Seeded FDG-PET-like exams: the cohort that the repository teaches with, on the paper's grid or a coarser one.

One exam is a *patient* (anatomy.py: habitus, pose, organs) painted as activity (organs.py) with the *lesions* of one
class (lesions.py), then seen by a scanner: Poisson-like noise and a resolution of 5 to 7 mm. Nothing but the lesions
depends on the class, so the same seed gives the same body in every class. These are teaching data, not a
simulation of physics, and nothing here is a patient.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import re
from pathlib import Path

import nibabel as nib
import numpy as np

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.data import anatomy, organs, shapes
from radiogan_lib.data import lesions as _lesions
from radiogan_lib.data.scanner import STEP, scan

CLASSES = ("normal", "head_neck", "oesophagus", "lung", "lymphoma")  # the paper's order
GRID = (168, 168, 429)  # x, y, z voxels (paper section 4.1: 429 x 168 x 168)
VOXEL_MM = (4.06, 4.06, 2.0)
TOP_MM = GRID[2] * VOXEL_MM[2] / 2  # z of the volume's upper face
MANIFEST_SPACING_MM = 4.0


class PhantomError(RadioganError, ValueError):
    """A phantom that cannot be made: an unknown class, seed or voxel size."""


def parse(path: str) -> tuple[str, int]:
    """Class and seed of a cohort path such as `phantom:lung/30017`."""
    match = re.fullmatch(r"phantom:([^/]+)/(\d{1,9})", str(path))
    if not match:
        raise PhantomError(
            f"{path!r} is not a phantom; write phantom:CLASS/SEED, such as phantom:lung/30017."
        )
    _check(match[1], int(match[2]))
    return match[1], int(match[2])


def _check(class_name: str, seed: int) -> None:
    if class_name not in CLASSES:
        raise PhantomError(
            f"there is no phantom class {class_name!r}; choose one of {', '.join(CLASSES)}."
        )
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 10**9:
        raise PhantomError(f"phantom seed {seed!r}: it must be a whole number from 0 to 999999999.")


def grid(spacing_mm: float | None = None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxel counts (x, y, z) and sizes in mm: the paper's for None or 0, else isotropic over the same box."""
    if not spacing_mm:
        return GRID, VOXEL_MM
    if not 1 <= spacing_mm <= 20:
        raise PhantomError(
            f"phantom voxels of {spacing_mm!r} mm: the size must lie between 1 and 20 mm."
        )
    return tuple(int(np.ceil(n * d / spacing_mm)) for n, d in zip(GRID, VOXEL_MM)), (
        float(spacing_mm),
    ) * 3


def _volume(
    class_name: str, seed: int, spacing_mm: float | None, dtype
) -> tuple[np.ndarray, tuple[float, ...]]:
    """The exam, (x, y, z) in RAS+ order, and its voxel size; int16 for steps of 1/256 SUV, float32 for SUV."""
    _check(class_name, seed)
    shape, voxel = grid(spacing_mm)
    patient = anatomy.Patient(seed)
    found = _lesions.draw(class_name, patient)
    x, y = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape[:2], voxel)]
    s = patient.fov_start_mm + (np.arange(shape[2]) + 0.5) * voxel[2]
    low, high = patient.bounds()
    inside = [np.flatnonzero((a > lo) & (a < hi)) for a, lo, hi in zip((x, y), low, high)]
    box = [slice(k[0], k[-1] + 1) for k in inside]
    canvas = shapes.Canvas(x[box[0]], y[box[1]], s)
    organs.paint(canvas, patient)
    _lesions.paint(canvas, patient, found)
    v = scan(canvas, patient)
    if dtype is np.float32:
        v *= np.float32(STEP)
    out = np.zeros(shape, dtype)  # pages outside the body's box are never touched
    for i, plane in zip(range(box[0].start, box[0].stop), v):  # s runs down, z runs up
        out[i, box[1]] = plane[:, ::-1]
    return out, voxel


def make(class_name: str, seed: int, spacing_mm: float | None = None) -> nib.Nifti1Image:
    """One exam.

    Args:
        class_name: one of `CLASSES`.
        seed: 0 to 999999999; the same seed gives the same voxels, and the same body whatever the class.
        spacing_mm: None or 0 for the paper's 168 x 168 x 429 voxels of 4.06 x 4.06 x 2.0 mm (x, y, z), or an
            isotropic voxel size over the same box of 682 x 682 x 858 mm.

    Returns:
        RAS+ image, float32 SUVbw in steps of 1/256; `lesions(class_name, seed)` says what it shows.

    Raises:
        PhantomError: an unknown class, or a seed or voxel size out of range.
    """
    data, voxel = _volume(class_name, seed, spacing_mm, np.float32)
    image = nib.Nifti1Image(data, _affine(data.shape, voxel))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"synthetic FDG PET, {class_name}, seed {seed}, SUVbw".encode()
    return image


def _affine(shape, voxel) -> np.ndarray:
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * d for n, d in zip(shape, voxel)]
    affine[2, 3] = (
        TOP_MM - (shape[2] - 0.5) * voxel[2]
    )  # the box hangs from its upper face on every grid
    return affine


def lesions(class_name: str, seed: int) -> list[dict]:
    """The truth of an exam: one dict per lesion with site, centre_mm (x, y, z of the image), diameter_mm and suv.

    `suv` is the activity before the scanner; a small lesion looks weaker. `kind` tells a class's own lesions
    ("tumour") from the benign foci that every class may have ("benign").
    """
    _check(class_name, seed)
    patient = anatomy.Patient(seed)
    return [
        item.truth(TOP_MM + patient.fov_start_mm) for item in _lesions.draw(class_name, patient)
    ]


def write(path: Path, class_name: str, seed: int, spacing_mm: float | None = None) -> Path:
    """Write one exam as int16 NIfTI with scl_slope 1/256 (lossless), atomically; returns the path."""
    codes, voxel = _volume(class_name, seed, spacing_mm, np.int16)
    image = nib.Nifti1Image(codes, _affine(codes.shape, voxel))
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(STEP, 0.0)
    image.header["descrip"] = f"synthetic FDG PET, {class_name}, seed {seed}, SUVbw".encode()
    with paths.atomic(Path(path)) as temporary:
        # by hand, since nibabel would rescale the integers and stamp the gzip with the time
        raw = io.BytesIO()
        header = image.header.copy()
        header["scl_slope"], header["scl_inter"], header["vox_offset"] = STEP, 0.0, 352
        header["magic"] = b"n+1"
        raw.write(header.binaryblock + b"\0\0\0\0")
        raw.write(codes.tobytes(order="F"))
        data = raw.getvalue()
        temporary.write_bytes(
            gzip.compress(data, 1, mtime=0) if str(path).endswith(".gz") else data
        )
    return Path(path)


def checksum(class_name: str, seed: int, spacing_mm: float = MANIFEST_SPACING_MM) -> str:
    """SHA-256 of the exam: little-endian int16 steps of 1/256 SUV, C order (x, y, z), at 4 mm unless told."""
    codes, _ = _volume(class_name, seed, spacing_mm, np.int16)
    return hashlib.sha256(codes.astype("<i2").tobytes()).hexdigest()


def main(argv: list[str] | None = None) -> None:
    """`python -m radiogan_lib.data.phantom --manifest` or `… CLASS SEED FILE.nii.gz`."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.data.phantom", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "exam", nargs="*", metavar="CLASS SEED FILE", help="write one exam as NIfTI"
    )
    parser.add_argument(
        "--spacing-mm", type=float, default=0.0, help="isotropic voxels; 0 = the paper's grid"
    )
    parser.add_argument(
        "--manifest", action="store_true", help="rebuild data_manifest/synthetic.csv"
    )
    parser.add_argument(
        "--no-checksums", action="store_true", help="leave the sha256 column out (seconds)"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes; default one per core")
    args = parser.parse_args(argv)
    if args.manifest:
        from radiogan_lib.data.synthetic import write_manifest

        print(
            "wrote",
            paths.shown(write_manifest(workers=args.workers, checksums=not args.no_checksums)),
        )
    elif len(args.exam) == 3:
        name, seed, path = args.exam
        print(
            "wrote",
            paths.shown(write(Path(path), *parse(f"phantom:{name}/{seed}"), args.spacing_mm)),
        )
    else:
        parser.error("give --manifest, or CLASS SEED FILE")


if __name__ == "__main__":
    main()
