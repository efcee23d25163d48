"""Maximum-intensity projections at 2 mm, and their place on the canvas that the GAN sees.

The paper resamples every volume to isotropic 2 mm with nearest-neighbour interpolation, then
projects (section 4.1). On an axis-aligned grid nearest-neighbour resampling only picks voxels, and
picking commutes with the maximum: the maximum comes first, over the stored voxels in the order they
lie in memory, and picking is left for the small 2-D result. The bits are those of SimpleITK's
Resample + maximum. Oblique grids are sampled once. Measured by benchmarks/projection.py.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import eulerangles, orientations, spaces

from petsuv import nifti
from petsuv.errors import ExamError, tell
from petsuv.plausible import check_suv, stride
from radiogan_lib import machine
from radiogan_lib.config import ConfigError

VERSION = 1  # goes up when the same exam would give another projection or picture on the canvas
OBLIQUE = 1e-3  # off-axis direction cosine (1 mm per metre) above which a grid is resampled
THREADS_ABOVE = 16_000_000  # bytes of volume from which threads pay for themselves


def coronal_mip(image: nib.Nifti1Image, spacing_mm: float = 2.0) -> np.ndarray:
    """Project from front to back.

    Args:
        image: 3-D (or 4-D with one volume), any axis order, orientation and stored type.
        spacing_mm: pixel size of the result, both ways.

    Returns:
        (rows, columns) float32 in the image's unit (SUV): head up, right on the viewer's left.
    """
    return upright(_project(image, 1, spacing_mm))


def sagittal_mip(image: nib.Nifti1Image, spacing_mm: float = 2.0) -> np.ndarray:
    """Project from right to left: (rows, columns) float32, head up, face to the viewer's left."""
    return upright(_project(image, 0, spacing_mm))


def is_axis_aligned(affine: np.ndarray) -> bool:
    """Do the voxel axes run along right-left, back-front and foot-head, to 1 mm in a metre?"""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return bool((np.sort(cosines, axis=0)[:2] <= OBLIQUE).all())


def plane_indices(
    n: int, voxel_mm: float, spacing_mm: float, origin_mm: float = 0.0, fastest: bool = False
) -> np.ndarray:
    """Which of `n` input planes nearest-neighbour resampling picks for every output plane.

    The output starts at the centre of the first input plane and has round(n · voxel / spacing)
    planes. A plane more than half a voxel beyond the last centre is outside the image (−1, drawn
    as 0). Half-way ties go up. Rounding at a tie depends on the order of operations, which is
    ITK's: through the physical position `origin_mm`, and along its `fastest` axis (x) by
    interpolation between the two ends of a line.
    """
    m = round(n * voxel_mm / spacing_mm)
    if fastest:
        first, last = (((origin_mm + i * spacing_mm) - origin_mm) * (1 / voxel_mm) for i in (0, m))
        place = first + np.arange(m) / max(m, 1) * (last - first)
    else:
        place = ((origin_mm + np.arange(m) * spacing_mm) - origin_mm) * (1 / voxel_mm)
    index = np.floor(place + 0.5).astype(np.intp)
    index[place >= n - 0.5] = -1
    return index


def _project(image, depth: int, spacing_mm: float) -> np.ndarray:
    """(first, second) remaining canonical axes, the maximum along canonical axis `depth`."""
    if not spacing_mm > 0:
        raise ValueError(f"spacing_mm = {spacing_mm}; it must be above zero.")
    if not is_axis_aligned(image.affine):  # on an upright grid around it; 0 outside the volume
        whole = (image.shape[:3], image.affine)
        shape, affine = spaces.vox2out_vox(whole, [float(spacing_mm)] * 3)
        return Sampler(image).maximum(np.linalg.inv(image.affine) @ affine, shape, depth)
    array, slope, inter, ornt = stored(image)
    picks = picked_planes(array.shape, image.affine, spacing_mm)
    axis = int(np.flatnonzero(ornt[:, 0] == depth)[0])
    planes = stored_planes(picks[depth], array.shape[axis], ornt[axis, 1] < 0)
    flat = maximum_along(array, axis, planes)
    return _finish(scaled(flat, slope, inter), ornt, axis, picks, depth)


