"""Pictures as exams: one file, one projection, in PNG, TIFF, JPEG or .npy.

A picture does not say how large its pixels are, what its grey values stand for, or whether dark is
high. The cohort csv may say so (`COLUMNS`); the defaults are explained in data_manifest/README.md.
The evaluation reads the images of other generators through the same functions.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from petsuv.errors import ExamError
from petsuv.plausible import check_suv
from radiogan_lib.config import ConfigError

VERSION = 1  # goes up when the same picture would give other values
IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SUFFIXES = (".npy", *IMAGES)
UNCALIBRATED = "uncalibrated"
COLUMNS = ("row_mm", "column_mm", "suv_white", "suv_black", "dark_is_high")
PIXEL_MM = (0.1, 20.0)  # a pixel outside this range is a slip of the pen
SMALLEST = 32  # rows and columns that a projection has at least
LARGEST = 50_000_000  # pixels
# A picture of this width without a pixel size is taken for one of data_manifest/real.csv.
KNOWN_COLUMNS = 400
KNOWN_MM = (2.0, 2.036)  # its rows and columns
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")
_SAVE = "Save the projection as a grey PNG or TIFF of 8 or 16 bits."


@dataclass(frozen=True)
class Window:
    """What the cohort csv says about one picture; None where it says nothing."""

    row_mm: float | None = None  # height of a pixel
    column_mm: float | None = None  # width of a pixel
    suv_white: float | None = None  # SUV of the whitest grey value; None = uncalibrated
    suv_black: float | None = None
    dark_is_high: bool | None = None  # dark pixels are those of high uptake

    @classmethod
    def parse(cls, cells: dict[str, str]) -> Self:
        """The window from a row of a cohort csv; empty and missing cells say nothing.

        Raises:
            ConfigError: a cell that is no number or out of range, or half a pair.
        """
        cells = {k: str(cells.get(k) or "").strip() for k in COLUMNS}
        if UNCALIBRATED in (cells["suv_white"].lower(), cells["suv_black"].lower()):
            cells["suv_white"] = cells["suv_black"] = ""
        found = {k: _number(k, cells[k]) for k in COLUMNS[:4]}
        for pair in (("row_mm", "column_mm"), ("suv_white", "suv_black")):
            if len(missing := [k for k in pair if found[k] is None]) == 1:
                said = f"{missing[0]} is empty"
                raise ConfigError(f"{said}; give {pair[0]} and {pair[1]}, or neither.")
        dark = cells["dark_is_high"].lower()
        if dark not in ("", *_YES, *_NO):
            raise ConfigError(f"dark_is_high is {dark[:20]!r}; write yes or no, or leave it empty.")
        if found["suv_white"] is not None:
            if found["suv_white"] == found["suv_black"]:
                raise ConfigError("suv_white and suv_black are the same; give the SUV of each.")
            if dark and (dark in _YES) != (found["suv_black"] > found["suv_white"]):
                said = "dark_is_high contradicts suv_white and suv_black"
                raise ConfigError(f"{said}; correct one of them.")
        return cls(**found, dark_is_high=dark in _YES if dark else None)


def _number(column: str, cell: str) -> float | None:
    if not cell:
        return None
    low, high = PIXEL_MM if column.endswith("_mm") else (0.0, 2000.0)
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        what = " (mm)" if column.endswith("_mm") else f", or {UNCALIBRATED}"
        said = f"{column} is {cell[:20]!r}; write a number between {low:g} and {high:g}"
        raise ConfigError(f"{said}{what}.")
    return value


class Picture(NamedTuple):
    """The pixels of one file: (rows, columns) uint8 or uint16 grey values, or float32 numbers."""

    values: np.ndarray
    white: int | None  # the whitest grey value, 255 or 65535; None where the values are numbers


class Projection(NamedTuple):
    """A picture as a projection."""

    values: np.ndarray  # (rows, columns) float32, high uptake is high: SUV, or the window's share
    unit: str  # "SUV" or "window"
    pixel_mm: tuple[float, float]  # height and width of a pixel
    assumed: str  # what the csv does not say and was assumed; "" if nothing


def is_picture(path: str | Path) -> bool:
    """Does the file's name say that it is a picture?"""
    return str(path).lower().endswith(SUFFIXES)


def read(path: str | Path, colour: bool = False) -> Picture:
    """One picture from one file.

    Args:
        path: .png, .tif, .jpg, .bmp, .gif, .webp or .npy (2-D; 3-D with equal channels).
        colour: turn colour into luminance (Rec. 601) instead of refusing it.

    Raises:
        ExamError: not there, unreadable, colour, transparent, animated, several pages, no picture.
    """
    path = Path(path)
    is_array = path.suffix.lower() == ".npy"
    try:
        if not path.is_file():
            raise ExamError("there is no such file", "Correct the path.")
        values = _array(path, colour) if is_array else _image(path, colour)
    except (ExamError, MemoryError):
        raise
    except Exception as e:  # every decoder has its own errors
        said = f"the picture cannot be read ({type(e).__name__})"
        raise ExamError(said, "Save it again from its source.") from None
    _refuse_large(values.size)
    if values.dtype in (np.uint8, np.uint16):
        return Picture(values, int(np.iinfo(values.dtype).max))
    return Picture(values.astype(np.float32), None)


def _refuse_large(n: int) -> None:
    if n > LARGEST:
        raise ExamError(f"the picture has {n:,} pixels, too many", "Make it smaller.")


