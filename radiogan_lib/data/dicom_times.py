"""DICOM dates, times of day and moments as Python's, in every spelling that scanners and anonymisers use.

What cannot be read is None; the caller decides whether that matters.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta


def day(found) -> datetime | None:
    """DICOM DA (YYYYMMDD, or the older YYYY.MM.DD) → midnight of that day."""
    m = re.fullmatch(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})", str(found or "").strip())
    try:
        return datetime(*map(int, m.groups())) if m else None
    except ValueError:
        return None


def clock(found) -> timedelta | None:
    """DICOM TM (HH, HHMM, HHMMSS, HHMMSS.F…, or the older HH:MM:SS) → time since midnight."""
    m = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d*))?", str(found or "").strip())
    if not m or (m[4] is not None and m[3] is None):
        return None
    hour, minute, second = (int(g or 0) for g in m.groups()[:3])
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        return None
    return timedelta(
        hours=hour,
        minutes=minute,
        seconds=second,
        microseconds=round(float(f"0.{m[4] or 0}") * 1e6),
    )


def moment(found, zone: timedelta | None = None) -> datetime | None:
    """DICOM DT (YYYYMMDDHH…[.F…][±ZZXX]) → local time.

    Args:
        found: the text. It needs at least the hour: a date alone is no moment.
        zone: the series' Timezone Offset From UTC (0008,0201). A moment with another offset is moved into that zone;
            without a series zone the offset is taken to be the scanner's own and dropped.
    """
    m = re.fullmatch(
        r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d*)?)?)?)([+-]\d{4})?", str(found or "").strip()
    )
    if not m:
        return None
    date, time, offset = day(m[1]), clock(m[2]), utc_offset(m[3])
    if date is None or time is None:
        return None
    return date + time + (zone - offset if zone is not None and offset is not None else timedelta())


def utc_offset(found) -> timedelta | None:
    """`+0200` → two hours."""
    m = re.fullmatch(r"([+-])(\d{2})(\d{2})", str(found or "").strip())
    return (1 if m[1] == "+" else -1) * timedelta(hours=int(m[2]), minutes=int(m[3])) if m else None
