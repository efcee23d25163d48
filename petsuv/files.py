"""Every DICOM image below a folder, read quickly and without what identifies a patient."""

from __future__ import annotations

import os
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

from petsuv.elements import value
from petsuv.errors import ExamError

MAX_FILES = 20_000  # a folder with more holds many exams; a cohort has one row per exam
MAX_DEFLATED = (
    1 << 20
)  # bytes; pydicom unpacks a deflated file whole, and it may grow a thousandfold. No slice is this large
NOT_DICOM = {
    ".nii",
    ".gz",
    ".zip",
    ".json",
    ".txt",
    ".csv",
    ".png",
    ".jpg",
    ".jpeg",
    ".pdf",
    ".xml",
    ".html",
    ".md",
    ".bvec",
    ".bval",
    ".nrrd",
    ".mha",
    ".npy",
    ".xlsx",
    ".ipynb",
}
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
FrameReferenceTime ActualFrameDuration DecayFactor TriggerTime TemporalPositionIndex NumberOfSlices
RadiopharmaceuticalInformationSequence ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns
NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit
PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept LossyImageCompression
PixelData FloatPixelData
DoubleFloatPixelData
""".split()
_TAGS = [Tag(k) for k in _KEYWORDS] + [
    Tag(g, e)
    for g, low in ((0x7053, (0x00, 0x09)), (0x0009, (0x0D,)))
    for b in range(0x10, 0x20)
    for e in [b, *(b << 8 | x for x in low)]
]


def read_headers(folder: Path) -> list[Dataset]:
    """Every DICOM image below a folder; other files are passed over. Large pixel data stay on disk until used.

    Raises:
        ExamError: no such folder, too many files, or nothing DICOM in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExamError(
            "there is no such folder"
            if not folder.exists()
            else "this is a file, not a folder of slices",
            "Give the folder that holds the slices of one exam.",
        )
    files = [
        os.path.join(root, name)
        for root, dirs, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
        and name.upper() != "DICOMDIR"
        and os.path.splitext(name)[1].lower() not in NOT_DICOM
        and os.path.isfile(os.path.join(root, name))  # a pipe would be waited for, for ever
    ]
    if len(files) > MAX_FILES:
        raise ExamError(
            f"the folder holds {len(files)} files, more than one exam has",
            "Give the folder of one exam.",
        )
    headers = [ds for ds in map(_read, sorted(files)) if ds is not None]
    if not headers:
        raise ExamError(
            "the folder holds no DICOM image", "Give the folder that holds the slices of one exam."
        )
    return headers


def _read(file: str) -> Dataset | None:
    for force in (False, True):
        try:
            if os.path.getsize(file) > MAX_DEFLATED and _deflated(file):
                return None
            ds = pydicom.dcmread(file, defer_size=100_000, specific_tags=_TAGS, force=force)
            if (
                "TransferSyntaxUID" not in ds.file_meta
            ):  # without a preamble it can only be uncompressed
                ds.file_meta.TransferSyntaxUID = _UNCOMPRESSED[ds.original_encoding]
            return ds if value(ds, "SOPClassUID") or value(ds, "Modality") else None
        except InvalidDicomError:
            continue  # old exports lack the preamble: try again without it
        except Exception:  # noqa: BLE001 - a damaged or foreign file is no slice; a lost slice shows up as a gap
            return None
    return None


def _deflated(file: str) -> bool:
    """Is the whole file, not only its pixels, packed by zlib?"""
    return (
        str(pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID", ""))
        == DeflatedExplicitVRLittleEndian
    )
