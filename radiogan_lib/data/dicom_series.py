"""From a folder of whatever a PACS exported to the one PET series worth reading, and why the others are not."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
from pydicom.dataset import Dataset

from radiogan_lib.data import dicom_geometry
from radiogan_lib.data.dicom_values import number, tag, text
from radiogan_lib.data.dicom_vet import OTHER_PET, PET, Series, vet
from radiogan_lib.data.errors import ExamError

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
        return float(np.ptp(dicom_geometry.normal_positions(members)))
    except ExamError:
        return 0.0
