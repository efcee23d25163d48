"""Which instant the voxel values of a PET series belong to, and when the tracer was injected.

The decay between the two decides the SUV: one minute is 0.6 %, and the wrong tag out of four candidates 5 to 25 %.
The order of the candidates follows the QIBA vendor-neutral pseudo-code (qibawiki.rsna.org, "Standardized Uptake
Value") and the manual of the IBSI SUV project (oncoray.github.io/suv_computation).
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from petsuv.elements import clock, day, moment, number, private, tag, text, utc_offset, value
from petsuv.errors import ExamError

DAY = timedelta(days=1)
AGREE_S = 2.0  # slices whose back-computed starts differ by more do not share one; times are often whole seconds
OVERNIGHT = timedelta(
    hours=18
)  # no scan lasts this long: such a difference between times of day is a midnight
LONGEST_UPTAKE = timedelta(
    hours=12
)  # more is accepted only where the header states the date of injection
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


def reference_time(headers: Sequence[Dataset], half_life_s: float) -> tuple[datetime, str]:
    """The instant that Decay Correction START corrected every slice to.

    In order: Series Date/Time if it is not after the earliest acquisition (after means a later reconstruction);
    GE's private scan time; back-computed from Frame Reference Time where every slice gives the same instant;
    the earliest acquisition.

    Args:
        headers: the slices of one series.
        half_life_s: of the radionuclide, seconds.

    Returns:
        local time, and one sentence (without any date) on where it comes from.

    Raises:
        ExamError: no acquisition time to judge by, or dates that contradict each other.
    """
    scan = moment(
        private(headers[0], "ge_scan_time"), utc_offset(value(headers[0], "TimezoneOffsetFromUTC"))
    )
    starts = acquisitions(headers)
    series = series_start(headers[0])
    if None in starts:
        if scan is not None:
            return (
                scan,
                "the reference is GE's private scan time (0009,100D): Acquisition Time is missing",
            )
        raise ExamError(
            f"{tag('AcquisitionTime')} is missing in {starts.count(None)} of {len(starts)} slices; the time "
            "that the decay correction refers to is unknown"
        )
    first = min(starts)
    if series is not None and series <= first:
        if first - series >= DAY:
            raise ExamError(
                f"{tag('SeriesDate')} lies a day or more before {tag('AcquisitionDate')}; "
                "the dates contradict each other"
            )
        return series, "the reference is Series Time: it is not after the earliest acquisition"
    unfit = "Series Time is missing" if series is None else "Series Time is later than the scan"
    if scan is not None:
        return scan, f"the reference is GE's private scan time (0009,100D): {unfit}"
    computed = _back_computed(headers, starts, half_life_s)
    if computed is not None:
        return computed, f"the reference is back-computed from Frame Reference Time: {unfit}"
    return first, "the reference is the earliest Acquisition Time: nothing better is in the header"


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
    item: Dataset, reference: datetime, zone: timedelta | None = None
) -> tuple[datetime, str]:
    """When the tracer was injected.

    Radiopharmaceutical Start DateTime counts only within the 24 h before the reference (anonymisers shift dates);
    otherwise its time of day, or Start Time, is set on the reference's date, a day earlier if that is later than the
    reference: an injection before midnight.

    Args:
        item: of the Radiopharmaceutical Information Sequence.
        reference: the instant of the voxel values, local time.
        zone: Timezone Offset From UTC of the series.

    Raises:
        ExamError: no time, or one that no uptake period explains.
    """
    stated = moment(value(item, "RadiopharmaceuticalStartDateTime"), zone)
    if stated is not None and timedelta(0) <= reference - stated < DAY:
        return stated, "injected at Radiopharmaceutical Start DateTime"
    time = clock(value(item, "RadiopharmaceuticalStartTime"))
    source = "RadiopharmaceuticalStartTime"
    if stated is not None:
        of_day = stated - datetime(stated.year, stated.month, stated.day)
        if (
            time is None or of_day
        ):  # a date that does not fit, at midnight sharp, is an anonymiser's filler
            time, source = of_day, "RadiopharmaceuticalStartDateTime"
    if time is None:
        raise ExamError(
            f"neither {tag('RadiopharmaceuticalStartDateTime')} nor {tag('RadiopharmaceuticalStartTime')} "
            "holds a time of injection; the decayed dose is unknown"
        )
    midnight = datetime(reference.year, reference.month, reference.day)
    injected, how = (
        midnight + time,
        "injected at the time of day of the header, on the day of the scan",
    )
    if injected > reference:
        injected, how = (
            injected - DAY,
            "injected before midnight: the time of day is later than the scan's",
        )
    if reference - injected > LONGEST_UPTAKE:
        raise ExamError(
            f"{tag(source)} and the reference time of the series are more than "
            f"{LONGEST_UPTAKE.total_seconds() / 3600:.0f} h apart; the tracer seems injected after the scan"
        )
    return injected, how
