"""From a folder of whatever a PACS exported to the one PET series worth reading."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from petsuv import elements, grid, suv
from petsuv.elements import lack, number, stated, tag, text, value, words
from petsuv.errors import ExamError

PET = "1.2.840.10008.5.1.4.1.1.128"
OTHER_PET = {
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET",
}
ALWAYS_LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
PERHAPS_LOSSY = {JPEG2000, HTJ2K}  # lossless only where the header says so
FOREIGN = 0.1  # a share of images of another kind in a series that is passed over
LONGER = 1.2  # a refused series this much longer than the best readable one raises its fault
# Some exports list ATTN in series whose own description says that it was not corrected.
UNCORRECTED = re.compile(
    r"(?<![A-Z])"
    r"(NAC|NO[ _-]?AC|NON[ _-]?AC|UNCORR\w*|(NO|NON|WITHOUT)[ _-]ATT\w*)(?![A-Z])"
)
# The words that a message may repeat.
MODALITIES = set(
    "CT MR NM OT SC SR SEG REG RTSTRUCT RTDOSE RTPLAN PR KO DOC US CR DX XA MG RWV PT".split()
)
PROJECTED = {"MIP", "PROJECTION", "REPROJECTION", "SCREEN"}  # in Image Type


@dataclass(eq=False)
class Series:
    """The slices of one PET series, in order, with what was decided about them."""

    headers: list[Dataset]  # pydicom datasets with pixel data, first plane first
    geometry: grid.Geometry  # where they lie
    factor: suv.SuvFactor  # what turns their values into SUVbw
    notes: list[str]  # choices made and values put right; nothing in them identifies anybody

    @property
    def reach_mm(self) -> float:
        return float(np.ptp(self.geometry.positions_mm))

    @property
    def says_uncorrected(self) -> bool:
        return bool(UNCORRECTED.search(text(self.headers[0], "SeriesDescription")))


def vet(members: list[Dataset]) -> Series:
    """Order one series and derive its factor from its headers, without a look at pixels."""
    notes: list[str] = []
    members = _without_foreign(members, notes)
    foreign = "".join(f"; {note}" for note in notes)
    members = _without_copies(members, notes)
    for ds in members:
        slope = number(ds, "RescaleSlope")
        if slope is None or slope <= 0:
            state = lack(ds, "RescaleSlope") if slope is None else "not above zero"
            raise ExamError(f"{tag('RescaleSlope')} is {state} in a slice")
        if stated(ds, "RescaleIntercept") and number(ds, "RescaleIntercept") is None:
            raise ExamError(f"{tag('RescaleIntercept')} is unreadable in a slice")
        _refuse_lossy(ds)
    # Tracer and corrections come first: a reader needs to hear of them about a wrong series.
    factor = suv.factor(members)
    try:
        geometry = grid.stack(members)
    except ExamError as error:  # a missing slice may be there, cut short or of another size
        raise ExamError(error.reason + foreign, error.remedy) from None
    said = number(members[0], "NumberOfSlices")
    if said and len(members) > said:
        notes.append(f"{tag('NumberOfSlices')} is {said:.0f}, but {len(members)} were read")
    factor = replace(factor, per_slice=factor.per_slice[geometry.order])
    return Series([members[i] for i in geometry.order], geometry, factor, [*notes, *factor.notes])


def _grouped(members: list[Dataset], key: Callable) -> dict[object, list[Dataset]]:
    found = defaultdict(list)
    for ds in members:
        found[key(ds)].append(ds)
    return found


def _without_foreign(members: list[Dataset], notes: list[str]) -> list[Dataset]:
    """Drop a few images of another kind (a capture, another size or direction) from a series."""
    faults: dict[str, ExamError] = {}

    def kind(ds: Dataset):
        """Size, spacing and direction, rounded: what all slices share; or the fault."""
        try:
            _fit_class(ds)
            spacing, axes = np.round(grid.spacing(ds), 3), np.round(grid.orientation(ds), 2)
        except ExamError as error:
            faults[error.reason] = error
            return error.reason
        return (number(ds, "Rows"), number(ds, "Columns"), *spacing, *axes.ravel())

    kinds = _grouped(members, kind)
    most = max(kinds, key=lambda kind: len(kinds[kind]))
    strangers = len(members) - len(kinds[most])
    if most in faults:
        raise faults[most]
    if strangers > FOREIGN * len(members):
        if faults:
            raise next(iter(faults.values()))
        return members  # `grid` says in which element they differ
    if strangers:
        notes.append(
            f"{strangers} of {len(members)} images of the series are of another kind (size, "
            "direction or class) and were passed over"
        )
    return kinds[most]


def _refuse_lossy(ds: Dataset) -> None:
    said = number(ds, "LossyImageCompression")
    syntax = getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None)
    remedy = "Export the series uncompressed, or with a lossless compression."
    if said == 1:
        raise ExamError("(0028,2110) Lossy Image Compression is 01: values have been lost", remedy)
    if syntax in ALWAYS_LOSSY or (syntax in PERHAPS_LOSSY and said != 0):
        reason = f"(0002,0010) Transfer Syntax UID is {syntax.name}, which may have lost values"
        raise ExamError(f"{reason}, and (0028,2110) does not rule that out", remedy)


def _fit_class(ds: Dataset) -> None:
    """Refuse what is no classic PET slice."""
    uid = text(ds, "SOPClassUID")
    if uid in OTHER_PET:
        raise ExamError(
            f"(0008,0016) the images are {OTHER_PET[uid]} (one multi-frame file): not read",
            "Export the series as classic PET, one file per slice.",
        )
    mips = "says that these are projections (MIP), not slices"
    frames, description = tag("NumberOfFrames"), text(ds, "SeriesDescription")
    if uid and uid != PET:
        what = "a screen capture or a derived object"
        reason = f"(0008,0016) the SOP class is not PET image storage: {what}"
    elif "REPROJECTION" in words(ds, "SeriesType") or PROJECTED & set(words(ds, "ImageType")):
        reason = f"{tag('SeriesType')} or {tag('ImageType')} {mips}"
    elif re.search(r"(?<![A-Z])MIP(?![A-Z])", description):
        reason = f"{tag('SeriesDescription')} {mips}"
    elif (number(ds, "NumberOfFrames") or 1) > 1:
        reason = f"{frames} is above one in a classic PET image: a capture, not a slice"
    elif (number(ds, "SamplesPerPixel") or 1) != 1:
        reason = f"{tag('SamplesPerPixel')} is not 1: a colour picture, not PET values"
    else:
        return
    raise ExamError(reason, "Give the axial PET series.", projection=True)


def _without_copies(members: list[Dataset], notes: list[str]) -> list[Dataset]:
    """Drop files that repeat a slice: place and pixels decide. Refuse several frames at a place."""
    along = grid.normal_positions(members)
    where = f"lie at the same position ({tag('ImagePositionPatient')})"
    kept: list[Dataset] = []
    last = -np.inf
    for i in np.argsort(along, kind="stable"):
        if along[i] - last > grid.SAME_PLACE_MM:
            kept.append(members[i])
            last = along[i]
        elif _frame(kept[-1]) != _frame(members[i]):
            here = int((np.abs(along - along[i]) <= grid.SAME_PLACE_MM).sum())
            reason = f"{here} time frames {where}: a dynamic or gated series"
            raise ExamError(reason, "Give the static or whole-body series.")
        elif _pixels(kept[-1]) != _pixels(members[i]):
            raise ExamError(f"two different images {where}")
    copies = len(members) - len(kept)
    if copies:
        notes.append(f"{copies} duplicate file{'s were' if copies > 1 else ' was'} passed over")
    known = [uid for ds in kept if (uid := text(ds, "SOPInstanceUID"))]
    if len(set(known)) < len(known):
        said = "is shared by slices at different positions; all were kept"
        notes.append(f"{tag('SOPInstanceUID')} {said}")
    return kept


def _frame(ds: Dataset) -> tuple:
    """What tells two time frames or gates of one place apart, by value."""
    keywords = ("FrameReferenceTime", "TriggerTime", "TemporalPositionIndex")
    date, time = value(ds, "AcquisitionDate"), value(ds, "AcquisitionTime")
    return elements.day(date), elements.clock(time), *(number(ds, k) for k in keywords)


def _pixels(ds: Dataset) -> tuple:
    return number(ds, "RescaleSlope"), number(ds, "RescaleIntercept"), ds.get("PixelData")


def _groups(members: list[Dataset], notes: list[str]) -> list[list[Dataset]]:
    """PET images by series: by Series Instance UID, unless content says that it means nothing.

    Groups of equal content whose slices lie at different places are one series; a group with
    several images at a place and several contents is several series.
    """
    # A capture that some workstations file under the series it shows is a group of its own.
    by_uid = _grouped(members, lambda ds: (text(ds, "SeriesInstanceUID"), text(ds, "SOPClassUID")))
    by_content: dict[tuple, list[list[Dataset]]] = defaultdict(list)
    for group in by_uid.values():
        by_content[_content(group[0])].append(group)
    uid, result = tag("SeriesInstanceUID"), []
    for alike in by_content.values():
        joined = [ds for group in alike for ds in group]
        if len(alike) > 1 and _places(joined) == len(joined):
            said = f"differs between {len(alike)} parts of one series; they were joined by position"
            notes.append(f"{uid} {said}")
            result.append(joined)
            continue
        for group in alike:
            parts = list(_grouped(group, _content).values())
            if len(parts) > 1 and min(map(len, parts)) > 1 and _places(group) < len(group):
                said = f"is shared by {len(parts)} series; they were told apart by content"
                notes.append(f"{uid} {said}")
                result += parts
            else:
                result.append(group)
    return result


def _places(members: list[Dataset]) -> int:
    """At how many places the images lie, to a hundredth of a millimetre."""
    found = [elements.numbers(ds, "ImagePositionPatient", 3) or [id(ds), 0, 0] for ds in members]
    return len({tuple(np.round(place, 2)) for place in found})


def _content(ds: Dataset) -> tuple:
    """What the slices of one series share, whatever their identifiers say."""
    drug = next(iter(elements.items(ds, suv.INJECTION)), Dataset())
    return (
        *(frozenset(words(ds, k)) for k in ("SOPClassUID", "ImageType", "Units", "CorrectedImage")),
        *(text(ds, k) for k in ("SeriesDescription", "DecayCorrection", "SUVType")),
        *(number(ds, k) for k in ("Rows", "Columns", "PatientWeight")),
        *(number(drug, k) for k in ("RadionuclideTotalDose", "RadionuclideHalfLife")),
        elements.day(value(ds, "SeriesDate")),
        elements.clock(value(ds, "SeriesTime")),
        elements.clock(value(drug, "RadiopharmaceuticalStartTime")),
    )


def _is_pet(ds: Dataset) -> bool:
    return text(ds, "Modality") == "PT" or text(ds, "SOPClassUID") in {PET, *OTHER_PET}


def choose(headers: list[Dataset]) -> Series:
    """The attenuation-corrected PET series that covers most of the body.

    Where none can be trusted, the error of the longest is raised.
    """
    notes: list[str] = []
    groups = _groups([ds for ds in headers if _is_pet(ds)], notes)
    modalities = [text(ds, "Modality") for ds in headers if not _is_pet(ds)]
    counts = Counter(m if m in MODALITIES else "other" for m in modalities)
    others = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    if not groups:
        reason = f"the folder holds no PET images ({others})"
        raise ExamError(reason, "Give the folder that holds the PET series.", no_pet=True)
    readable, refused = [], []
    for members in groups:
        try:
            readable.append(vet(members))
        except ExamError as error:
            refused.append((_length(members), error))
    if len({text(s.headers[0], "StudyInstanceUID") for s in readable}) > 1:
        reason = f"the folder holds PET series of several studies ({tag('StudyInstanceUID')})"
        raise ExamError(reason, "Give one exam a folder.")
    refused.sort(key=lambda pair: -pair[0])
    attenuated = [pair for pair in refused if "ATTN" not in pair[1].reason]
    if not readable:
        if len(groups) > 2 and max(map(len, groups)) == 1:
            raise ExamError(
                f"every one of {len(groups)} slices has its own {tag('SeriesInstanceUID')}, and "
                "their contents differ or they lie at the same place: which belong together is "
                "unknown"
            )
        raise (attenuated or refused)[0][1]
    best = min(readable, key=_rank)
    # Only a series of slices counts here: captures and uncorrected twins are as long by nature.
    if attenuated and attenuated[0][0] > LONGER * best.reach_mm and not attenuated[0][1].projection:
        raise attenuated[0][1]
    best.notes += notes
    if best.says_uncorrected:
        said = f"{tag('SeriesDescription')} says uncorrected"
        best.notes.append(f"{tag('CorrectedImage')} lists ATTN, but {said}")
    if len(groups) > 1:
        several = f", the longest of {len(readable)} that can be read" if len(readable) > 1 else ""
        best.notes.append(
            f"{len(groups)} PET series in the folder: the attenuation-corrected one of "
            f"{len(best.headers)} slices over {best.reach_mm:.0f} mm was taken{several}"
            + "".join(f"; refused: {error.reason}" for _, error in refused)
        )
    if others:
        best.notes.append(f"not PET, passed over: {others}")
    return best


def _rank(series: Series) -> tuple:
    """The best first: corrected, long, of many slices."""
    first = series.headers[0]
    names = number(first, "SeriesNumber") or 0, text(first, "SeriesInstanceUID")
    return series.says_uncorrected, -series.reach_mm, -len(series.headers), *names


def _length(members: list[Dataset]) -> float:
    try:
        return float(np.ptp(grid.normal_positions(members)))
    except ExamError:
        return 0.0
