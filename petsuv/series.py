"""Is this one PET series fit to be read? Its slices ordered, its copies dropped, its factor derived, or a refusal."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from petsuv import grid, suv
from petsuv.elements import number, stated, tag, text, value, words
from petsuv.errors import ExamError

PET = "1.2.840.10008.5.1.4.1.1.128"
OTHER_PET = {
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET",
}
ALWAYS_LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
PERHAPS_LOSSY = {JPEG2000, HTJ2K}  # lossless only where the header says so


@dataclass(eq=False)
class Series:
    """The slices of one PET series, in order, with what was decided about them.

    Attributes:
        headers: pydicom datasets with pixel data, first plane first.
        geometry: where they lie.
        factor: what turns their values into SUVbw.
        notes: choices made and values put right; nothing in them identifies anybody.
    """

    headers: list[Dataset]
    geometry: grid.Geometry
    factor: suv.SuvFactor
    notes: list[str] = field(default_factory=list)


def _projection(reason: str) -> ExamError:
    error = ExamError(reason, "Give the axial PET series.")
    error.projection = True
    return error


def vet(members: list[Dataset]) -> Series:
    """Order one series and derive its factor from its headers, without a look at pixels.

    Raises:
        ExamError: whatever makes it unfit, by name.
    """
    first = members[0]
    for ds in members:
        _fit_class(ds)
    if text(first, "SeriesType") in ("GATED", "DYNAMIC"):
        raise ExamError(
            f"{tag('SeriesType')} is {text(first, 'SeriesType')}: the series has several time frames",
            "Give the static or whole-body series.",
        )
    notes: list[str] = []
    members = _without_copies(members, notes)
    for ds in members:
        slope = number(ds, "RescaleSlope")
        if slope is None or slope <= 0:
            raise ExamError(
                f"{tag('RescaleSlope')} is missing, unreadable or not above zero in a slice"
            )
        if stated(ds, "RescaleIntercept") and number(ds, "RescaleIntercept") is None:
            raise ExamError(f"{tag('RescaleIntercept')} is unreadable in a slice")
        _refuse_lossy(ds)
    # The tracer and the corrections are judged first: they are what a reader needs to hear about a wrong series.
    factor = suv.factor(members)
    geometry = grid.stack(members)
    ordered = [members[i] for i in geometry.order]
    factor = suv.SuvFactor(
        factor.per_slice[geometry.order], factor.rule, factor.explanation, factor.notes
    )
    return Series(ordered, geometry, factor, [*notes, *factor.notes])


def _refuse_lossy(ds: Dataset) -> None:
    said = value(ds, "LossyImageCompression")
    syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
    remedy = "Export the series uncompressed, or with a lossless compression."
    if said == "01":
        raise ExamError(
            "(0028,2110) Lossy Image Compression is 01: the values are no longer the scanner's",
            remedy,
        )
    if syntax in ALWAYS_LOSSY or (syntax in PERHAPS_LOSSY and said != "00"):
        raise ExamError(
            f"(0002,0010) Transfer Syntax UID is {syntax.name}, which may have lost values, and (0028,2110) does not "
            "rule that out",
            remedy,
        )


def _fit_class(ds: Dataset) -> None:
    uid = text(ds, "SOPClassUID")
    if uid in OTHER_PET:
        raise ExamError(
            f"(0008,0016) the images are {OTHER_PET[uid]} (one multi-frame file), which is not read",
            "Export the series as classic PET, one file per slice.",
        )
    if uid and uid != PET:
        raise _projection(
            "(0008,0016) the SOP class is not PET image storage: a screen capture or a derived object"
        )
    types = words(ds, "ImageType")
    if "REPROJECTION" in words(ds, "SeriesType") or {
        "MIP",
        "PROJECTION",
        "REPROJECTION",
        "SCREEN",
    } & set(types):
        raise _projection(
            f"{tag('SeriesType')} or {tag('ImageType')} says that these are projections (MIP), not slices"
        )
    if re.search(r"(?<![A-Z])MIP(?![A-Z])", text(ds, "SeriesDescription")):
        raise _projection(
            f"{tag('SeriesDescription')} says that these are projections (MIP), not slices"
        )
    if (number(ds, "NumberOfFrames") or 1) > 1:
        raise _projection(
            f"{tag('NumberOfFrames')} is above one in a classic PET image: a capture, not a slice"
        )
    if (number(ds, "SamplesPerPixel") or 1) != 1:
        raise _projection(f"{tag('SamplesPerPixel')} is not 1: a colour picture, not PET values")


def _without_copies(members: list[Dataset], notes: list[str]) -> list[Dataset]:
    """Drop files that repeat a slice; refuse several frames at one place."""
    by_uid: dict[str, Dataset] = {}
    for ds in members:
        by_uid.setdefault(text(ds, "SOPInstanceUID") or str(id(ds)), ds)
    unique = list(by_uid.values())
    copies = len(members) - len(unique)
    along = grid.normal_positions(unique)
    kept: list[Dataset] = []
    last = -np.inf
    for i in np.argsort(along, kind="stable"):
        if along[i] - last > grid.SAME_PLACE_MM:
            kept.append(unique[i])
            last = along[i]
            continue
        if _moment_of(kept[-1]) != _moment_of(unique[i]):
            here = int((np.abs(along - along[i]) <= grid.SAME_PLACE_MM).sum())
            raise ExamError(
                f"{here} time frames lie at the same position ({tag('ImagePositionPatient')}): a dynamic or gated "
                "series",
                "Give the static or whole-body series.",
            )
        if not _same_pixels(kept[-1], unique[i]):
            raise ExamError(
                f"two different images lie at the same position ({tag('ImagePositionPatient')})"
            )
        copies += 1
    if copies:
        notes.append(f"{copies} duplicate file{'s were' if copies > 1 else ' was'} passed over")
    return kept


def _moment_of(ds: Dataset) -> tuple:
    """What tells two time frames or gates of one place apart."""
    return tuple(
        str(value(ds, k))
        for k in (
            "AcquisitionDate",
            "AcquisitionTime",
            "FrameReferenceTime",
            "TriggerTime",
            "TemporalPositionIndex",
        )
    )


def _same_pixels(a: Dataset, b: Dataset) -> bool:
    return (number(a, "RescaleSlope"), number(a, "RescaleIntercept")) == (
        number(b, "RescaleSlope"),
        number(b, "RescaleIntercept"),
    ) and a.get("PixelData") == b.get("PixelData")


__all__ = ["Series", "choose", "vet"]

LONGER = 1.2  # a refused series this much longer than the best readable one is worth an error, not a silent stand-in
# Some exports list ATTN in series whose own description says that attenuation was not corrected.
UNCORRECTED = re.compile(
    r"(?<![A-Z])(NAC|NO[ _-]?AC|NON[ _-]?AC|UNCORR\w*|(NO|NON|WITHOUT)[ _-]ATT\w*)(?![A-Z])"
)
MODALITIES = {
    "CT",
    "MR",
    "NM",
    "OT",
    "SC",
    "SR",
    "SEG",
    "REG",
    "RTSTRUCT",
    "RTDOSE",
    "RTPLAN",
    "PR",
    "KO",
    "DOC",
    "US",
    "CR",
    "DX",
    "XA",
    "MG",
    "RWV",
    "PT",
}  # the words that a message may repeat


def choose(headers: list[Dataset]) -> Series:
    """The attenuation-corrected PET series that covers most of the body.

    Raises:
        ExamError: no PET, several studies, or no series that can be trusted: then with the reason for the longest.
    """
    groups: dict[tuple[str, str], list[Dataset]] = defaultdict(list)
    for ds in headers:
        if text(ds, "Modality") == "PT" or text(ds, "SOPClassUID") in {PET, *OTHER_PET}:
            groups[_key(ds)].append(ds)
    others = Counter(
        m if (m := text(ds, "Modality")) in MODALITIES else "other"
        for ds in headers
        if not any(ds is g for g in groups.get(_key(ds), ()))
    )
    if not groups:
        found = ", ".join(f"{n} {name}" for name, n in sorted(others.items()))
        raise ExamError(
            f"the folder holds no PET images ({found})",
            "Give the folder that holds the PET series.",
        )
    readable, refused = [], []
    for members in groups.values():
        try:
            readable.append(vet(members))
        except ExamError as error:
            refused.append((_length(members), error))
    if len({text(s.headers[0], "StudyInstanceUID") for s in readable}) > 1:
        raise ExamError(
            f"the folder holds PET series of several studies ({tag('StudyInstanceUID')})",
            "Give one exam a folder.",
        )
    refused.sort(key=lambda pair: -pair[0])
    attenuated = [pair for pair in refused if "ATTN" not in pair[1].reason]
    if not readable:
        raise (attenuated or refused)[0][1]
    readable.sort(
        key=lambda s: (
            bool(UNCORRECTED.search(text(s.headers[0], "SeriesDescription"))),
            -np.ptp(s.geometry.positions_mm),
            -len(s.headers),
            number(s.headers[0], "SeriesNumber") or 0,
            text(s.headers[0], "SeriesInstanceUID"),
        )
    )
    best = readable[0]
    reach = float(np.ptp(best.geometry.positions_mm))
    # Only a series of slices counts here: captures and uncorrected twins are as long as the exam by nature.
    if (
        attenuated
        and attenuated[0][0] > LONGER * reach
        and not getattr(attenuated[0][1], "projection", False)
    ):
        raise attenuated[0][1]
    if UNCORRECTED.search(text(best.headers[0], "SeriesDescription")):
        best.notes.append(
            f"{tag('CorrectedImage')} lists ATTN, but {tag('SeriesDescription')} says uncorrected"
        )
    if len(groups) > 1:
        best.notes.append(
            f"{len(groups)} PET series in the folder: the attenuation-corrected one of {len(best.headers)} slices "
            f"over {reach:.0f} mm was taken"
            + (f", the longest of {len(readable)} that can be read" if len(readable) > 1 else "")
            + "".join(f"; refused: {error.reason}" for _, error in refused)
        )
    if others:
        best.notes.append(
            "not PET, passed over: "
            + ", ".join(f"{n} {name}" for name, n in sorted(others.items()))
        )
    return best


def _key(ds: Dataset) -> tuple[str, str]:
    """A capture that some workstations file under the series it shows is a group of its own."""
    return text(ds, "SeriesInstanceUID"), text(ds, "SOPClassUID")


def _length(members: list[Dataset]) -> float:
    try:
        return float(np.ptp(grid.normal_positions(members)))
    except ExamError:
        return 0.0