class Sampler:
    """Nearest neighbours of a volume on any grid, and their maximum along an axis of the grid."""

    def __init__(self, image: nib.Nifti1Image) -> None:
        array, slope, inter, _ = stored(image)
        if (slope, inter) != (1.0, 0.0):  # what lies outside is 0 after scaling
            array = scaled(array, slope, inter)
        self.array = array
        self._columns: dict[int, np.ndarray] = {}  # of a stored axis; kept for the next view

    def maximum(self, step: np.ndarray, shape: Sequence[int], depth: int) -> np.ndarray:
        """The maximum along axis `depth` of a grid of `shape` points; 0 outside the volume.

        Args:
            step: (4, 4) from a grid point's number to a place in the stored volume, in voxels.

        Returns:
            (first, second) remaining axes of the grid, float32.
        """
        moves = np.abs(step[:3, :3]) * shape > 1e-3  # voxels; [stored axis, grid axis]
        for axis in range(3):
            along = int(np.argmax(moves[axis]))
            if moves[axis].sum() == moves[:, along].sum() == 1:
                view = self._in_front if along == depth else self._in_columns
                flat, kept = view(step, shape, depth, axis, along)
                break
        else:
            flat, kept = self._pointwise(step, shape, depth)
        return (flat if kept[0] < kept[1] else flat.T).astype(np.float32)

    def _table(self, step, shape, axis: int, first: int, second: int) -> np.ndarray:
        """Number of the column along a stored axis for every point of a plane; −1 outside."""
        table, inside = 0, True
        i, j = np.arange(shape[first])[:, None], np.arange(shape[second])
        for other in (a for a in range(3) if a != axis):
            n = self.array.shape[other]
            place = step[other, first] * i + step[other, second] * j + step[other, 3]
            nearest = np.floor(place + 0.5).astype(np.intp)
            table, inside = table * n + nearest, inside & (nearest >= 0) & (nearest < n)
        return np.where(inside, table, -1)

    def _picks(self, step, shape, axis: int, along: int) -> np.ndarray:
        """The stored plane of every plane of a grid's axis that the volume shares; −1 outside."""
        nearest = np.floor(step[axis, along] * np.arange(shape[along]) + step[axis, 3] + 0.5)
        outside = (nearest < 0) | (nearest >= self.array.shape[axis])
        return np.where(outside, -1, nearest).astype(np.intp)

    def _in_columns(self, step, shape, depth: int, axis: int, along: int):
        """A stored axis runs along an axis of the picture: whole columns of voxels are compared."""
        if axis not in self._columns:
            turned = np.moveaxis(self.array, axis, 2)
            columns = np.zeros((math.prod(turned.shape[:2]) + 1, turned.shape[2]), turned.dtype)
            columns[:-1].reshape(turned.shape)[...] = turned
            self._columns[axis] = columns  # the last one is what lies outside
        columns = self._columns[axis]
        other = 3 - depth - along
        table = self._table(step, shape, axis, other, depth) % len(columns)
        new = np.diff(table, axis=1, prepend=-1) != 0
        best = np.empty((shape[other], columns.shape[1]), columns.dtype)

        def lines(numbers: range) -> None:
            for k in numbers:
                np.maximum.reduce(columns.take(table[k, new[k]], axis=0), axis=0, out=best[k])

        _in_threads(lines, shape[other], columns)
        picks = self._picks(step, shape, axis, along)
        flat = best[:, picks]
        flat[:, picks < 0] = 0
        return flat, (other, along)

    def _in_front(self, step, shape, depth: int, axis: int, along: int):
        """A stored axis runs along the line of sight: the maximum comes first, then sampling."""
        kept = [a for a in range(3) if a != depth]
        picks = self._picks(step, shape, axis, along)
        inside = np.unique(picks[picks >= 0])
        flat = np.append(maximum_along(self.array, axis, inside).ravel(), self.array.dtype.type(0))
        flat = flat[self._table(step, shape, axis, *kept)]
        return np.maximum(flat, 0) if (picks < 0).any() else flat, kept

    def _pointwise(self, step, shape, depth: int):
        """Turned about more than one axis: point by point, one row of the picture at a time."""
        across, up = (a for a in range(3) if a != depth)
        voxels = np.pad(self.array, 1).ravel(order="F")  # a layer of zeros is what lies outside
        sizes = [n + 2 for n in self.array.shape]
        strides = np.cumprod([1, *sizes[:2]])
        line, column = np.arange(shape[depth])[:, None], np.arange(shape[across])
        start = [  # rounded by cutting off, behind the layer of zeros
            (s[depth] * line + s[across] * column + s[3] + 1.5).astype(np.float32) for s in step[:3]
        ]
        flat = np.empty((shape[up], shape[across]), voxels.dtype)

        def rows(numbers: range) -> None:
            for row in numbers:
                index = np.int32(0)
                for axis in range(3):
                    place = start[axis] + np.float32(step[axis, up] * row)
                    np.clip(place, 0, sizes[axis] - 1, out=place)
                    index = index + place.astype(np.int32) * np.int32(strides[axis])
                np.maximum.reduce(voxels.take(index, mode="clip"), axis=0, out=flat[row])

        _in_threads(rows, shape[up], voxels)
        return flat, (up, across)


