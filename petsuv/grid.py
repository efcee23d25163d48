"""Where the slices of a series lie, and how they become one uniform grid."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from petsuv.elements import lack, number, numbers, tag
from petsuv.errors import ExamError
from petsuv.plausible import MAX_VOXELS, VOXEL_MM

SAME_PLACE_MM = 0.01  # scanners write positions to a hundredth of a millimetre or better
TILT = 1e-3  # direction cosines of one series agree to this
GAP = 1.9  # a step this many times the usual one is a missing slice, not an uneven step
ON_GRID = 0.05  # a slice this share of a step off the uniform grid is used as it is, not blended
_AGAIN = "Fetch the whole series again."


@dataclass(frozen=True, eq=False)
class Geometry:
    """Slices in order along their normal, as a uniform grid."""

    order: np.ndarray  # indices into the headers, from the first plane to the last
    positions_mm: np.ndarray  # (slices,) along the normal, ascending
    step_mm: float  # of the uniform grid
    affine: np.ndarray  # 4 × 4, voxel (column, row, slice) → RAS+ mm

    @property
    def offsets(self) -> np.ndarray:
        """How far each slice lies off the uniform grid, in steps."""
        places = (self.positions_mm - self.positions_mm[0]) / self.step_mm
        return places - np.arange(len(places))


def orientation(ds: Dataset) -> np.ndarray:
    """(2, 3) unit vectors: along a row, along a column. LPS."""
    keyword = "ImageOrientationPatient"
    found = numbers(ds, keyword, 6)
    if found is None:
        raise ExamError(f"{tag(keyword)} is {lack(ds, keyword)}; left and right are unknown")
    axes = np.array(found).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise ExamError(f"{tag(keyword)} does not hold two perpendicular directions")
    return axes / lengths[:, None]


def position(ds: Dataset) -> np.ndarray:
    """(3,) centre of the first pixel, LPS mm."""
    keyword = "ImagePositionPatient"
    found = numbers(ds, keyword, 3)
    if found is None:
        raise ExamError(f"{tag(keyword)} is {lack(ds, keyword)}; the slice has no place")
    return np.array(found)


def spacing(ds: Dataset) -> tuple[float, float]:
    """mm between rows, mm between columns."""
    found = numbers(ds, "PixelSpacing", 2)
    if found is None or min(found) <= 0:
        raise ExamError(f"{tag('PixelSpacing')} is missing, unreadable or not above zero")
    return found[0], found[1]


def normal_positions(headers: list[Dataset]) -> np.ndarray:
    """(slices,) position of each slice along the normal of the first, mm."""
    axes, size = orientation(headers[0]), _size(headers[0])
    if not all(n and n >= 2 for n in size):
        raise ExamError(f"{tag('Rows')} or {tag('Columns')} is missing or below 2")
    for ds in headers:
        if np.abs(orientation(ds) - axes).max() > TILT:
            raise ExamError(
                f"{tag('ImageOrientationPatient')} differs between slices: rotating projections "
                "or a mixture, not a stack of parallel slices"
            )
        if _size(ds) != size or not np.allclose(spacing(ds), spacing(headers[0]), 1e-4):
            which = f"{tag('Rows')}, {tag('Columns')} or {tag('PixelSpacing')}"
            raise ExamError(f"{which} differs between slices")
    places = np.array([position(ds) for ds in headers])
    in_plane = (places - places[0]) @ axes.T
    if np.abs(in_plane).max() > 0.5 * min(spacing(headers[0])):
        where = tag("ImagePositionPatient")
        raise ExamError(f"{where} shifts sideways from slice to slice: a sheared stack")
    return places @ np.cross(axes[0], axes[1])


def _size(ds: Dataset) -> tuple:
    return number(ds, "Rows"), number(ds, "Columns")


def stack(headers: list[Dataset]) -> Geometry:
    """Order the slices and lay a uniform grid through them, from the first plane to the last.

    Uneven steps (a few hundredths of a millimetre where bed positions meet) shift a slice by a
    small share of a step. A gap is refused.
    """
    along = normal_positions(headers)
    order = np.argsort(along, kind="stable")
    along, n = along[order], len(along)
    if n < 2:
        raise ExamError("there is one slice; a projection needs a volume", "Give the whole series.")
    _refuse_gaps(along)
    rows, columns = map(int, _size(headers[0]))
    if rows * columns * n > MAX_VOXELS:
        said = f"{n} slices of {rows} x {columns} are more than {MAX_VOXELS:,} voxels: no PET exam"
        raise ExamError(said, "Crop or resample it.")
    expected = number(headers[0], "NumberOfSlices")
    if expected is not None and n < expected:
        said = f"{tag('NumberOfSlices')} is {expected:.0f}, but {n} slices are here"
        raise ExamError(f"{said}: the series ends early", _AGAIN)
    step = float((along[-1] - along[0]) / (n - 1))
    row_mm, column_mm = spacing(headers[0])
    sizes = (row_mm, column_mm, step)
    if min(sizes) < VOXEL_MM[0] or max(sizes) > VOXEL_MM[1]:
        said = " x ".join(f"{s:.3g}" for s in sizes)
        which = f"{tag('PixelSpacing')} and {tag('ImagePositionPatient')}"
        raise ExamError(f"{which} give voxels of {said} mm: no PET scanner's")
    axes = orientation(headers[0])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * column_mm, axes[1] * row_mm
    affine[:3, 2], affine[:3, 3] = np.cross(axes[0], axes[1]) * step, position(headers[order[0]])
    return Geometry(order, along, step, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _refuse_gaps(along: np.ndarray) -> None:
    steps = np.diff(along)
    # Not the median: of five slices, a lost one widens half the steps.
    usual = float(np.percentile(steps, 25, method="lower"))
    wide = np.flatnonzero(steps > GAP * usual)
    where = [
        f"{round(steps[i] / usual) - 1} between {along[i]:.2f} and {along[i + 1]:.2f} mm"
        for i in wide[:3]
    ]
    if where:
        more = f" and at {wide.size - 3} more places" if wide.size > 3 else ""
        said = f"slices are missing ({tag('ImagePositionPatient')})"
        raise ExamError(f"{said}: {'; '.join(where)}{more}", _AGAIN)


def to_uniform(volume: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Put slices (slices, rows, columns), in `geometry.order`, on the uniform grid.

    A slice within 5 % of a step of its place is taken as it is: a hot spot in one slice keeps its
    SUVmax (positions are off by 1 % of a step in exams whose beds do not meet exactly). Other
    planes are linear blends of their two neighbours.
    """
    if not (np.abs(geometry.offsets) > ON_GRID).any():
        return volume
    places = (geometry.positions_mm - geometry.positions_mm[0]) / geometry.step_mm
    result = volume.copy()
    for k in range(len(places)):
        nearest = int(np.abs(places - k).argmin())
        if abs(places[nearest] - k) <= ON_GRID:
            result[k] = volume[nearest]
            continue
        low = min(max(int(np.searchsorted(places, k, side="right")) - 1, 0), len(places) - 2)
        share = (k - places[low]) / (places[low + 1] - places[low])
        result[k] = (1 - share) * volume[low] + share * volume[low + 1]
    return result
