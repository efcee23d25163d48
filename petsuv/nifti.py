"""NIfTI files: the header is judged before a voxel is unpacked, then the values are read once."""

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

from petsuv.dicom import as_image
from petsuv.errors import ExamError, tell
from petsuv.plausible import MAX_VOXELS, VOXEL_MM, check_suv, stride

MAX_RATIO = 1032  # gzip cannot shrink further
SHEAR = 0.01  # cosine between voxel axes above which a grid is not a scanner's
SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
_UNIT_MM = {"meter": 1000.0, "micron": 1e-3}
_READS = 4 << 20  # bytes unpacked at a time: what fits the cache is projected before it leaves it
_FETCH = "Fetch the file again."
_ORIENT = "Set the orientation in the header."
_STATIC = "Give one static 3-D volume."
# What a file is that is no NIfTI, by its first bytes.
_KNOWN = (
    (rb"\Z", "empty"),
    (rb"version https://git-lfs", "a Git LFS pointer (fetch the file itself)"),
    (rb"PK", "a zip archive (unpack it)"),
    (rb"BZh", "packed by bzip2 (unpack it)"),
    (rb"\xfd7zXZ", "packed by xz (unpack it)"),
    (rb"\x28\xb5\x2f\xfd", "packed by zstd (unpack it)"),
    (rb"NRRD", "an NRRD file"),
    (rb"\x5c\x01\0\0|\0\0\x01\x5c", "Analyze 7.5, which does not say where left is"),
    (rb"(?s).{128}DICM", "a DICOM file (give the folder of its series)"),
    (rb"\s*<", "a web page or XML (fetch the file again)"),
    (rb"", "a file of an unknown kind (no magic number in its header)"),
)


@dataclass(frozen=True, eq=False)
class Header:
    """What the reader needs to know before the data."""

    shape: tuple[int, int, int]  # (i, j, k) voxels as stored, i fastest
    dtype: np.dtype  # of the stored values, with byte order
    offset: int  # bytes before the data
    slope: float  # SUV = stored · slope + inter
    inter: float
    affine: np.ndarray  # 4 × 4, voxel → RAS+ mm
    data: Path  # the file that holds the voxels
    notes: tuple[str, ...]  # choices made


def is_nifti(path: Path) -> bool:
    """By name."""
    return str(path).lower().endswith(SUFFIXES)


def _is_packed(path: Path) -> bool:
    with open(path, "rb") as f:
        return f.read(2) == b"\x1f\x8b"


def unpacked(path: Path):
    """The file, unpacked as it is read: by igzip, five to nine times as fast as Python's gzip."""
    return igzip.open(path, "rb") if _is_packed(path) else open(path, "rb")


@contextlib.contextmanager
def faults():
    """Decoder errors as one sentence."""
    try:
        yield
    except EOFError:
        raise ExamError("the file is cut off: the gzip stream ends early", _FETCH) from None
    except (igzip.BadGzipFile, zlib.error, igzip.isal_zlib.error) as error:
        raise ExamError(f"the gzip stream is damaged ({type(error).__name__})", _FETCH) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ExamError(f"the file cannot be read ({why})", "Check the file.") from None


