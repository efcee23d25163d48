"""A folder of DICOM PET slices → one SUVbw volume.

The steps are separate so that a notebook can show them: `read_series` (which slices, in which
order, which factor), `volume` (values to SUV), and `with_one_slope` for what goes wrong without
care. `read_exam` does them in one. What identifies a patient is never read.
"""

import gzip
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag

from petsuv import grid
from petsuv.elements import PRIVATE, number, tag, unvalidated, value
from petsuv.errors import ExamError, tell
from petsuv.plausible import check_suv, stride
from petsuv.series import Series, choose

MAX_FILES = 20_000  # a folder with more holds many exams; a cohort has one row per exam
MAX_DEFLATED = 1 << 20  # bytes; pydicom unpacks such a file whole, and it grows a thousandfold
MAX_SLICE = 64 << 20  # bytes of one packed slice; no slice is this large
MAX_UNPACKED = 1500 << 20  # bytes of all packed slices of a folder, which stay in memory
NOT_DICOM = set(
    ".nii .gz .zip .json .txt .csv .png .jpg .jpeg .pdf .xml .html .md .bvec .bval .nrrd .mha .npy "
    ".xlsx .ipynb".split()
)
_PACKED = (".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_UNCOMPRESSED = {
    (True, True): uid.ImplicitVRLittleEndian,
    (False, True): uid.ExplicitVRLittleEndian,
    (False, False): uid.ExplicitVRBigEndian,
}
# Parsing only what is used saves two thirds of the time; what identifies a patient is never read.
_KEYWORDS = """
SOPClassUID SOPInstanceUID Manufacturer StudyInstanceUID SeriesInstanceUID Modality ImageType
SeriesType SeriesDescription SeriesNumber Units SUVType DecayCorrection CorrectedImage PatientWeight
StudyDate SeriesDate SeriesTime AcquisitionDate AcquisitionTime
AcquisitionDateTime TimezoneOffsetFromUTC SpecificCharacterSet FrameReferenceTime
ActualFrameDuration DecayFactor TriggerTime TemporalPositionIndex NumberOfSlices
RadiopharmaceuticalInformationSequence ImagePositionPatient ImageOrientationPatient PixelSpacing
Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration
BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit
RescaleSlope RescaleIntercept LossyImageCompression PixelData FloatPixelData DoubleFloatPixelData
""".split()
_TAGS = [Tag(k) for k in _KEYWORDS] + [
    Tag(group, element)
    for group, low, _ in PRIVATE.values()
    for block in range(0x10, 0x20)
    for element in (block, block << 8 | low)
]
_GIVE = "Give the folder that holds the slices of one exam."


@unvalidated()
def read_series(folder: Path | str) -> Series:
    """Find the PET series to read in a folder (its own files and those of folders below).

    Args:
        folder: may hold other modalities, several PET series and files that are not DICOM.

    Returns:
        the slices in order, their geometry, the SUV factor with its derivation, and notes.

    Raises:
        ExamError: nothing in the folder can be trusted to be a whole FDG PET exam.
    """
    headers, faults = _read_headers(Path(folder))
    try:
        return choose(headers)
    except ExamError as error:
        if faults:
            error.reason = f"{error.reason}; in the folder are also {faults}"
            error.args = (error.reason, error.remedy)
        raise


def _stored(ds) -> np.ndarray:
    """(rows, columns) stored values of one slice, decompressed."""
    try:
        pixels = ds.pixel_array
    except Exception as error:  # noqa: BLE001 - pydicom and its decoders raise many types
        syntax = getattr(getattr(ds.file_meta, "TransferSyntaxUID", None), "name", "unknown")
        raise ExamError(
            "the pixel data of a slice cannot be decoded "
            f"(transfer syntax {syntax}; {type(error).__name__})",
            "Fetch the series again, or export it uncompressed.",
        ) from None
    if pixels.shape != (number(ds, "Rows"), number(ds, "Columns")):
        shape = f"{tag('Rows')} x {tag('Columns')}"
        raise ExamError(f"the pixel data of a slice do not have {shape} values")
    return pixels


