"""Which instant the voxel values of a PET series belong to, and when the tracer was injected.

The decay between the two decides the SUV: one minute is 0.6 %, and the wrong tag out of four
candidates 5 to 25 %. The order of the candidates follows the QIBA vendor-neutral pseudo-code
(qibawiki.rsna.org, "Standardized Uptake Value") and the manual of the IBSI SUV project
(oncoray.github.io/suv_computation).
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from petsuv import elements
from petsuv.elements import clock, day, lack, moment, number, private, stated, tag, text, value
from petsuv.errors import ExamError

DAY = timedelta(days=1)
AGREE_S = 2.0  # slices whose back-computed starts differ by more do not share one
OVERNIGHT = timedelta(hours=18)  # no scan lasts this long: such a difference is a midnight
NEAR_MIDNIGHT = timedelta(hours=1)  # a scan this close to 00:00:00 may begin there
NOTED_SHARE, REFUSED_SHARE = 0.02, 0.05  # of SUV, between two elements that say the same thing
UPTAKE_MIN = (10, 360)  # minutes from injection to scan: later F-18 is gone, earlier none taken up
EARLY_MIN = 20  # below this an uptake is worth a note
FRAME_TIME, DECAY_FACTOR = tag("FrameReferenceTime"), tag("DecayFactor")
ACQUIRED = tag("AcquisitionTime")
PRIVATE_SCAN = "the private scan time"
GE_INJECTION = "GE's private time of administration (0009,xx3B)"
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_QUARTER = timedelta(minutes=15)  # time zones differ by whole quarters of an hour
_NOMINAL = datetime(2000, 1, 1)  # where an anonymiser removed every date, the times are enough


def _acquired(ds: Dataset) -> datetime | None:
    """Acquisition Date + Time (without a date: that of the series, or the next), or DateTime."""
    time = clock(value(ds, "AcquisitionTime"))
    if time is None:
        return moment(value(ds, "AcquisitionDateTime"), _zone(ds))
    if date := day(value(ds, "AcquisitionDate")):
        return date + time
    begun = clock(value(ds, "SeriesTime"))
    overnight = begun is not None and begun - time > OVERNIGHT
    return _date(ds, "SeriesDate", "StudyDate") + time + DAY * overnight


def acquisitions(headers: Sequence[Dataset]) -> list[datetime | None]:
    """Start of every slice's acquisition; times 18 h apart on one date ran past midnight."""
    starts = [_acquired(ds) for ds in headers]
    known = [start for start in starts if start is not None]
    times = [start - _midnight(start) for start in known]
    away = [time for time in times if time]
    if len(away) < len(times) and max((min(a, DAY - a) for a in away), default=DAY) > NEAR_MIDNIGHT:
        share = f"{len(times) - len(away)} of {len(starts)} slices"
        raise ExamError(f"{ACQUIRED} is 00:00:00, a placeholder, in {share}")
    late = max(known, default=_NOMINAL)
    if len({s.date() for s in known}) == 1 and late - min(known) > OVERNIGHT:
        return [s + DAY if s is not None and late - s > OVERNIGHT else s for s in starts]
    return starts


def average_activity_time(duration_s: float, half_life_s: float) -> float:
    """Seconds after the start of a frame at which a decaying source has its mean count rate.

    T_ave = ln(λT / (1 − e^(−λT))) / λ with λ = ln 2 / half-life (DICOM C.8.9.4.1.5): slightly
    before the middle of the frame.
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

    In order: Series Date/Time if it is not after the earliest acquisition; a private scan time;
    back-computed from Frame Reference Time; the earliest acquisition.

    Returns:
        local time; whether another element confirms it; and one sentence, without any date, on
        where it comes from.
    """
    starts, ds = acquisitions(headers), headers[0]
    computed = _back_computed(headers, starts, half_life_s)
    hints = _hints(headers, starts, computed, half_life_s)
    scan = hints.get(PRIVATE_SCAN)
    if None in starts:
        if scan is not None:
            why = "Acquisition Time is missing or unreadable"
            return scan, False, f"the reference is {PRIVATE_SCAN}: {why}"
        state = lack(headers[starts.index(None)], "AcquisitionTime")
        said = f"{ACQUIRED} is {state} in {starts.count(None)} of {len(starts)} slices"
        raise ExamError(f"{said}; the time that the decay correction refers to is unknown")
    first, series, time = min(starts), None, clock(value(ds, "SeriesTime"))
    source = tag("SeriesTime")
    others = f"neither {FRAME_TIME} nor {DECAY_FACTOR} confirms"
    unfit = "Series Time is later than the scan"
    if time is None:
        unfit = f"Series Time is {lack(ds, 'SeriesTime')}"
    else:
        series = _date(ds, "SeriesDate", "AcquisitionDate", "StudyDate") + time
        if _is_midnight(series) and first - series > NEAR_MIDNIGHT:
            series, unfit = None, "Series Time is 00:00:00, a placeholder"
            notes.append(f"{tag('SeriesTime')} is 00:00:00 and was taken for a placeholder")
    if series is not None and series <= first:
        if first - series >= DAY:
            which = f"{tag('SeriesDate')} lies a day or more before {tag('AcquisitionDate')}"
            raise ExamError(f"{which}; the dates contradict each other")
        chosen, why = series, "Series Time: it is not after the earliest acquisition"
    elif scan is not None:
        chosen, why = scan, f"{PRIVATE_SCAN}: {unfit}"
    elif None not in computed and (max(computed) - min(computed)).total_seconds() <= AGREE_S:
        chosen, why = min(computed), f"back-computed from Frame Reference Time: {unfit}"
        source, others = FRAME_TIME, f"{DECAY_FACTOR} does not confirm"
        del hints[FRAME_TIME]  # it does not confirm itself
        if first - chosen >= DAY:
            which = f"{FRAME_TIME} points to a day or more before {ACQUIRED}"
            raise ExamError(f"{which}; the elements contradict each other")
    else:
        chosen, why = first, f"the earliest Acquisition Time: {unfit}"
        notes.append(f"{unfit}; the earliest {ACQUIRED} was taken as the reference")
    confirmed = _cross_check(chosen, first, hints, half_life_s, notes)
    if not confirmed and effect(first - chosen, half_life_s) > REFUSED_SHARE:
        minutes = (first - chosen).total_seconds() / 60
        said = f"{source} points to {minutes:.0f} min before the scan"
        raise ExamError(f"{said}, and {others} that the values are corrected to that time")
    return chosen, confirmed, f"the reference is {why}"


