"""Which instant the voxel values of a PET series belong to, and when the tracer was injected.

The decay between the two decides the SUV: one minute is 0.6 %, and the wrong tag out of four candidates 5 to 25 %.
The order of the candidates follows the QIBA vendor-neutral pseudo-code (qibawiki.rsna.org, "Standardized Uptake
Value") and the manual of the IBSI SUV project (oncoray.github.io/suv_computation).
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from petsuv.elements import (
    clock,
    day,
    lack,
    moment,
    number,
    private,
    stated,
    tag,
    text,
    utc_offset,
    value,
)
from petsuv.errors import ExamError

DAY = timedelta(days=1)
AGREE_S = 2.0  # slices whose back-computed starts differ by more do not share one
OVERNIGHT = timedelta(hours=18)  # no scan lasts this long: such a difference is a midnight
NEAR_MIDNIGHT = timedelta(
    hours=1
)  # a scan this close to 00:00:00 may begin there; any other was never entered
NOTED_SHARE, REFUSED_SHARE = 0.02, 0.05  # of SUV, between two elements that say the same thing
UPTAKE_MIN = (
    10,
    360,
)  # minutes from injection to scan; later F-18 is gone, earlier nothing is taken up
EARLY_MIN = 20  # below this an uptake is worth a note
FRAME_TIME = tag("FrameReferenceTime")
GE_INJECTION = "GE's private time of administration (0009,xx3B)"
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_QUARTER = timedelta(minutes=15)  # time zones differ by whole quarters of an hour
_NOMINAL = datetime(
    2000, 1, 1
)  # when an anonymiser removed every date, the times of day still say what is needed


def acquired(ds: Dataset) -> datetime | None:
    """Start of this slice's acquisition: Acquisition Date + Time, else Acquisition DateTime (local time).

    Without an Acquisition Date the series' date stands in, or the next day where the time of day is so much earlier
    than Series Time that the scan must have run past midnight.
    """
    time = clock(value(ds, "AcquisitionTime"))
    if time is None:
        return moment(
            value(ds, "AcquisitionDateTime"), utc_offset(value(ds, "TimezoneOffsetFromUTC"))
        )
    date = day(value(ds, "AcquisitionDate"))
    if date is None:
        date = day(value(ds, "SeriesDate")) or day(value(ds, "StudyDate")) or _NOMINAL
        begun = clock(value(ds, "SeriesTime"))
        if begun is not None and begun - time > OVERNIGHT:
            date += DAY
    return date + time


def acquisitions(headers: Sequence[Dataset]) -> list[datetime | None]:
    """`acquired` of every slice; times of one scan that lie most of a day apart on one date ran past midnight."""
    starts = [acquired(ds) for ds in headers]
    known = [start for start in starts if start is not None]
    zeros = [_is_midnight(start) for start in known]
    if any(zeros):
        others = [
            min(s - _midnight(s), _midnight(s) + DAY - s) for s in known if not _is_midnight(s)
        ]
        if not others or max(others) > NEAR_MIDNIGHT:
            raise ExamError(
                f"{tag('AcquisitionTime')} is 00:00:00, a placeholder, in {sum(zeros)} of {len(starts)} slices"
            )
    if (
        known
        and max(known) - min(known) > OVERNIGHT
        and len({start.date() for start in known}) == 1
    ):
        late = max(known)
        starts = [
            start + DAY if start is not None and late - start > OVERNIGHT else start
            for start in starts
        ]
    return starts


def series_start(ds: Dataset) -> datetime | None:
    """Series Date + Time."""
    time = clock(value(ds, "SeriesTime"))
    date = (
        day(value(ds, "SeriesDate"))
        or day(value(ds, "AcquisitionDate"))
        or day(value(ds, "StudyDate"))
    )
    return (date or _NOMINAL) + time if time is not None else None


def average_activity_time(duration_s: float, half_life_s: float) -> float:
    """Seconds after the start of a frame at which a decaying source has its mean count rate (DICOM C.8.9.4.1.5).

    T_ave = ln(λT / (1 − e^(−λT))) / λ with λ = ln 2 / half-life: slightly before the middle of the frame.
    """
    decay = math.log(2) / half_life_s
    return math.log(decay * duration_s / -math.expm1(-decay * duration_s)) / decay


def effect(difference: timedelta, half_life_s: float) -> float:
    """By which share two instants that differ by this make SUV differ: 0.05 is 5 %."""
    return 2 ** (abs(difference.total_seconds()) / half_life_s) - 1


def reference_time(
    headers: Sequence[Dataset], half_life_s: float, notes: list[str]
) -> tuple[datetime, bool, str]:
    """The instant that Decay Correction START corrected every slice to.

    In order: Series Date/Time if it is not after the earliest acquisition (after means a later reconstruction);
    a private scan time; back-computed from Frame Reference Time where every slice gives the same instant; the
    earliest acquisition. What else the header says about it must agree to 5 % of SUV.

    Args:
        headers: the slices of one series.
        half_life_s: of the radionuclide, seconds.
        notes: gets a sentence for every difference of more than 2 %.

    Returns:
        local time; whether another element confirms it; and one sentence (without any date) on where it comes from.

    Raises:
        ExamError: no acquisition time to judge by, or elements that contradict each other.
    """
    hints = _hints(headers, half_life_s)
    scan = hints.get("the private scan time")
    starts = acquisitions(headers)
    series = series_start(headers[0])
    if None in starts:
        if scan is not None:
            why = (
                "the reference is the private scan time: Acquisition Time is missing or unreadable"
            )
            return scan, False, why
        raise ExamError(
            f"{tag('AcquisitionTime')} is {lack(headers[starts.index(None)], 'AcquisitionTime')} in "
            f"{starts.count(None)} of {len(starts)} slices; the time that the decay correction refers to is unknown"
        )
    first = min(starts)
    unfit = "Series Time is later than the scan"
    if series is None:
        unfit = f"Series Time is {lack(headers[0], 'SeriesTime')}"
    elif _is_midnight(series) and first - series > NEAR_MIDNIGHT:
        series, unfit = None, "Series Time is 00:00:00, a placeholder"
        notes.append(f"{tag('SeriesTime')} is 00:00:00 and was taken for a placeholder")
    if series is not None and series <= first:
        if first - series >= DAY:
            raise ExamError(
                f"{tag('SeriesDate')} lies a day or more before {tag('AcquisitionDate')}; "
                "the dates contradict each other"
            )
        chosen, why = series, "Series Time: it is not after the earliest acquisition"
    elif scan is not None:
        chosen, why = scan, f"the private scan time: {unfit}"
    elif (computed := _back_computed(headers, starts, half_life_s)) is not None:
        chosen, why = computed, f"back-computed from Frame Reference Time: {unfit}"
    else:
        chosen, why = first, f"the earliest Acquisition Time: {unfit}"
        notes.append(f"{unfit}; the earliest {tag('AcquisitionTime')} was taken as the reference")
    confirmed = _cross_check(chosen, first, hints, half_life_s, notes)
    if not confirmed and effect(first - chosen, half_life_s) > REFUSED_SHARE:
        raise ExamError(
            f"{tag('SeriesTime')} lies {(first - chosen).total_seconds() / 60:.0f} min before "
            f"{tag('AcquisitionTime')}, and neither {tag('FrameReferenceTime')} nor {tag('DecayFactor')} confirms "
            "that the values are corrected to it"
        )
    return chosen, confirmed, f"the reference is {why}"


def _cross_check(chosen, first, hints, half_life_s: float, notes: list[str]) -> bool:
    """Does a hint confirm the reference? A contradiction of more than 5 % of SUV is refused, of 2 % noted."""
    confirmed = False
    for name, instant in hints.items():
        share = effect(instant - chosen, half_life_s)
        confirmed = confirmed or share <= NOTED_SHARE
        if share <= NOTED_SHARE:
            continue
        said = f"{name} and the time of the series differ by {share:.0%} of SUV"
        # Some scanners write the start of the whole series as Acquisition Time of every slice.
        same = name == FRAME_TIME and abs(chosen - first) <= timedelta(seconds=5)
        if share > REFUSED_SHARE and not same:
            raise ExamError(f"{said}; the elements contradict each other")
        notes.append(f"{said}; the time of the series was followed")
    return confirmed


def _hints(headers: Sequence[Dataset], half_life_s: float) -> dict[str, datetime]:
    """What else the headers say about the instant of the values: element → local time.

    Where all slices share one Acquisition Time, only the earliest frame tells: hence the latest instant.
    """
    zone = utc_offset(value(headers[0], "TimezoneOffsetFromUTC"))
    found = {}
    for name in ("ge_scan_time", "siemens_scan_time"):
        if (scan := moment(private(headers[0], name), zone)) is not None:
            found["the private scan time"] = scan
            break
    by_frame, by_decay = [], []
    to_start = _counts_to_frame_start(headers[0], half_life_s)
    for ds, start in zip(headers, acquisitions(headers), strict=True):
        reference_ms, duration_ms, factor = (
            number(ds, k) for k in ("FrameReferenceTime", "ActualFrameDuration", "DecayFactor")
        )
        if start is None or not duration_ms or duration_ms <= 0:
            continue
        average_s = average_activity_time(duration_ms / 1000, half_life_s)
        if reference_ms and reference_ms > 0:
            before_s = reference_ms / 1000 - (0 if to_start else average_s)
            by_frame.append(start - timedelta(seconds=min(before_s, 1e6)))
        if factor and 1.0005 < factor < 1e6:
            by_decay.append(start - timedelta(seconds=half_life_s * math.log2(factor) - average_s))
    if by_frame:
        found[FRAME_TIME] = max(by_frame)
    if by_decay:
        found[tag("DecayFactor")] = max(by_decay)
    return found


def _back_computed(headers, starts, half_life_s: float) -> datetime | None:
    """t_acq + T_ave − Frame Reference Time, if every slice has the tags and all agree."""
    found, to_start = [], _counts_to_frame_start(headers[0], half_life_s)
    for ds, start in zip(headers, starts, strict=True):
        reference_ms, duration_ms = (
            number(ds, "FrameReferenceTime"),
            number(ds, "ActualFrameDuration"),
        )
        if not (reference_ms and duration_ms and reference_ms > 0 and duration_ms > 0):
            return None
        average_s = 0.0 if to_start else average_activity_time(duration_ms / 1000, half_life_s)
        offset_s = average_s - reference_ms / 1000
        found.append(start + timedelta(seconds=offset_s))
    return min(found) if (max(found) - min(found)).total_seconds() <= AGREE_S else None


def _counts_to_frame_start(ds: Dataset, half_life_s: float) -> bool:
    """Does Frame Reference Time point to the start of a frame rather than to its mean count rate?

    DICOM leaves it open (C.8.9.4.1.5). The slice's own Decay Factor says which: it is 2^(t / half-life) with t the time
    of the mean count rate. Without it, GE's scanners count to the start (a GE exam with Frame Reference Time 0 has the
    Decay Factor of half a frame), the others to the mean.
    """
    factor, reference_ms, duration_ms = (
        number(ds, k) for k in ("DecayFactor", "FrameReferenceTime", "ActualFrameDuration")
    )
    if factor and factor > 1 and reference_ms is not None and duration_ms and duration_ms > 0:
        average_s = average_activity_time(duration_ms / 1000, half_life_s)
        beyond_s = (
            half_life_s * math.log2(factor) - reference_ms / 1000
        )  # 0 if it points to the mean, else T_ave
        if min(abs(beyond_s), abs(beyond_s - average_s)) < 0.2 * average_s:
            return abs(beyond_s - average_s) < abs(beyond_s)
    return text(ds, "Manufacturer").startswith("GE")


def injection_time(
    ds: Dataset, item: Dataset, scan: datetime, half_life_s: float, notes: list[str]
) -> tuple[datetime, str]:
    """When the tracer was injected.

    Radiopharmaceutical Start DateTime counts with its date only within the 24 h before the scan (anonymisers shift
    dates); otherwise its time of day, or Start Time, is set on the day of the scan, a day earlier if that is later than
    the scan: an injection before midnight. 00:00:00 is a placeholder. GE's private time of administration stands in
    where both are missing. What is there must agree.

    Args:
        ds: header of one slice.
        item: of its Radiopharmaceutical Information Sequence.
        scan: start of the earliest acquisition, local time.
        half_life_s: of the radionuclide, seconds.
        notes: gets a sentence for what was passed over.

    Raises:
        ExamError: no time, a placeholder, two that contradict each other, or an uptake outside 10 min to 6 h.
    """
    zone = utc_offset(value(ds, "TimezoneOffsetFromUTC"))
    date_time, time = "RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime"
    written, of_day = moment(value(item, date_time), zone), clock(value(item, time))
    private_time = moment(private(ds, "ge_injection"), zone)
    found: dict[str, datetime] = {}
    if written is not None and not _is_midnight(written):
        found[tag(date_time)] = _before(scan, written)
    if of_day:
        found[tag(time)] = _before(scan, _midnight(scan) + of_day)
    if private_time is not None and not _is_midnight(private_time):
        found[GE_INJECTION] = _before(scan, private_time)
    if not found:
        for keyword, there in ((date_time, written), (time, of_day)):
            if there is not None:
                raise ExamError(
                    f"{tag(keyword)} is 00:00:00, a placeholder; the decayed dose is unknown"
                )
        state = lack(item, date_time if stated(item, date_time) else time)
        raise ExamError(
            f"{tag(date_time)} and {tag(time)}: the time of injection is {state}; the decayed dose is unknown"
        )
    if tag(time) in found and tag(date_time) in found and zone is None:
        apart = found[tag(time)] - found[tag(date_time)]
        offset = utc_offset("".join(_OFFSET.findall(str(value(item, date_time) or ""))))
        large = effect(apart, half_life_s) > REFUSED_SHARE
        if large and offset is not None and apart % _QUARTER == timedelta(0):
            notes.append(f"{tag(time)} was taken: {tag(date_time)} is in another time zone")
            del found[tag(date_time)]
    source, injected = next(iter(found.items()))
    for other, instant in list(found.items())[1:]:
        share = effect(instant - injected, half_life_s)
        if share > REFUSED_SHARE:
            raise ExamError(
                f"{other} and {source} differ by {share:.0%} of SUV; they contradict each other"
            )
        if share > NOTED_SHARE:
            notes.append(f"{other} and {source} differ by {share:.0%} of SUV; the latter was taken")
    minutes = (scan - injected).total_seconds() / 60
    if minutes <= 0:
        raise ExamError(f"{source} equals the start of the scan: a placeholder, or no uptake")
    if minutes > 18 * 60:
        raise ExamError(f"{source}: the tracer seems injected after the scan began")
    if not UPTAKE_MIN[0] <= minutes <= UPTAKE_MIN[1]:
        raise ExamError(
            f"{source}: {minutes:.0f} min from injection to scan are no uptake of FDG "
            f"({UPTAKE_MIN[0]} to {UPTAKE_MIN[1]} min)"
        )
    if minutes < EARLY_MIN:
        notes.append(f"the scan began only {minutes:.0f} min after the injection")
    _note_end(item, injected, scan, half_life_s, zone, notes)
    same_day = injected.date() == scan.date()
    how = f"injected {'on the day of the scan' if same_day else 'before midnight'}"
    return injected, f"{how}, {minutes:.1f} min before it began ({source})"


def _note_end(item, injected, scan, half_life_s, zone, notes: list[str]) -> None:
    """The end of the injection is another instant, so that a difference from its start is noted and never refused."""
    for keyword in ("RadiopharmaceuticalStopDateTime", "RadiopharmaceuticalStopTime"):
        of_day = clock(value(item, keyword))
        end = moment(value(item, keyword), zone) or (_midnight(scan) + of_day if of_day else None)
        if end is not None and not _is_midnight(end):
            share = effect(_before(scan, end) - injected, half_life_s)
            if share > NOTED_SHARE:
                notes.append(
                    f"{tag(keyword)} differs from the time of injection by {share:.0%} of SUV; the latter was taken"
                )


def _before(scan: datetime, instant: datetime) -> datetime:
    """An instant of the 24 h before the scan as it is; any other by its time of day, as the last one before the scan."""
    if timedelta(0) <= scan - instant < DAY:
        return instant
    injected = _midnight(scan) + (instant - _midnight(instant))
    return injected if injected <= scan else injected - DAY


def _midnight(instant: datetime) -> datetime:
    return datetime(instant.year, instant.month, instant.day)


def _is_midnight(instant: datetime) -> bool:
    return instant == _midnight(instant)