def _in_threads(work: Callable[[range], None], n: int, volume: np.ndarray) -> None:
    """Divide 0 … n − 1 among up to four threads, if the volume is large."""
    threads = min(4, machine.cores(), n) if volume.nbytes >= THREADS_ABOVE else 1
    edges = np.linspace(0, n, threads + 1).astype(int)
    parts = [range(low, high) for low, high in itertools.pairwise(edges)]
    if threads == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))


def _finish(flat: np.ndarray, ornt, axis: int, picks: list[np.ndarray], depth: int) -> np.ndarray:
    """Turn the stored 2-D maximum into canonical axes and pick the planes of the output grid."""
    kept = [a for a in range(3) if a != axis]
    if ornt[kept[0], 0] > ornt[kept[1], 0]:
        flat, kept = flat.T, kept[::-1]
    flat = flat[tuple(slice(None, None, -1 if ornt[a, 1] < 0 else 1) for a in kept)]
    rows, columns = (picks[a] for a in range(3) if a != depth)
    if (picks[depth] < 0).any():  # planes outside the image are 0, and 0 takes part in the maximum
        flat = np.maximum(flat, np.float32(0))
    result = flat.take(np.maximum(rows, 0), axis=0).take(np.maximum(columns, 0), axis=1)
    result[rows < 0] = 0
    result[:, columns < 0] = 0
    return result


def picked_planes(shape, affine: np.ndarray, spacing_mm: float) -> list[np.ndarray]:
    """`plane_indices` of the three canonical axes of an axis-aligned volume."""
    ornt = orientations.io_orientation(affine)
    canonical = affine @ orientations.inv_ornt_aff(ornt, shape)
    voxel = nib.affines.voxel_sizes(canonical)
    order = np.argsort(ornt[:, 0])
    return [
        plane_indices(shape[order[a]], voxel[a], spacing_mm, canonical[a, 3], fastest=a == 0)
        for a in range(3)
    ]


def stored_planes(picks: np.ndarray, n: int, flipped: bool) -> np.ndarray:
    """Canonical plane numbers → the distinct stored ones, ascending."""
    inside = np.unique(picks[picks >= 0])
    return (n - 1 - inside)[::-1] if flipped else inside


def maximum_along(array: np.ndarray, axis: int, planes: np.ndarray) -> np.ndarray:
    """Maximum over some planes of one axis, in the array's own type, reading memory in order."""
    turned = [a for a in range(3) if array.strides[a] < 0]  # a flipped view: as memory runs
    array = np.flip(array, turned)
    if axis in turned:
        planes = (array.shape[axis] - 1 - planes)[::-1]
    order = sorted(range(3), key=lambda a: -array.strides[a])  # slowest axis first
    work, depth = array.transpose(order), order.index(axis)
    kept = [a for a in order if a != axis]
    result = np.empty([array.shape[a] for a in kept], array.dtype)
    gaps = np.diff(planes)
    step = int(gaps[0]) if gaps.size else 1
    even = bool((gaps == step).all())

    def part(numbers: range) -> None:
        low, high = numbers[0], numbers[-1] + 1
        out = result[low:high]
        if depth == 0:
            out[...] = work[planes[0], low:high]
            for plane in planes[1:]:
                np.maximum(out, work[plane, low:high], out=out)
        elif even:
            cut = slice(planes[0], planes[-1] + 1, step)
            _reduce(work[low:high, cut] if depth == 1 else work[low:high, :, cut], depth, out)
        else:  # slab by slab, so that what the planes share of a slab stays in the cache
            shape = [len(planes) if a == depth else n for a, n in enumerate(work.shape)]
            chosen = np.empty(shape[1:], work.dtype)
            for row, slab in zip(out, work[low:high], strict=True):
                slab.take(planes, axis=depth - 1, out=chosen, mode="clip")
                _reduce(chosen[None], depth, row[None])

    _in_threads(part, result.shape[0], array)
    result = np.flip(result, [i for i, a in enumerate(kept) if a in turned])
    return result if kept[0] < kept[1] else result.T