def _cross_check(chosen, first, hints, half_life_s: float, notes: list[str]) -> bool:
    """Does a hint confirm the reference? A contradiction of more than 5 % of SUV is refused."""
    confirmed = False
    for name, instant in hints.items():
        share = effect(instant - chosen, half_life_s)
        if share <= NOTED_SHARE:
            confirmed = True
            continue
        said = f"{name} and the time of the series differ by {share:.0%} of SUV"
        # Some scanners write the start of the whole series as Acquisition Time of every slice.
        same = name == FRAME_TIME and abs(chosen - first) <= timedelta(seconds=5)
        if share > REFUSED_SHARE and not same:
            raise ExamError(f"{said}; the elements contradict each other")
        notes.append(f"{said}; the time of the series was followed")
    return confirmed


def _hints(headers, starts, computed, half_life_s: float) -> dict[str, datetime]:
    """What else the headers say about the instant of the values: element → local time.

    Where all slices share one Acquisition Time, only the earliest frame tells: hence the latest.
    """
    found = {}
    for name in ("siemens_scan_time", "ge_scan_time"):
        if (scan := moment(private(headers[0], name), _zone(headers[0]))) is not None:
            found[PRIVATE_SCAN] = scan
    by_decay = []
    for ds, start in zip(headers, starts, strict=True):
        factor, (_, average_s) = number(ds, "DecayFactor"), _frame(ds, half_life_s)
        if None not in (start, average_s) and factor and 1.0005 < factor < 1e6:
            by_decay.append(start - timedelta(seconds=half_life_s * math.log2(factor) - average_s))
    for name, instants in ((FRAME_TIME, filter(None, computed)), (DECAY_FACTOR, by_decay)):
        if (latest := max(instants, default=None)) is not None:
            found[name] = latest
    return found


def _frame(ds: Dataset, half_life_s: float) -> tuple[float | None, float | None]:
    """Frame Reference Time, and where the mean count rate lies in the frame; seconds."""
    reference_ms, duration_ms = number(ds, "FrameReferenceTime"), number(ds, "ActualFrameDuration")
    reference_s = None if reference_ms is None else reference_ms / 1000
    if not duration_ms or duration_ms <= 0:
        return reference_s, None
    return reference_s, average_activity_time(duration_ms / 1000, half_life_s)


def _back_computed(headers, starts, half_life_s: float) -> list[datetime | None]:
    """t_acq + T_ave − Frame Reference Time of every slice; None without the tags."""
    found, to_start = [], _counts_to_frame_start(headers[0], half_life_s)
    for ds, start in zip(headers, starts, strict=True):
        reference_s, average_s = _frame(ds, half_life_s)
        if None in (start, average_s) or not reference_s or reference_s <= 0:
            found.append(None)
            continue
        before_s = reference_s - (0 if to_start else average_s)
        found.append(start - timedelta(seconds=min(before_s, 1e6)))
    return found


def _counts_to_frame_start(ds: Dataset, half_life_s: float) -> bool:
    """Does Frame Reference Time point to the start of a frame rather than to its mean count rate?

    DICOM leaves it open (C.8.9.4.1.5). The slice's Decay Factor says which: it is 2^(t / half-life)
    with t the time of the mean count rate. Without it, GE counts to the start, others to the mean.
    """
    factor = number(ds, "DecayFactor")
    reference_s, average_s = _frame(ds, half_life_s)
    if factor and factor > 1 and reference_s is not None and average_s is not None:
        # 0 if it points to the mean, else T_ave.
        beyond_s = half_life_s * math.log2(factor) - reference_s
        if min(abs(beyond_s), abs(beyond_s - average_s)) < 0.2 * average_s:
            return abs(beyond_s - average_s) < abs(beyond_s)
    return text(ds, "Manufacturer").startswith("GE")


