"""Every DICOM image below a folder, read quickly and without what identifies a patient."""

import gzip
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from petsuv.elements import PRIVATE, value
from petsuv.errors import ExamError

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


def read_headers(folder: Path) -> tuple[list[Dataset], str]:
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

    def open(self, file: str) -> list[Dataset | None]:
        """What one file holds; a packed slice (.dcm.gz) or zip archive is read in memory."""
        low = file.lower()
        if low.endswith(".zip") or (
            low.endswith(".gz") and not low.endswith((*_PACKED, ".nii.gz"))
        ):
            return [self._read(io.BytesIO(raw)) for raw in self._unpacked(file)]
        if low.endswith(_PACKED):
            self.faults["packed archives that are not opened (unpack them)"] += 1
        elif os.path.splitext(low)[1] not in NOT_DICOM:
            return [self._read(file)]
        return []

    def _unpacked(self, file: str) -> Iterator[bytes]:
        """The DICOM files inside a packed one, as far as there is room for them."""
        is_zip = file.lower().endswith(".zip")
        try:
            if not is_zip:
                with gzip.open(file) as f:
                    yield from self._with_room(f)
                return
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist()[:MAX_FILES]:
                    if not (
                        member.is_dir() or member.flag_bits & 1 or member.file_size > MAX_SLICE
                    ):
                        with archive.open(member) as f:
                            yield from self._with_room(f)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError):
            self.faults["damaged or unusual zip archives" if is_zip else "damaged gzip files"] += 1

    def _with_room(self, f) -> Iterator[bytes]:
        """One unpacked file, if it looks like DICOM and there is room for it."""
        most = min(MAX_SLICE, self.room)
        raw = f.read(most + 1)
        if raw[128:132] == b"DICM" and len(raw) > most:
            self.faults["packed slices beyond the memory that is allowed (unpack them)"] += 1
        elif raw[128:132] == b"DICM":
            self.room -= len(raw)
            yield raw

    def _read(self, file: str | io.BytesIO) -> Dataset | None:
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


def _deflated(file: str) -> bool:
    """Is the whole file, not only its pixels, packed by zlib?"""
    meta = pydicom.filereader.read_file_meta_info(file)
    return str(meta.get("TransferSyntaxUID", "")) == uid.DeflatedExplicitVRLittleEndian