def _reduce(work: np.ndarray, depth: int, out: np.ndarray) -> None:
    """The maximum of (slabs, rows, columns) along the rows or the columns.

    NumPy's inner loop starts anew for each row; about ten rows count as one here: a quarter faster.
    """
    slabs, rows, columns = work.shape
    if depth != 1 or rows < 20 or not work[0].flags.c_contiguous:
        np.maximum.reduce(work, axis=depth, out=out)
        return
    fold = next((f for f in (10, 9, 12, 8) if rows % f == 0), 10)
    full = rows - rows % fold
    long = work[:, :full].reshape(slabs, -1, fold * columns)
    for k in range(0, slabs, 16):  # few slabs at a time, so that the long rows stay in the cache
        some = slice(k, k + 16)
        best = np.maximum.reduce(long[some], axis=1).reshape(-1, fold, columns)
        np.maximum.reduce(best, axis=1, out=out[some])
        if full < rows:
            np.maximum(out[some], np.maximum.reduce(work[some, full:], axis=1), out=out[some])


def stored(image) -> tuple[np.ndarray, float, float, np.ndarray]:
    """The voxels as stored with their slope and intercept, and the orientation of their axes."""
    proxy, slope, inter = image.dataobj, 1.0, 0.0
    # A negative slope would turn the maximum into a minimum.
    if hasattr(proxy, "get_unscaled") and proxy.slope > 0:
        slope, inter, proxy = float(proxy.slope), float(proxy.inter), proxy.get_unscaled()
    array = np.asanyarray(proxy)
    if array.ndim > 3 and all(n == 1 for n in array.shape[3:]):
        array = array.reshape(array.shape[:3], order="A" if array.flags.f_contiguous else "C")
    if array.ndim != 3:
        raise ExamError(f"the image has {array.ndim} dimensions; a projection needs a volume")
    return array, slope, inter, orientations.io_orientation(image.affine)


