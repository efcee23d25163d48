"""NIfTI files: the header is judged before a voxel is unpacked, then the values are read in one pass."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from petsuv.errors import ExamError, tell
from petsuv.plausible import MAX_VOXELS, VOXEL_MM, check_suv, stride

MAX_RATIO = 1032  # gzip cannot shrink further
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
        notes: choices made.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    data: Path
    notes: tuple[str, ...] = ()


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
    header_file = _partner(path, ".hdr") if path.suffix.lower() == ".img" else path
    start = beginning(header_file)
    cls = nib.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Header
    size, magic = (540, start[4:8]) if cls is nib.Nifti2Header else (348, start[344:348])
    if magic[:3] not in (b"n+1", b"n+2", b"ni1", b"ni2") or len(start) < size:
        raise ExamError(
            f"this is not a NIfTI file but {what_is(start)}",
            "Give .nii, .nii.gz or a DICOM folder.",
        )
    _judge_sidecar(path)
    try:
        header = cls.from_fileobj(io.BytesIO(start[:size]), check=False)
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
        offset = int(header["vox_offset"])
        if magic[:2] == b"n+" and offset == 0:
            offset = (
                size + 4
            )  # some writers leave it out: the data follow the header and its four bytes
        unit = header.get_xyzt_units()[0]
    except Exception as error:  # noqa: BLE001 - nibabel raises many types on nonsense
        raise ExamError(
            f"the NIfTI header is damaged ({type(error).__name__})", "Fetch the file again."
        ) from None
    if magic[:2] == b"n+" and offset < size or offset < 0:
        raise ExamError(
            "vox_offset lies inside the header: the values would be the header's own",
            "Fetch the file again.",
        )
    if len(shape) < 3 or any(n > 1 for n in shape[3:]):  # 0 there means 1
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
    if slope == 0 or np.isnan(slope):  # no scaling, as the format says
        slope, inter, scale = 1.0, 0.0, False
    else:
        scale = (slope, inter) != (1.0, 0.0)
        for name, found in (("scl_slope", slope), ("scl_inter", inter)):
            if not np.isfinite(found):
                raise ExamError(f"{name} is not a finite number", "Fetch the file again.")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ExamError(f"datatype is {dtype}: colours or complex numbers, not SUV")
    if dtype.itemsize == 1 and not scale:
        raise ExamError(
            "datatype is 8-bit without a scale: a label map or a picture, not SUV",
            "Give the PET in SUV.",
        )
    data = _partner(path, ".img") if magic[:2] == b"ni" else path
    _check_length(data, offset + voxels * dtype.itemsize)
    affine, notes = _affine(header, unit)
    return Header(shape, dtype, offset, slope, inter, affine, data, notes)


def _partner(path: Path, suffix: str) -> Path:
    """The .img of a .hdr, or the .hdr of an .img, in capitals or not."""
    wanted = (path.stem + suffix).lower()
    with faults():
        alike = [f for f in path.parent.iterdir() if f.name.lower() == wanted]
    same_stem = [f for f in alike if f.stem == path.stem]
    if not alike:
        raise ExamError(
            f"the {suffix} file of this pair is not beside it",
            "Give both files of the pair in one folder.",
        )
    return (same_stem or alike)[0]


def beginning(path: Path) -> bytes:
    """The first 544 bytes, unpacked."""
    with faults(), unpacked(path) as f:
        return f.read(544)


def what_is(start: bytes) -> str:
    """What a file is that is no NIfTI, by its first bytes."""
    known = (
        (b"", not start, "empty"),
        (b"version https://git-lfs", True, "a Git LFS pointer (fetch the file itself)"),
        (b"PK", True, "a zip archive (unpack it)"),
        (b"BZh", True, "packed by bzip2 (unpack it)"),
        (b"\xfd7zXZ", True, "packed by xz (unpack it)"),
        (b"\x28\xb5\x2f\xfd", True, "packed by zstd (unpack it)"),
        (b"NRRD", True, "an NRRD file"),
        (b"", start[128:132] == b"DICM", "a DICOM file (give the folder of its series)"),
        (b"", start.lstrip()[:1] == b"<", "a web page or XML (fetch the file again)"),
        (
            b"",
            start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"),
            "Analyze 7.5, which does not say where left is",
        ),
    )
    found = (what for begin, also, what in known if also and start.startswith(begin))
    return next(found, "a file of an unknown kind (no magic number in its header)")


def _judge_sidecar(path: Path) -> None:
    """Refuse a file whose .json (BIDS, dcm2niix) says that the values are an activity concentration."""
    stem = re.sub(r"(?i)\.(nii(\.gz)?|hdr|img)$", "", path.name)
    try:
        said = json.loads(path.with_name(f"{stem}.json").read_bytes()[: 1 << 20])
        units = re.sub(r"[^A-Z]", "", str(said.get("Units", "")).upper())
    except (OSError, ValueError, AttributeError):
        return
    if "BQ" in units or "CI" in units or units in ("CNTS", "CPS", "COUNTS", "PROPCPS", "PROPCNTS"):
        raise ExamError(
            "the .json beside the file says in Units that the values are activity or counts, not SUV",
            "Convert them to SUV, or give the DICOM series.",
        )


def _check_length(path: Path, needed: int) -> None:
    with faults():
        held = path.stat().st_size
        with open(path, "rb") as f:
            packed = f.read(2) == b"\x1f\x8b"
    if held * (MAX_RATIO if packed else 1) < needed:
        raise ExamError(
            f"the file is cut off: its header promises {needed:,} bytes", "Fetch the file again."
        )


def _affine(header, unit: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """sform, else qform; in mm; refused if it is not a scanner's grid. With notes."""
    if float(header["pixdim"][0]) == 0:
        header["pixdim"][0] = 1  # qfac 0 means 1
    found = {}
    for name, read in (("sform", header.get_sform), ("qform", header.get_qform)):
        if int(header[f"{name}_code"]) <= 0:
            continue
        try:
            found[name] = np.array(read(), float)
        except Exception:  # noqa: BLE001 - a quaternion that is none
            found[name] = np.full((4, 4), np.nan)
    if not found:
        raise ExamError(
            "sform_code and qform_code are both 0: left and right are unknown",
            "Set the orientation in the header.",
        )
    sound = {
        name: a
        for name, a in found.items()
        if np.isfinite(a).all() and abs(np.linalg.det(a[:3, :3])) > 1e-9
    }
    if not sound:
        raise ExamError(
            f"the affine ({' and '.join(found)}) is singular or not finite",
            "Set the orientation in the header.",
        )
    notes = []
    name, affine = next(iter(sound.items()))
    if len(sound) < len(found):
        notes.append(f"one of sform and qform is singular or not finite; the {name} was followed")
    elif len(sound) == 2:
        first, second = (a[:3, :3] / nib.affines.voxel_sizes(a) for a in sound.values())
        mirrored = np.linalg.det(first) * np.linalg.det(second) < 0
        if np.abs(first - second).max() > 0.05:
            how = "mirror each other" if mirrored else "point in different directions"
            notes.append(f"sform and qform {how}; the sform was followed")
    affine[:3] *= _UNIT_MM.get(unit, 1.0)
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
    return affine, tuple(notes)