@unvalidated()
def volume(series: Series, slopes: np.ndarray | None = None) -> np.ndarray:
    """SUVbw of a series on a uniform grid: (slices, rows, columns) float32, g/ml.

    Args:
        series: from `read_series`.
        slopes: (slices,) in place of each slice's own Rescale Slope; for demonstration only.
    """
    headers = series.headers
    if slopes is None:
        slopes = [number(ds, "RescaleSlope") for ds in headers]
    shape = (int(number(headers[0], "Rows")), int(number(headers[0], "Columns")))
    result = np.empty((len(headers), *shape), np.float32)
    for ds, slope, factor, plane in zip(
        headers, slopes, series.factor.per_slice, result, strict=True
    ):
        stored = _stored(ds)
        # In float64, then stored as float32: one rounding only.
        np.multiply(stored, slope * factor, out=plane, dtype=np.float64, casting="same_kind")
        if offset := (number(ds, "RescaleIntercept") or 0.0) * factor:
            plane += np.float32(offset)
        padding, other = number(ds, "PixelPaddingValue"), number(ds, "PixelPaddingRangeLimit")
        if padding is not None:
            low, high = sorted((padding, padding if other is None else other))
            plane[(stored >= low) & (stored <= high)] = 0
    return grid.to_uniform(result, series.geometry)


def with_one_slope(series: Series, slice_index: int = 0) -> np.ndarray:
    """The plausible, wrong volume of a reader who applies one slice's Rescale Slope to all slices.

    Many scanners scale every slice to fill 16 bits. The slope of, say, an empty slice above the
    head shrinks every hot lesion.

    Returns:
        (slices, rows, columns) float32, wrong SUV.
    """
    slope = number(series.headers[slice_index], "RescaleSlope")
    return volume(series, np.full(len(series.headers), slope))


