"""Every DICOM image below a folder, read quickly and without what identifies a patient."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from petsuv.elements import PRIVATE, value
from petsuv.errors import ExamError

MAX_FILES = 20_000  # a folder with more holds many exams; a cohort has one row per exam
MAX_DEFLATED = (
    1 << 20
)  # bytes; pydicom unpacks a deflated file whole, and it may grow a thousandfold. No slice is this large
MAX_SLICE = 64 << 20  # bytes of one packed slice; no slice is this large
MAX_UNPACKED = 1500 << 20  # bytes of all packed slices of a folder, which stay in memory
NOT_DICOM = set(
    ".nii .gz .zip .json .txt .csv .png .jpg .jpeg .pdf .xml .html .md .bvec .bval .nrrd .mha .npy .xlsx .ipynb".split()
)
_PACKED = (".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_UNCOMPRESSED = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
# Parsing only what is used takes two thirds of the time off, and nothing that identifies a patient is read at all.
_KEYWORDS = """
SOPClassUID SOPInstanceUID Manufacturer StudyInstanceUID SeriesInstanceUID Modality ImageType SeriesType
SeriesDescription SeriesNumber Units SUVType DecayCorrection CorrectedImage PatientWeight PatientSize PatientSex
StudyDate SeriesDate SeriesTime AcquisitionDate AcquisitionTime AcquisitionDateTime TimezoneOffsetFromUTC
SpecificCharacterSet FrameReferenceTime ActualFrameDuration DecayFactor TriggerTime TemporalPositionIndex NumberOfSlices
RadiopharmaceuticalInformationSequence ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns
NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit
PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept LossyImageCompression
PixelData FloatPixelData
DoubleFloatPixelData
""".split()
_TAGS = [Tag(k) for k in _KEYWORDS] + [
    Tag(g, e)
    for g, low, _ in PRIVATE.values()
    for b in range(0x10, 0x20)
    for e in (b, b << 8 | low)
]


def read_headers(folder: Path) -> tuple[list[Dataset], str]:
    """Every DICOM image below a folder; other files are passed over. Large pixel data stay on disk until used.

    Links are followed, each folder once. Slices packed one by one (.dcm.gz) and zip archives are read in memory.

    Returns:
        the headers; and one clause on files that could not be read, or "".

    Raises:
        ExamError: no such folder, too many files, or nothing DICOM in it: then with what is there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExamError(
            "there is no such folder"
            if not folder.exists()
            else "this is a file, not a folder of slices",
            "Give the folder that holds the slices of one exam.",
        )
    faults: Counter[str] = Counter()
    headers, budget = [], [MAX_UNPACKED]
    for file in _walk(folder, faults):
        low = file.lower()
        if low.endswith(".zip"):
            headers += _from_zip(file, faults, budget)
        elif low.endswith(".gz") and not low.endswith((*_PACKED, ".nii.gz")):
            headers += _from_gzip(file, faults, budget)
        elif low.endswith(_PACKED):
            faults["packed archives that are not opened (unpack them)"] += 1
        elif os.path.splitext(low)[1] not in NOT_DICOM:
            headers.append(_read(file, faults))
    headers = [ds for ds in headers if ds is not None]
    said = "; ".join(f"{n} {what}" for what, n in sorted(faults.items()))
    if not headers:
        error = ExamError(
            "the folder holds no DICOM image" + (f", but {said}" if said else ""),
            "Give the folder that holds the slices of one exam.",
        )
        error.no_pet = True
        raise error
    return headers, said


def _walk(folder: Path, faults: Counter) -> list[str]:
    """Files below a folder, sorted; links to folders are followed, but none is entered twice."""
    files, seen, todo = [], set(), [str(folder)]

    def denied(error: OSError) -> None:
        faults["folders that cannot be opened"] += 1

    while todo:
        for root, dirs, names in os.walk(todo.pop(), onerror=denied, followlinks=True):
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
                    faults["links that lead nowhere (fetch what they point to)"] += 1
            if len(files) > MAX_FILES:
                raise ExamError(
                    f"the folder holds more than {MAX_FILES:,} files, more than one exam has",
                    "Give the folder of one exam.",
                )
    return sorted(files)


def _from_gzip(file: str, faults: Counter, budget: list[int]) -> list[Dataset | None]:
    try:
        with gzip.open(file) as f:
            raw = f.read(min(MAX_SLICE, budget[0]) + 1)
    except (OSError, EOFError, zlib.error):
        faults["damaged gzip files"] += 1
        return []
    return _from_memory(raw, faults, budget)


def _from_zip(file: str, faults: Counter, budget: list[int]) -> list[Dataset | None]:
    found = []
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[:MAX_FILES]:
                if member.is_dir() or member.flag_bits & 1 or member.file_size > MAX_SLICE:
                    continue
                with archive.open(member) as f:
                    found += _from_memory(f.read(min(MAX_SLICE, budget[0]) + 1), faults, budget)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        faults["damaged or unusual zip archives"] += 1
    return found


def _from_memory(raw: bytes, faults: Counter, budget: list[int]) -> list[Dataset | None]:
    """One unpacked file, if it looks like DICOM and the memory for unpacked files is not used up."""
    if raw[128:132] != b"DICM":
        return []
    if len(raw) > MAX_SLICE or len(raw) > budget[0]:
        faults["packed slices beyond the memory that is allowed (unpack them)"] += 1
        return []
    budget[0] -= len(raw)
    return [_read(io.BytesIO(raw), faults)]


def _read(file: str | io.BytesIO, faults: Counter) -> Dataset | None:
    on_disk = isinstance(file, str)
    for force in (False, True):
        try:
            if on_disk and os.path.getsize(file) > MAX_DEFLATED and _deflated(file):
                return None
            defer = 100_000 if on_disk else None
            ds = pydicom.dcmread(file, defer_size=defer, specific_tags=_TAGS, force=force)
            if "TransferSyntaxUID" not in ds.file_meta:
                # Without a preamble it can only be uncompressed.
                ds.file_meta.TransferSyntaxUID = _UNCOMPRESSED[ds.original_encoding]
            return ds if value(ds, "SOPClassUID") or value(ds, "Modality") else None
        except InvalidDicomError:
            continue  # old exports lack the preamble: try again without it
        except PermissionError:
            faults["files that cannot be opened (ask for the right to read them)"] += 1
            return None
        except Exception:  # noqa: BLE001 - a damaged or foreign file is no slice; a lost slice shows up as a gap
            if on_disk and _starts(file)[128:132] == b"DICM":
                faults["damaged DICOM files"] += 1
            return None
    if on_disk and _starts(file).startswith(b"version https://git-lfs"):
        faults["Git LFS pointers (fetch the files)"] += 1
    return None


def _starts(file: str) -> bytes:
    try:
        with open(file, "rb") as f:
            return f.read(132)
    except OSError:
        return b""


def _deflated(file: str) -> bool:
    """Is the whole file, not only its pixels, packed by zlib?"""
    return (
        str(pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID", ""))
        == DeflatedExplicitVRLittleEndian
    )