_READS = 4 << 20  # bytes unpacked at a time: what fits the cache is projected before it leaves it


def slabs(header: Header):
    """Yield (first k, block) with block (k, j, i): the voxels in the order of the file, a cacheful at a time."""
    ni, nj, nk = header.shape
    plane = ni * nj * header.dtype.itemsize
    depth = max(1, min(nk, _READS // plane))
    buffer = memoryview(bytearray(depth * plane))
    with faults(), _without_blanks(header.data, header.offset + nk * plane) as f:
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


def _without_blanks(path: Path, length: int):
    """The unpacked file; a line end after a whole gzip stream (its last four bytes are the length) is cut off."""
    with faults(), open(path, "rb") as f:
        packed = f.read(2) == b"\x1f\x8b"
        f.seek(-min(64, path.stat().st_size), io.SEEK_END)
        tail = f.read()
        expected = (length % 2**32).to_bytes(4, "little")
        bare = tail.rstrip(b"\r\n ")
        if packed and not tail.endswith(expected) and bare.endswith(expected):
            f.seek(0)
            whole = f.read().rstrip(b"\r\n ")
            return igzip.IGzipFile(fileobj=io.BytesIO(whole), mode="rb")
    return unpacked(path)


def _skip(f, count: int) -> None:
    while count > 0:
        read = len(f.read(min(count, 1 << 16)))
        if not read:
            raise EOFError
        count -= read


def read(path: Path, notes: Sequence[str] = ()) -> nib.Nifti1Image:
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
    sample = volume.reshape(-1)[:: stride(volume.size)]
    notes = [*notes, *header.notes, *check_suv(float(lowest), float(highest), sample)]
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.T, header.affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    image.extra["notes"] = notes
    tell(notes)
    return image