def read_header(path: Path) -> Header:
    """Read and judge the header; no voxel is touched."""
    path = Path(path)
    start = beginning(_partner(path, ".hdr") if path.suffix.lower() == ".img" else path)
    cls = nib.Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Header
    size, magic = (540, start[4:7]) if cls is nib.Nifti2Header else (348, start[344:347])
    if magic not in (b"n+1", b"n+2", b"ni1", b"ni2") or len(start) < size:
        said = f"this is not a NIfTI file but {what_is(start)}"
        raise ExamError(said, "Give .nii, .nii.gz or a DICOM folder.")
    in_one_file = magic[:2] == b"n+"
    _judge_sidecar(path)
    try:
        header = cls.from_fileobj(io.BytesIO(start[:size]), check=False)
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
        offset = int(header["vox_offset"])
        unit = header.get_xyzt_units()[0]
    except Exception as error:  # noqa: BLE001 - nibabel raises many types on nonsense
        raise ExamError(f"the NIfTI header is damaged ({type(error).__name__})", _FETCH) from None
    if in_one_file and offset == 0:
        offset = size + 4  # some writers leave it out: the data follow the header's four bytes
    if in_one_file and offset < size or offset < 0:
        said = "vox_offset lies inside the header: the values would be the header's own"
        raise ExamError(said, _FETCH)
    shape = _one_volume(shape)
    if slope == 0 or np.isnan(slope):  # no scaling, as the format says
        slope, inter = 1.0, 0.0
    for name, found in (("scl_slope", slope), ("scl_inter", inter)):
        if not np.isfinite(found):
            raise ExamError(f"{name} is not a finite number", _FETCH)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ExamError(f"datatype is {dtype}: colours or complex numbers, not SUV")
    if dtype.itemsize == 1 and (slope, inter) == (1.0, 0.0):
        said = "datatype is 8-bit without a scale: a label map or a picture, not SUV"
        raise ExamError(said, "Give the PET in SUV.")
    data = path if in_one_file else _partner(path, ".img")
    _check_length(data, offset + math.prod(shape) * dtype.itemsize)
    affine, notes = _affine(header, unit)
    return Header(shape, dtype, offset, slope, inter, affine, data, notes)