def as_image(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """(slices, rows, columns) → RAS+ nibabel image with an empty header."""
    # A transposed view: x stays the fastest axis in memory.
    image = nib.as_closest_canonical(nib.Nifti1Image(values.transpose(2, 1, 0), affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    return image


def read_exam(source: Path | str | Series, notes: Sequence[str] = ()) -> nib.Nifti1Image:
    """A folder with a DICOM PET exam, or a series that `read_series` found → SUVbw image.

    `image.extra` holds `suv` (the SuvFactor) and `notes`. Warns and raises as `petsuv.read`.
    """
    series = source if isinstance(source, Series) else read_series(source)
    values = volume(series)
    sample = values.reshape(-1)[:: stride(values.size)]
    found = check_suv(float(values.min()), float(values.max()), sample, dicom=True)
    image = as_image(values, series.geometry.affine)
    image.extra.update(suv=series.factor, notes=[*notes, *series.notes, *found])
    tell(image.extra["notes"])
    return image


def _read_headers(folder: Path) -> tuple[list[Dataset], str]:
    """Every DICOM image below a folder, and one clause on files that could not be read, or "".

    Other files are passed over. Large pixels stay on disk.
    """
    if not folder.is_dir():
        there = "this is a file, not a folder of slices"
        raise ExamError(there if folder.exists() else "there is no such folder", _GIVE)
    reader = _Reader()
    headers = [ds for file in reader.walk(folder) for ds in reader.open(file) if ds is not None]
    said = "; ".join(f"{n} {what}" for what, n in sorted(reader.faults.items()))
    if not headers:
        but = f", but {said}" if said else ""
        raise ExamError(f"the folder holds no DICOM image{but}", _GIVE, no_pet=True)
    return headers, said


class _Reader:
    """Reads the files of one exam, and counts what it could not read and why."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.room = MAX_UNPACKED

    def walk(self, folder: Path) -> list[str]:
        """Files below a folder, sorted; links are followed, but no folder is entered twice."""
        files, seen = [], set()

        def denied(error: OSError) -> None:
            self.faults["folders that cannot be opened"] += 1

        for root, dirs, names in os.walk(folder, onerror=denied, followlinks=True):
            stat = os.stat(root)
            if (stat.st_dev, stat.st_ino) in seen:
                dirs.clear()
                continue
            seen.add((stat.st_dev, stat.st_ino))
            for name in names:
                file = os.path.join(root, name)
                if name.startswith(".") or name.upper() == "DICOMDIR":
                    continue
                if os.path.isfile(file):  # a pipe would be waited for, for ever
                    files.append(file)
                elif os.path.islink(file):
                    self.faults["links that lead nowhere (fetch what they point to)"] += 1
            if len(files) > MAX_FILES:
                reason = f"the folder holds more than {MAX_FILES:,} files, more than one exam has"
                raise ExamError(reason, "Give the folder of one exam.")
        return sorted(files)

    def open(self, file: str) -> Iterator[Dataset | None]:
        """What one file holds; a packed slice (.dcm.gz) or zip archive is read in memory."""
        low = file.lower()
        try:
            if low.endswith(".zip"):
                with zipfile.ZipFile(file) as archive:
                    for member in archive.infolist()[:MAX_FILES]:
                        locked = member.flag_bits & 1
                        if not (locked or member.is_dir() or member.file_size > MAX_SLICE):
                            with archive.open(member) as f:
                                yield self._packed(f)
            elif low.endswith(".gz") and not low.endswith((*_PACKED, ".nii.gz")):
                with gzip.open(file) as f:
                    yield self._packed(f)
            elif low.endswith(_PACKED):
                self.faults["packed archives that are not opened (unpack them)"] += 1
            elif os.path.splitext(low)[1] not in NOT_DICOM:
                yield self._read(file)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError):
            what = "or unusual zip archives" if low.endswith(".zip") else "gzip files"
            self.faults[f"damaged {what}"] += 1

    def _packed(self, f) -> Dataset | None:
        """One unpacked file, if it looks like DICOM and there is room for it."""
        most = min(MAX_SLICE, self.room)
        raw = f.read(most + 1)
        if raw[128:132] == b"DICM" and len(raw) <= most:
            self.room -= len(raw)
            return self._read(io.BytesIO(raw))
        if raw[128:132] == b"DICM":
            self.faults["packed slices beyond the memory that is allowed (unpack them)"] += 1
        return None

    def _read(self, file: str | io.BytesIO) -> Dataset | None:
        on_disk = isinstance(file, str)
        for force in (False, True):
            try:
                if on_disk and os.path.getsize(file) > MAX_DEFLATED:
                    syntax = read_file_meta_info(file).get("TransferSyntaxUID", "")
                    if syntax == uid.DeflatedExplicitVRLittleEndian:
                        return None
                defer = 100_000 if on_disk else None
                ds = pydicom.dcmread(file, defer_size=defer, specific_tags=_TAGS, force=force)
                if "TransferSyntaxUID" not in ds.file_meta:
                    # Without a preamble it can only be uncompressed.
                    ds.file_meta.TransferSyntaxUID = _UNCOMPRESSED[ds.original_encoding]
                if value(ds, "SOPClassUID") or value(ds, "Modality"):
                    return ds
                if not force:  # it begins as DICOM and ends before it says what it is
                    self.faults["damaged DICOM files"] += 1
                return None
            except InvalidDicomError:
                continue  # old exports lack the preamble: try again without it
            except PermissionError:
                self.faults["files that cannot be opened (ask for the right to read them)"] += 1
                return None
            except Exception:  # noqa: BLE001 - no slice; a lost slice shows up as a gap
                if on_disk and _starts(file)[128:132] == b"DICM":
                    self.faults["damaged DICOM files"] += 1
                return None
        if on_disk and _starts(file).startswith(b"version https://git-lfs"):
            self.faults["Git LFS pointers (fetch the files)"] += 1
        return None


def _starts(file: str) -> bytes:
    try:
        with open(file, "rb") as f:
            return f.read(132)
    except OSError:
        return b""