def _array(path: Path, colour: bool) -> np.ndarray:
    values, save = np.load(path, allow_pickle=False), "Save it as (rows, columns)."
    if values.dtype.kind not in "uif":
        raise ExamError(
            f"the array holds {values.dtype}, not numbers", "Save the values as float32."
        )
    if 0 in values.shape:
        raise ExamError("the array is empty", "Save it again from its source.")
    if values.ndim == 3:
        first, last = values.shape[0] in (1, 3, 4), values.shape[-1] in (1, 3, 4)
        if first == last:
            raise ExamError(f"an array of shape {values.shape} is not one picture", save)
        values = _grey(values if last else np.moveaxis(values, 0, -1), 0, colour)
    if values.ndim != 2:
        raise ExamError(f"the array has {values.ndim} dimensions; a picture has two", save)
    return values.astype(values.dtype.newbyteorder("="))


def _image(path: Path, colour: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        _refuse_large(image.width * image.height)
        if (pages := getattr(image, "n_frames", 1)) > 1:
            kind = "has pages:" if image.format in ("TIFF", "MPO") else "is animated:"
            remedy = "Save the one that shows the projection as a file of its own."
            raise ExamError(f"the picture {kind} {pages} in one file", remedy)
        return pixels(image, colour)


def pixels(image, colour: bool = False) -> np.ndarray:
    """The grey values of an open Pillow image: (rows, columns) uint8, uint16, int32 or float32."""
    raw = str(image.tile[0][3] if image.tile else "")
    if image.mode == "1":
        raise ExamError(
            "the picture is black and white only, a mask", "Give the projection itself."
        )
    if "16" in raw and image.mode in ("RGB", "RGBA", "LA"):
        raise ExamError("the picture has 16 bits in each of several channels", _SAVE)
    if image.mode == "PA" or (image.mode in ("P", "L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="))
    tags = getattr(image, "tag_v2", {})
    if values.dtype == np.uint16 and tags.get(262) == 0:  # TIFF: white is zero
        values = np.uint16(65535) - values
    if values.ndim == 3:
        values = _grey(values, 8 if image.format in ("JPEG", "MPO", "WEBP") else 0, colour)
    return values


def _grey(values: np.ndarray, tolerance: int, colour: bool) -> np.ndarray:
    """(rows, columns, channels) → (rows, columns) of equal channels and an opaque alpha."""
    if values.shape[-1] in (2, 4):
        alpha, values = values[..., -1], values[..., :-1]
        full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
        if (clear := float((alpha < full).mean())) > 0:
            said = f"{max(clear, 0.01):.0%} of the picture is transparent"
            raise ExamError(said, "Save it without transparency.")
    alike = np.ptp(values.astype(np.float64), axis=-1) <= tolerance
    if values.shape[-1] == 1 or alike.all():
        return values[..., 0]
    if not colour:
        raise ExamError("the picture is in colour, and no colour says what SUV it is", _SAVE)
    grey = values.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return (np.rint(grey) if values.dtype.kind in "ui" else grey).astype(values.dtype)


def project(path: str | Path, window: Window = Window()) -> Projection:
    """Read a picture as a projection of uptake.

    Grey values become SUV where the window is calibrated, otherwise the share of the window.
    Numbers (a .npy or TIFF of floats) are SUV, as in a NIfTI file, unless all lie in [0, 1]: no
    whole body does, so they are shares of a window.

    Raises:
        ExamError: the picture cannot be read, is tiny or empty, or its pixel size is unknown.
    """
    picture = read(path)
    rows, columns = picture.values.shape
    if min(rows, columns) < SMALLEST:
        said = f"the picture has {rows} x {columns} pixels, too few for a whole body"
        raise ExamError(said, f"Give one of {SMALLEST} x {SMALLEST} or more.")
    assumed, pixel_mm = [], (window.row_mm, window.column_mm)
    if window.row_mm is None:
        if columns != KNOWN_COLUMNS:
            remedy = "Add the columns row_mm and column_mm to the cohort."
            raise ExamError("nothing says how large its pixels are", remedy)
        pixel_mm = KNOWN_MM
        assumed.append(f"pixels of {KNOWN_MM[0]:g} x {KNOWN_MM[1]:g} mm")
    values = picture.values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        said = "the picture holds values that are no numbers"
        raise ExamError(said, "Save it again without them.")
    if low == high:
        raise ExamError("all pixels have the same value", "Export the exam again.")
    if picture.white is None and window.suv_white is None and high > 1:
        if window.dark_is_high:
            said = "dark cannot be high where the values are SUV"
            raise ExamError(said, "Correct dark_is_high in the cohort.")
        check_suv(low, high, values)
        return Projection(np.maximum(values, 0), "SUV", pixel_mm, ", ".join(assumed))
    if picture.white is None and not 0 <= low <= high <= 1:
        raise ExamError("grey values that are numbers must lie in [0, 1]", _SAVE)
    share = values / np.float32(picture.white or 1)  # 0 black, 1 white
    if window.suv_white is not None:
        suv = window.suv_black + share * np.float32(window.suv_white - window.suv_black)
        return Projection(suv.astype(np.float32), "SUV", pixel_mm, ", ".join(assumed))
    dark_is_high = window.dark_is_high
    if dark_is_high is None:  # the outermost columns on either side show air
        edge = max(1, columns // 50)
        dark_is_high = np.median(np.hstack([share[:, :edge], share[:, -edge:]])) > 0.5
        assumed.append("dark is high" if dark_is_high else "bright is high")
    return Projection(1 - share if dark_is_high else share, "window", pixel_mm, ", ".join(assumed))
