"""A folder of DICOM PET slices → one SUVbw volume.

The steps are separate so that a notebook can show them: `read_series` (which slices, in which
order, which factor), `volume` (values to SUV), and `with_one_slope` for what goes wrong without
care. `read_exam` does them in one.
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from petsuv import files, grid
from petsuv.elements import number, tag, unvalidated
from petsuv.errors import ExamError, tell
from petsuv.plausible import check_suv, stride
from petsuv.series import Series, choose


@unvalidated()
def read_series(folder: Path | str) -> Series:
    """Find the PET series to read in a folder (its own files and those of folders below).

    Args:
        folder: may hold other modalities, several PET series and files that are not DICOM.

    Returns:
        the slices in order, their geometry, the SUV factor with its derivation, and notes.

    Raises:
        ExamError: nothing in the folder can be trusted to be a whole FDG PET exam.
    """
    headers, faults = files.read_headers(Path(folder))
    try:
        return choose(headers)
    except ExamError as error:
        if faults:
            error.reason = f"{error.reason}; in the folder are also {faults}"
            error.args = (error.reason, error.remedy)
        raise


def _stored(ds) -> np.ndarray:
    """(rows, columns) stored values of one slice, decompressed."""
    try:
        pixels = ds.pixel_array
    except Exception as error:  # noqa: BLE001 - pydicom and its decoders raise many types
        syntax = getattr(getattr(ds.file_meta, "TransferSyntaxUID", None), "name", "unknown")
        raise ExamError(
            "the pixel data of a slice cannot be decoded "
            f"(transfer syntax {syntax}; {type(error).__name__})",
            "Fetch the series again, or export it uncompressed.",
        ) from None
    if pixels.shape != (number(ds, "Rows"), number(ds, "Columns")):
        shape = f"{tag('Rows')} x {tag('Columns')}"
        raise ExamError(f"the pixel data of a slice do not have {shape} values")
    return pixels


@unvalidated()
def volume(series: Series, slopes: np.ndarray | None = None) -> np.ndarray:
    """SUVbw of a series on a uniform grid: (slices, rows, columns) float32, g/ml.

    Args:
        series: from `read_series`.
        slopes: (slices,) in place of each slice's own Rescale Slope; for demonstration only.
    """
    headers = series.headers
    slopes = _slopes(series) if slopes is None else slopes
    shape = (int(number(headers[0], "Rows")), int(number(headers[0], "Columns")))
    result = np.empty((len(headers), *shape), np.float32)
    for ds, slope, factor, plane in zip(headers, slopes, series.factor.per_slice, result):
        stored = _stored(ds)
        # In float64, then stored as float32: one rounding only.
        np.multiply(stored, slope * factor, out=plane, dtype=np.float64, casting="same_kind")
        if offset := (number(ds, "RescaleIntercept") or 0.0) * factor:
            plane += np.float32(offset)
        padding, other = number(ds, "PixelPaddingValue"), number(ds, "PixelPaddingRangeLimit")
        if padding is not None:
            low, high = sorted((padding, padding if other is None else other))
            plane[(stored >= low) & (stored <= high)] = 0
    return grid.to_uniform(result, series.geometry)


def _slopes(series: Series) -> np.ndarray:
    return np.array([number(ds, "RescaleSlope") for ds in series.headers])


def with_one_slope(series: Series, slice_index: int = 0) -> np.ndarray:
    """The plausible, wrong volume of a reader who applies one slice's Rescale Slope to all slices.

    Many scanners scale every slice to fill 16 bits. The slope of, say, an empty slice above the
    head shrinks every hot lesion.

    Returns:
        (slices, rows, columns) float32, wrong SUV.
    """
    return volume(series, np.full(len(series.headers), _slopes(series)[slice_index]))


def as_image(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """(slices, rows, columns) → RAS+ nibabel image with an empty header."""
    # A transposed view: x stays the fastest axis in memory.
    image = nib.as_closest_canonical(nib.Nifti1Image(values.transpose(2, 1, 0), affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    return image


def read_exam(source: Path | str | Series, notes: Sequence[str] = ()) -> nib.Nifti1Image:
    """A folder with a DICOM PET exam, or a series that `read_series` found → SUVbw image.

    `image.extra` holds `suv` (the SuvFactor) and `notes`. Warns and raises as `petsuv.read`.
    """
    series = source if isinstance(source, Series) else read_series(source)
    values = volume(series)
    sample = values.reshape(-1)[:: stride(values.size)]
    found = check_suv(float(values.min()), float(values.max()), sample, dicom=True)
    image = as_image(values, series.geometry.affine)
    image.extra.update(suv=series.factor, notes=[*notes, *series.notes, *found])
    tell(image.extra["notes"])
    return image