def scaled(flat: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Stored values → float32, by the arithmetic of nibabel's get_fdata (in float64)."""
    if (slope, inter) != (1.0, 0.0):
        flat = flat * slope + inter
    return flat.astype(np.float32)


def upright(mip: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mip.T[::-1, ::-1])


def rotating_mips(
    image: nib.Nifti1Image, n_angles: int = 24, spacing_mm: float = 2.0
) -> np.ndarray:
    """Views from all around the patient, by nearest neighbour on a grid that turns.

    Returns:
        (n_angles, rows, columns) float32; head up. Frame 0 is from the front, with the patient's
        right on the viewer's left.
    """
    if n_angles < 1:
        raise ValueError(f"n_angles = {n_angles}; at least one view is needed.")
    sampler = Sampler(image)
    last = np.array(sampler.array.shape) - 1
    # mm along right-left, back-front, foot-head for a step along each stored axis.
    reach = np.abs(image.affine[:3, :3])
    width, depth, height = reach @ (last + 1) / spacing_mm
    half = round(max(width, depth) / 2)
    shape = (2 * half + 1, 2 * half + 1, max(1, round(height)))
    middle = nib.affines.apply_affine(image.affine, last / 2)
    foot = middle[2] - reach[2] @ last / 2
    to_stored = np.linalg.inv(image.affine)
    frames = np.empty((n_angles, shape[2], shape[0]), np.float32)
    for k in range(n_angles):
        turn = eulerangles.euler2mat(z=2 * np.pi * k / n_angles) * spacing_mm
        corner = [*(middle - turn @ [half, half, 0])[:2], foot]
        step = to_stored @ nib.affines.from_matvec(turn, corner)
        frames[k] = upright(sampler.maximum(step, shape, 1))
    return frames


def nifti_mip(
    path: Path, spacing_mm: float = 2.0, notes: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """`coronal_mip(petsuv.read(path))` to the last bit, without the volume.

    Every few unpacked megabytes are projected in their stored type while they are in the cache.

    Returns:
        the MIP, and the voxel size along right-left, back-front and foot-head, mm.
    """
    header = nifti.read_header(path)
    ornt = orientations.io_orientation(header.affine)
    voxel_mm = nib.affines.voxel_sizes(header.affine)[np.argsort(ornt[:, 0])]
    if header.slope <= 0 or not is_axis_aligned(header.affine):
        return coronal_mip(nifti.read(path, notes), spacing_mm), voxel_mm
    picks = picked_planes(header.shape, header.affine, spacing_mm)
    axis = int(np.flatnonzero(ornt[:, 0] == 1)[0])  # the stored axis that runs from back to front
    planes = stored_planes(picks[1], header.shape[axis], ornt[axis, 1] < 0)
    step = stride(math.prod(header.shape))
    parts, lowest, highest, sample = [], np.inf, -np.inf, []
    for k, block in nifti.slabs(header):
        lowest, highest = np.minimum(lowest, block.min()), np.maximum(highest, block.max())
        first = -(k * header.shape[0] * header.shape[1]) % step
        sample.append(block.reshape(-1)[first::step].copy())
        if axis < 2:
            parts.append(maximum_along(block, 2 - axis, planes))  # (k, i) or (k, j)
        elif (inside := planes[(planes >= k) & (planes < k + len(block))] - k).size:
            parts = [np.maximum.reduce([*parts, maximum_along(block, 0, inside)])]  # (j, i)
    flat = np.concatenate(parts)
    low, high = scaled(np.array([lowest, highest]), header.slope, header.inter)
    sample = scaled(np.concatenate(sample), header.slope, header.inter)
    tell([*notes, *header.notes, *check_suv(float(low), float(high), sample)])
    mip = _finish(scaled(flat.T, header.slope, header.inter), ornt, axis, picks, 1)
    return upright(mip), voxel_mm


def _overlaps(n_source: int, n_canvas: int, field_px: float, offset_px: int) -> np.ndarray:
    """Weights (n_canvas, n_source): which share of canvas pixel i source pixel j covers.

    Canvas pixel i covers [i, i + 1] · field_px / n_canvas, source pixel j [j, j + 1] + offset_px.
    """
    step = field_px / n_canvas
    low = np.arange(n_canvas)[:, None] * step
    source = np.arange(n_source)[None, :] + offset_px
    shared = np.minimum(low + step, source + 1.0) - np.maximum(low, source)
    return np.clip(shared, 0.0, None) / step


def fit_to_canvas(
    mip: np.ndarray,
    canvas: tuple[int, int],
    field_of_view_mm: tuple[float, float],
    spacing_mm: float | tuple[float, float] = 2.0,
) -> np.ndarray:
    """Place a projection in the field of view and average it down to the canvas.

    The field of view starts at the top row (the head), is centred left to right to the nearest
    whole pixel, and is empty (SUV 0) where the exam does not reach. The value of a canvas pixel is
    the mean over its area (our reading of paper §3.1 and §3.2).

    Args:
        mip: (rows, cols) SUV, head up.
        canvas: (height, width) in pixels, e.g. `cfg.canvas`.
        field_of_view_mm: (height, width) in mm.
        spacing_mm: size of a pixel of `mip`, mm; height and width where they differ.

    Returns:
        (height, width) float32 SUV.

    Raises:
        ConfigError: the field of view is not two positive lengths.
        ValueError: `mip` is not a picture.
    """
    mip = np.asarray(mip)
    if mip.ndim != 2 or 0 in mip.shape:
        raise ValueError(f"a projection has two dimensions with pixels in them, not {mip.shape}.")
    fov = tuple(field_of_view_mm)
    if len(fov) != 2 or not all(math.isfinite(v) and v > 0 for v in fov):
        said = f"field_of_view_mm = {list(fov)!r}"
        raise ConfigError(f"{said}; give height and width in mm, such as [900, 540].")
    row_mm, column_mm = (spacing_mm, spacing_mm) if np.isscalar(spacing_mm) else spacing_mm
    height_px, width_px = fov[0] / row_mm, fov[1] / column_mm
    left = math.floor((width_px - mip.shape[1]) / 2)
    down = _overlaps(mip.shape[0], canvas[0], height_px, 0)
    across = _overlaps(mip.shape[1], canvas[1], width_px, left)
    return (down @ mip.astype(np.float64) @ across.T).astype(np.float32)  # (height, width)
