"""NIfTI files: the header is judged before a voxel is unpacked, then the values are read in one pass."""

from __future__ import annotations

import contextlib
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from petsuv.errors import ExamError
from petsuv.plausible import check_suv, stride

# A small file can claim any size (gzip shrinks zeros a thousandfold). 600 million voxels hold the largest total-body
# scans (about 600 × 600 × 1650) in 2.4 GB of float32; more is refused before a byte is unpacked.
MAX_VOXELS = 600_000_000
MAX_RATIO = 1032  # gzip cannot shrink further
VOXEL_MM = (0.2, 30.0)
SHEAR = 0.01  # cosine between voxel axes above which a grid is not a scanner's
SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
_UNIT_MM = {"meter": 1000.0, "micron": 1e-3}


@dataclass(frozen=True, eq=False)
class Header:
    """What the reader needs to know before the data.

    Attributes:
        shape: (i, j, k) voxels as stored, i fastest.
        dtype: of the stored values, with byte order.
        offset: bytes before the data.
        slope, inter: SUV = stored · slope + inter.
        affine: 4 × 4, voxel → RAS+ mm.
        data: the file that holds the voxels.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    data: Path


def is_nifti(path: Path) -> bool:
    """By name."""
    return str(path).lower().endswith(SUFFIXES)


def unpacked(path: Path):
    """The file, unpacked as it is read.

    igzip (ISA-L, through python-isal of the pycompression group) is the fastest well-kept gzip reader that streams:
    five to nine times the standard library, level with or ahead of zlib-ng, ahead of libdeflate, which must unpack into one
    block whose fresh pages cost more than the unpacking. rapidgzip gains only with several cores per file; here the
    cores read several exams.
    """
    with open(path, "rb") as f:
        packed = f.read(2) == b"\x1f\x8b"
    return igzip.open(path, "rb") if packed else open(path, "rb")


@contextlib.contextmanager
def faults():
    """Decoder errors as one sentence."""
    try:
        yield
    except EOFError:
        raise ExamError(
            "the file is cut off: the gzip stream ends early", "Fetch the file again."
        ) from None
    except (igzip.BadGzipFile, zlib.error, igzip.isal_zlib.error) as error:
        raise ExamError(
            f"the gzip stream is damaged ({type(error).__name__})", "Fetch the file again."
        ) from None
    except OSError as error:
        raise ExamError(
            f"the file cannot be read ({error.strerror or type(error).__name__})", "Check the file."
        ) from None


def read_header(path: Path) -> Header:
    """Read and judge the header; no voxel is touched.

    Raises:
        ExamError: not NIfTI, not one volume, too large, cut off, or a geometry that cannot be trusted.
    """
    path = Path(path)
    header_file = path.with_suffix(".hdr") if path.suffix.lower() == ".img" else path
    with faults(), unpacked(header_file) as f:
        start = f.read(544)
    cls = nib.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Header
    size, magic = (540, start[4:8]) if cls is nib.Nifti2Header else (348, start[344:348])
    if magic[:3] not in (b"n+1", b"n+2", b"ni1", b"ni2") or len(start) < size:
        raise ExamError(
            "this is not a NIfTI file (no magic number in its header)",
            "Give .nii, .nii.gz or a DICOM folder.",
        )
    try:
        header = cls.from_fileobj(io.BytesIO(start[:size]), check=False)
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        offset = int(header["vox_offset"]) if magic[:2] == b"n+" else 0
        if (
            magic[:2] == b"n+" and offset == 0
        ):  # some writers leave it out: the data follow the header and its four bytes
            offset = size + 4
        unit = header.get_xyzt_units()[0]
    except Exception as error:  # noqa: BLE001 - nibabel raises many types on nonsense
        raise ExamError(
            f"the NIfTI header is damaged ({type(error).__name__})", "Fetch the file again."
        ) from None
    if offset and offset < size:
        raise ExamError(
            "vox_offset lies inside the header: the values would be the header's own",
            "Fetch the file again.",
        )
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise ExamError(
            f"dim says {' x '.join(map(str, shape))}: {'a picture' if len(shape) < 3 else 'several volumes'}, "
            "not one volume",
            "Give one static 3-D volume.",
        )
    shape = shape[:3]
    if min(shape) < 2:
        raise ExamError(
            f"dim says {' x '.join(map(str, shape))}: a single slice is no volume",
            "Give the whole volume.",
        )
    voxels = math.prod(shape)
    if voxels > MAX_VOXELS:
        raise ExamError(
            f"dim says {' x '.join(map(str, shape))} voxels, more than {MAX_VOXELS:,}: no PET exam",
            "Crop or resample it.",
        )
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ExamError(f"datatype is {dtype}: colours or complex numbers, not SUV")
    if dtype.itemsize == 1 and (slope is None or slope == 1):
        raise ExamError(
            "datatype is 8-bit without a scale: a label map or a picture, not SUV",
            "Give the PET in SUV.",
        )
    slope, inter = (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))
    data = path.with_suffix(".img") if magic[:2] == b"ni" else path
    _check_length(data, offset + voxels * dtype.itemsize)
    return Header(shape, dtype, offset, slope, inter, _affine(header, unit), data)


def _check_length(path: Path, needed: int) -> None:
    with faults():
        held = path.stat().st_size
        with open(path, "rb") as f:
            packed = f.read(2) == b"\x1f\x8b"
    if held * (MAX_RATIO if packed else 1) < needed:
        raise ExamError(
            f"the file is cut off: its header promises {needed:,} bytes", "Fetch the file again."
        )


def _affine(header, unit: str) -> np.ndarray:
    """sform, else qform; in mm; refused if it is not a scanner's grid."""
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ExamError(
            "sform_code and qform_code are both 0: left and right are unknown",
            "Set the orientation in the header.",
        )
    try:
        affine = np.array(header.get_best_affine(), float)
    except Exception:  # noqa: BLE001 - a quaternion that is none
        affine = np.full((4, 4), np.nan)
    affine[:3] *= _UNIT_MM.get(unit, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ExamError(
            "the affine (sform or qform) is singular or not finite",
            "Set the orientation in the header.",
        )
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        raise ExamError(
            f"voxels of {' x '.join(f'{s:.3g}' for s in sizes)} mm are no PET scanner's",
            "Check pixdim, sform and xyzt_units.",
        )
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise ExamError(
            "the affine is sheared: its axes are not perpendicular",
            "Resample the image to a rectangular grid.",
        )
    return affine


_READS = 4 << 20  # bytes unpacked at a time: what fits the cache is projected before it leaves it


def slabs(header: Header):
    """Yield (first k, block) with block (k, j, i): the voxels in the order of the file, a cacheful at a time."""
    ni, nj, nk = header.shape
    plane = ni * nj * header.dtype.itemsize
    depth = max(1, min(nk, _READS // plane))
    buffer = memoryview(bytearray(depth * plane))
    with faults(), unpacked(header.data) as f:
        _skip(f, header.offset)
        for k in range(0, nk, depth):
            count = min(depth, nk - k)
            want, got = count * plane, 0
            while got < want:
                more = f.readinto(buffer[got:want])
                if not more:
                    raise EOFError
                got += more
            yield k, np.frombuffer(buffer[:want], header.dtype).reshape(count, nj, ni)
        if isinstance(f, igzip.IGzipFile):
            f.read(1)  # the end of the stream: only now is its checksum compared


def _skip(f, count: int) -> None:
    while count > 0:
        read = len(f.read(min(count, 1 << 16)))
        if not read:
            raise EOFError
        count -= read


def read(path: Path) -> nib.Nifti1Image:
    """A NIfTI file → SUVbw image, RAS+, float32, with an empty header.

    Raises:
        ExamError: the file is damaged or cut off, or its values are not SUV.
    """
    header = read_header(path)
    ni, nj, nk = header.shape
    volume = np.empty((nk, nj, ni), np.float32)
    lowest, highest = np.inf, -np.inf
    for k, block in slabs(header):
        out = volume[k : k + len(block)]
        if (header.slope, header.inter) == (1.0, 0.0):
            out[:] = block
        else:
            out[:] = block * header.slope + header.inter
        lowest, highest = np.minimum(lowest, out.min()), np.maximum(highest, out.max())
    check_suv(float(lowest), float(highest), volume.reshape(-1)[:: stride(volume.size)])
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.T, header.affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    return image
