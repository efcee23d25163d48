"""Values of a DICOM header as numbers and words, whatever scanner or anonymiser did to them.

A value that is missing, empty or unreadable is None; the caller decides whether that matters.
"""

import contextlib
import math
import re
import threading
from collections.abc import MutableSequence
from datetime import datetime, timedelta

import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from petsuv.errors import ExamError

# Private elements by raw tag (group, element, start of the creator's name). Anonymisers drop the
# creator and implicit files lose the value representation: pydicom's private_block misses them.
PRIVATE = {
    "philips_suv": (0x7053, 0x00, "philips"),
    "philips_activity": (0x7053, 0x09, "philips"),
    "ge_scan_time": (0x0009, 0x0D, "gems_petd"),
    "ge_injection": (0x0009, 0x3B, "gems_petd"),
    "siemens_scan_time": (0x0071, 0x22, "siemens med pt"),
}
_inside: list = []  # pydicom's mode before each block of `unvalidated` that is open
_lock = threading.Lock()


@contextlib.contextmanager
def unvalidated():
    """Let pydicom read odd values without a warning: its warnings quote them, names too.

    pydicom's setting is global: the last thread to leave puts it back.
    """
    settings = pydicom.config.settings
    with _lock:
        _inside.append(settings.reading_validation_mode)
        settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                settings.reading_validation_mode = before


def tag(keyword: str) -> str:
    """`PatientWeight` → `Patient Weight (0010,1030)`: how messages name an element."""
    number = tag_for_keyword(keyword)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword)
    return f"{words} ({number >> 16:04X},{number & 0xFFFF:04X})" if number is not None else words


def _several(ds: Dataset, keyword: str) -> list:
    """All values of an element; none if it is missing or pydicom cannot decode it."""
    try:
        found = ds.get(keyword)
        return list(found) if isinstance(found, (MutableSequence, tuple)) else [found]
    except Exception:  # noqa: BLE001 - pydicom raises many types on a damaged element
        return []


def _plain(found):
    """First item of several, bytes decoded, padding gone; None if nothing is left."""
    if isinstance(found, (MutableSequence, tuple)) and not isinstance(found, bytearray):
        found = found[0] if len(found) else None
    if isinstance(found, bytes):
        found = found.decode("ascii", "ignore")
    if isinstance(found, str):
        found = found.strip(" \t\r\n\0")
    return None if found is None or found == "" else found


def value(ds: Dataset, keyword: str):
    """The element's first value, or None."""
    return _plain(_several(ds, keyword))


def stated(ds: Dataset, keyword: str) -> bool:
    """Does the element hold anything but blanks, readable or not?"""
    try:
        found = ds.get_item(keyword)
    except Exception:  # noqa: BLE001
        return True
    raw = "" if found is None or found.value is None else found.value
    return bool(raw.strip(b" \0") if isinstance(raw, bytes) else str(raw).strip())


def lack(ds: Dataset, keyword: str) -> str:
    """How a message calls a value that could not be used: `unreadable` or `missing`."""
    return "unreadable" if stated(ds, keyword) else "missing"


def text(ds: Dataset, keyword: str) -> str:
    """A code string in capitals without padding; empty if missing."""
    found = value(ds, keyword)
    return "" if found is None else str(found).strip().upper()


def words(ds: Dataset, keyword: str) -> list[str]:
    """Every value of a code string, in capitals; commas separate too, as some exports write."""
    said = (str(v) for v in map(_plain, _several(ds, keyword)) if v is not None)
    return [word for word in re.split(r"[\\,;\s]+", ",".join(said).upper()) if word]


def as_number(found) -> float | None:
    """A finite float, or None."""
    try:
        result = float(found)
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """A finite number, or None."""
    return as_number(value(ds, keyword))


def numbers(ds: Dataset, keyword: str, count: int) -> list[float] | None:
    """Exactly `count` finite numbers, or None."""
    found = [as_number(_plain(v)) for v in _several(ds, keyword)]
    return found if len(found) == count and None not in found else None


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none if it is missing or damaged."""
    return [item for item in _several(ds, keyword) if isinstance(item, Dataset)]


def positive(ds: Dataset, keyword: str, why: str) -> float:
    """A number above zero; else an ExamError that says `why` it is needed."""
    found = number(ds, keyword)
    if found is None or found <= 0:
        state = lack(ds, keyword) if found is None else "not above zero"
        raise ExamError(f"{tag(keyword)} is {state}; {why}")
    return found


def private(ds: Dataset, name: str):
    """A vendor's private value, or None; a block that names another creator is not read."""
    group, low, creator = PRIVATE[name]
    alike = (t for t in ds.keys() if t.group == group and t.elem & 0xFF == low)
    for element in sorted(t for t in alike if t.elem >= 0x1000):
        try:
            block = ds.get((group, element.elem >> 8))
            owner = str(_plain(block.value) or "").lower() if block is not None else ""
            if not owner or owner.startswith(creator):
                return _plain(ds[element].value)
        except Exception:  # noqa: BLE001 - what cannot be decoded counts as missing
            continue
    return None


def private_number(ds: Dataset, name: str) -> float | None:
    """A vendor's private factor above zero (a zero means "not computed"), or None."""
    found = as_number(private(ds, name))
    return found if found is not None and found > 0 else None


def day(found) -> datetime | None:
    """DICOM DA (YYYYMMDD, or the older YYYY.MM.DD) → midnight of that day."""
    m = re.fullmatch(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})", str(found or "").strip())
    try:
        return datetime(*map(int, m.groups())) if m else None
    except ValueError:
        return None


def clock(found) -> timedelta | None:
    """DICOM TM (HH, HHMM, HHMMSS, HHMMSS.F…, or the older HH:MM:SS) → time since midnight.

    Read as well: a decimal comma, and five digits before the point, where a leading zero was lost.
    """
    said = str(found or "").strip().replace(",", ".")
    said = re.sub(r"^(\d)(\d{4})(?=\.|$)", r"0\1\2", said)
    m = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d*))?", said)
    if not m or (m[4] is not None and m[3] is None):
        return None
    hour, minute, second = (int(g or 0) for g in m.groups()[:3])
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        return None
    rest = round(float(f"0.{m[4] or 0}") * 1e6)
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=rest)


def moment(found, zone: timedelta | None = None) -> datetime | None:
    """DICOM DT (YYYYMMDDHH…[.F…][±ZZXX]) or ISO 8601 (2020-03-02 11:00:00Z) → local time.

    Args:
        found: the text. It needs at least the hour: a date alone is no moment.
        zone: the series' Timezone Offset From UTC (0008,0201). A moment with another offset is
            moved into that zone; without it the offset is the scanner's own and dropped.
    """
    said = str(found or "").strip().replace(",", ".")
    m = re.fullmatch(
        r"(\d{4}-?\d{2}-?\d{2})[T ]?(\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d*)?)?)?)"
        r"(Z|[+-]\d{2}:?\d{2})?",
        said,
    )
    if not m:
        return None
    date, time, offset = day(m[1]), clock(m[2]), utc_offset(m[3])
    if date is None or time is None:
        return None
    return date + time + (zone - offset if zone is not None and offset is not None else timedelta())


def utc_offset(found) -> timedelta | None:
    """`+0200`, `+02:00` or `Z` → its distance from UTC."""
    said = str(found or "").strip().replace(":", "")
    m = re.fullmatch(r"([+-])(\d{2})(\d{2})", "+0000" if said == "Z" else said)
    return (1 if m[1] == "+" else -1) * timedelta(hours=int(m[2]), minutes=int(m[3])) if m else None