def injection_time(
    ds: Dataset, item: Dataset, scan: datetime, half_life_s: float, notes: list[str]
) -> tuple[datetime, str]:
    """When the tracer was injected, and one sentence on it.

    Args:
        ds: header of one slice.
        item: of its Radiopharmaceutical Information Sequence.
        scan: start of the earliest acquisition, local time.
        half_life_s: of the radionuclide, seconds.
        notes: gets a sentence for what was passed over.
    """
    found = _injections(ds, item, scan, half_life_s, notes)
    (source, injected), *others = found.items()
    for other, instant in others:
        share = effect(instant - injected, half_life_s)
        said = f"{other} and {source} differ by {share:.0%} of SUV"
        if share > REFUSED_SHARE:
            raise ExamError(f"{said}; they contradict each other")
        if share > NOTED_SHARE:
            notes.append(f"{said}; the latter was taken")
    minutes = (scan - injected).total_seconds() / 60
    if minutes <= 0:
        raise ExamError(f"{source} equals the start of the scan: a placeholder, or no uptake")
    if minutes > 18 * 60:
        raise ExamError(f"{source}: the tracer seems injected after the scan began")
    if not UPTAKE_MIN[0] <= minutes <= UPTAKE_MIN[1]:
        bounds = f"{UPTAKE_MIN[0]} to {UPTAKE_MIN[1]} min"
        said = f"{minutes:.0f} min from injection to scan are no uptake of FDG ({bounds})"
        raise ExamError(f"{source}: {said}")
    if minutes < EARLY_MIN:
        notes.append(f"the scan began only {minutes:.0f} min after the injection")
    # An end of injection that is far from its start is noted, never refused.
    for keyword in ("RadiopharmaceuticalStopDateTime", "RadiopharmaceuticalStopTime"):
        of_day = clock(value(item, keyword))
        end = moment(value(item, keyword), _zone(ds)) or (of_day and _midnight(scan) + of_day)
        if end and not _is_midnight(end):
            share = effect(_before(scan, end) - injected, half_life_s)
            if share > NOTED_SHARE:
                said = f"{tag(keyword)} differs from the time of injection by {share:.0%} of SUV"
                notes.append(f"{said}; the latter was taken")
    when = "on the day of the scan" if injected.date() == scan.date() else "before midnight"
    return injected, f"injected {when}, {minutes:.1f} min before it began ({source})"


def _injections(ds, item, scan, half_life_s: float, notes: list[str]) -> dict[str, datetime]:
    """The instants of injection that the header states, best first: element → local time."""
    zone = _zone(ds)
    date_time, time = "RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime"
    written, of_day = moment(value(item, date_time), zone), clock(value(item, time))
    stated_by = {
        tag(date_time): written,
        tag(time): _midnight(scan) + of_day if of_day else None,
        GE_INJECTION: moment(private(ds, "ge_injection"), zone),
    }
    found = {
        name: _before(scan, instant)
        for name, instant in stated_by.items()
        if instant is not None and (name == tag(time) or not _is_midnight(instant))
    }
    if not found:
        said = f"{tag(date_time if written is not None else time)} is 00:00:00, a placeholder"
        if written is None and of_day is None:
            state = lack(item, date_time if stated(item, date_time) else time)
            said = f"{tag(date_time)} and {tag(time)}: the time of injection is {state}"
        raise ExamError(f"{said}; the decayed dose is unknown")
    if tag(time) in found and tag(date_time) in found and zone is None:
        apart = found[tag(time)] - found[tag(date_time)]
        has_offset = _OFFSET.search(str(value(item, date_time)).strip()) is not None
        if has_offset and effect(apart, half_life_s) > REFUSED_SHARE and not apart % _QUARTER:
            notes.append(f"{tag(time)} was taken: {tag(date_time)} is in another time zone")
            del found[tag(date_time)]
    return found


def _zone(ds: Dataset) -> timedelta | None:
    return elements.utc_offset(value(ds, "TimezoneOffsetFromUTC"))


def _date(ds: Dataset, *names: str) -> datetime:
    """The first of these dates that is there."""
    return next(filter(None, (day(value(ds, name)) for name in names)), _NOMINAL)


def _before(scan: datetime, instant: datetime) -> datetime:
    """An instant of the 24 h before the scan; else (shifted dates) the last such time of day."""
    if timedelta(0) <= scan - instant < DAY:
        return instant
    injected = _midnight(scan) + (instant - _midnight(instant))
    return injected if injected <= scan else injected - DAY


def _midnight(instant: datetime) -> datetime:
    return datetime(instant.year, instant.month, instant.day)


def _is_midnight(instant: datetime) -> bool:
    return instant == _midnight(instant)