def _one_volume(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The three sizes of one volume that is not too large."""
    said = f"dim says {' x '.join(map(str, shape))}"
    if len(shape) < 3:
        raise ExamError(f"{said}: a picture, not one volume", _STATIC)
    if any(n > 1 for n in shape[3:]):  # 0 there means 1
        raise ExamError(f"{said}: several volumes, not one volume", _STATIC)
    said = f"dim says {' x '.join(map(str, shape[:3]))}"
    if min(shape[:3]) < 2:
        raise ExamError(f"{said}: a single slice is no volume", "Give the whole volume.")
    if math.prod(shape[:3]) > MAX_VOXELS:
        said = f"{said} voxels, more than {MAX_VOXELS:,}: no PET exam"
        raise ExamError(said, "Crop or resample it.")
    return shape[:3]


def _partner(path: Path, suffix: str) -> Path:
    """The .img of a .hdr, or the .hdr of an .img, in capitals or not."""
    wanted = (path.stem + suffix).lower()
    with faults():
        alike = [f for f in path.parent.iterdir() if f.name.lower() == wanted]
    if not alike:
        said = f"the {suffix} file of this pair is not beside it"
        raise ExamError(said, "Give both files of the pair in one folder.")
    return next((f for f in alike if f.stem == path.stem), alike[0])


def beginning(path: Path) -> bytes:
    """The first 544 bytes, unpacked."""
    with faults(), unpacked(path) as f:
        return f.read(544)


def what_is(start: bytes) -> str:
    """What a file is that is no NIfTI, by its first bytes."""
    return next(what for begin, what in _KNOWN if re.match(begin, start))


def _judge_sidecar(path: Path) -> None:
    """Refuse a file whose .json (BIDS, dcm2niix) says that the values are activity or counts."""
    stem = re.sub(r"(?i)\.(nii(\.gz)?|hdr|img)$", "", path.name)
    try:
        said = json.loads(path.with_name(f"{stem}.json").read_bytes()[: 1 << 20])
        units = re.sub(r"[^A-Z]", "", str(said.get("Units", "")).upper())
    except (OSError, ValueError, AttributeError):
        return
    if "BQ" in units or "CI" in units or units in ("CNTS", "CPS", "COUNTS", "PROPCPS", "PROPCNTS"):
        raise ExamError(
            "the .json beside the file says in Units that the values are activity or counts",
            "Convert them to SUV, or give the DICOM series.",
        )


def _check_length(path: Path, needed: int) -> None:
    with faults():
        most = path.stat().st_size * (MAX_RATIO if _is_packed(path) else 1)
    if most < needed:
        raise ExamError(f"the file is cut off: its header promises {needed:,} bytes", _FETCH)


def _affine(header, unit: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """sform, else qform; in mm; refused if it is not a scanner's grid. With notes."""
    if float(header["pixdim"][0]) == 0:
        header["pixdim"][0] = 1  # qfac 0 means 1
    named = [name for name in ("sform", "qform") if int(header[f"{name}_code"]) > 0]
    if not named:
        raise ExamError("sform_code and qform_code are both 0: left and right are unknown", _ORIENT)
    sound = {}
    for name in named:
        with contextlib.suppress(Exception):  # a quaternion that is none
            affine = np.array(getattr(header, f"get_{name}")(), float)
            if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9:
                sound[name] = affine
    if not sound:
        raise ExamError(f"the affine ({' and '.join(named)}) is singular or not finite", _ORIENT)
    notes = []
    name, affine = next(iter(sound.items()))
    if len(sound) < len(named):
        notes.append(f"one of sform and qform is singular or not finite; the {name} was followed")
    elif len(sound) == 2:
        first, second = (a[:3, :3] / nib.affines.voxel_sizes(a) for a in sound.values())
        if np.abs(first - second).max() > 0.05:
            mirrored = np.linalg.det(first) * np.linalg.det(second) < 0
            how = "mirror each other" if mirrored else "point in different directions"
            notes.append(f"sform and qform {how}; the sform was followed")
    affine[:3] *= _UNIT_MM.get(unit, 1.0)
    sizes = nib.affines.voxel_sizes(affine)
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        said = f"voxels of {' x '.join(f'{s:.3g}' for s in sizes)} mm are no PET scanner's"
        raise ExamError(said, "Check pixdim, sform and xyzt_units.")
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        said = "the affine is sheared: its axes are not perpendicular"
        raise ExamError(said, "Resample the image to a rectangular grid.")
    return affine, tuple(notes)


def slabs(header: Header):
    """Yield (first k, block (k, j, i)): the voxels in the file's order, a cacheful at a time."""
    ni, nj, nk = header.shape
    plane = ni * nj * header.dtype.itemsize
    depth = max(1, min(nk, _READS // plane))
    buffer = memoryview(bytearray(depth * plane))
    with faults(), _without_blanks(header.data, header.offset + nk * plane) as f:
        f.seek(header.offset)
        for k in range(0, nk, depth):
            want = min(depth, nk - k) * plane
            if f.readinto(buffer[:want]) < want:
                raise EOFError
            yield k, np.frombuffer(buffer[:want], header.dtype).reshape(-1, nj, ni)
        if isinstance(f, igzip.IGzipFile):
            f.read(1)  # the end of the stream: only now is its checksum compared


def _without_blanks(path: Path, length: int):
    """The unpacked file; a line end after a gzip stream (its last bytes are the length) is cut."""
    with faults(), open(path, "rb") as f:
        f.seek(-min(64, path.stat().st_size), io.SEEK_END)
        tail = f.read()
        expected = (length % 2**32).to_bytes(4, "little")
        ends = not tail.endswith(expected) and tail.rstrip(b"\r\n ").endswith(expected)
        if ends and _is_packed(path):
            f.seek(0)
            return igzip.IGzipFile(fileobj=io.BytesIO(f.read().rstrip(b"\r\n ")), mode="rb")
    return unpacked(path)


def read(path: Path, notes: Sequence[str] = ()) -> nib.Nifti1Image:
    """A NIfTI file → SUVbw image, RAS+, float32, with an empty header. Raises as `petsuv.read`."""
    header = read_header(path)
    volume = np.empty(header.shape[::-1], np.float32)
    lowest, highest = np.inf, -np.inf
    scaled = (header.slope, header.inter) != (1.0, 0.0)
    for k, block in slabs(header):
        out = volume[k : k + len(block)]
        out[:] = block * header.slope + header.inter if scaled else block
        lowest, highest = np.minimum(lowest, out.min()), np.maximum(highest, out.max())
    sample = volume.reshape(-1)[:: stride(volume.size)]
    image = as_image(volume, header.affine)
    found = check_suv(float(lowest), float(highest), sample)
    image.extra["notes"] = [*notes, *header.notes, *found]
    tell(image.extra["notes"])
    return image
