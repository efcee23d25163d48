"""A folder of DICOM PET slices → one SUVbw volume.

The steps are separate so that a notebook can show them: `read_series` (which slices, in which order, which factor),
`volume` (values to SUV), `read_exam` (the nibabel image), and `with_one_slope` for what goes wrong without care.
Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from petsuv import files, grid
from petsuv.elements import number, tag, text, unvalidated
from petsuv.errors import ExamError, tell
from petsuv.plausible import check_suv, stride
from petsuv.series import Series, choose


@unvalidated()
def read_series(folder: Path | str) -> Series:
    """Find the PET series to read in a folder (its own files and those of folders below).

    Args:
        folder: may hold CT, MR, structure sets, captures, several PET series and files that are not DICOM.

    Returns:
        the slices in order, their geometry, the SUV factor with its derivation, and notes.

    Raises:
        ExamError: nothing in the folder can be trusted to be a whole FDG PET exam; says why, with the tag.
    """
    headers, faults = files.read_headers(Path(folder))
    try:
        return choose(headers)
    except ExamError as error:
        if faults:
            error.args = (f"{error.reason}; in the folder are also {faults}", error.remedy)
            error.reason = error.args[0]
        raise


def _stored(ds) -> np.ndarray:
    """(rows, columns) stored values of one slice, decompressed."""
    try:
        pixels = ds.pixel_array
    except Exception as error:  # noqa: BLE001 - pydicom and its decoders raise many types
        syntax = getattr(getattr(ds.file_meta, "TransferSyntaxUID", None), "name", "unknown")
        raise ExamError(
            f"the pixel data of a slice cannot be decoded (transfer syntax {syntax}; {type(error).__name__})",
            "Fetch the series again, or export it uncompressed.",
        ) from None
    if pixels.shape != (number(ds, "Rows"), number(ds, "Columns")):
        raise ExamError(
            f"the pixel data of a slice do not have {tag('Rows')} x {tag('Columns')} values"
        )
    return pixels


@unvalidated()
def volume(series: Series, slopes: np.ndarray | None = None) -> np.ndarray:
    """SUVbw of a series on a uniform grid.

    Args:
        series: from `read_series`.
        slopes: (slices,) to use in place of each slice's own Rescale Slope; for demonstration only.

    Returns:
        (slices, rows, columns) float32, SUVbw in g/ml.
    """
    headers = series.headers
    if slopes is None:
        slopes = np.array([number(ds, "RescaleSlope") for ds in headers])
    result = np.empty(
        (len(headers), int(number(headers[0], "Rows")), int(number(headers[0], "Columns"))),
        np.float32,
    )
    for k, ds in enumerate(headers):
        stored, scale = _stored(ds), slopes[k] * series.factor.per_slice[k]
        # In float64, then stored as float32: one rounding only.
        np.multiply(stored, scale, out=result[k], dtype=np.float64, casting="same_kind")
        offset = (number(ds, "RescaleIntercept") or 0.0) * series.factor.per_slice[k]
        if offset:
            result[k] += np.float32(offset)
        padding = number(ds, "PixelPaddingValue")
        if padding is not None:
            other = number(ds, "PixelPaddingRangeLimit")
            low, high = sorted((padding, padding if other is None else other))
            result[k][(stored >= low) & (stored <= high)] = 0
    return grid.to_uniform(result, series.geometry)


def with_one_slope(series: Series, slice_index: int = 0) -> np.ndarray:
    """What a reader gets who applies one slice's Rescale Slope to all slices: a plausible, wrong volume.

    Many scanners scale every slice to fill 16 bits. The hottest slice then has the largest slope, and a reader that
    takes the slope of, say, an empty slice above the head shrinks every hot lesion.

    Args:
        series: from `read_series`.
        slice_index: whose slope to use, counted from the first plane.

    Returns:
        (slices, rows, columns) float32, wrong SUV.
    """
    own = [number(ds, "RescaleSlope") for ds in series.headers]
    return volume(series, np.full(len(own), own[slice_index]))


def as_image(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """(slices, rows, columns) → RAS+ nibabel image with an empty header: nothing of the source is carried along."""
    image = nib.Nifti1Image(
        values.transpose(2, 1, 0), affine
    )  # a view: x stays the fastest axis in memory
    image = nib.as_closest_canonical(image)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    return image


def read_exam(source: Path | str | Series, notes: Sequence[str] = ()) -> nib.Nifti1Image:
    """A folder with a DICOM PET exam, or a series that `read_series` found → SUVbw image.

    Returns:
        float32 RAS+ image, mm. `image.extra` holds `suv` (the SuvFactor with its derivation) and `notes`.

    Warns:
        ExamNote: for every choice made.

    Raises:
        ExamError: see `read_series`; or values that cannot be SUV.
    """
    series = source if isinstance(source, Series) else read_series(source)
    values = volume(series)
    sample = values.reshape(-1)[:: stride(values.size)]
    found = check_suv(float(values.min()), float(values.max()), sample, dicom=True)
    image = as_image(values, series.geometry.affine)
    notes = [*notes, *series.notes, *found]
    image.extra.update(suv=series.factor, notes=notes, modality=text(series.headers[0], "Modality"))
    tell(notes)
    return image
