"""Maximum-intensity projections at 2 mm, and their place on the canvas that the GAN sees.

The paper resamples every volume to isotropic 2 mm with nearest-neighbour interpolation, then projects (section 4.1). On
an axis-aligned grid nearest-neighbour resampling only picks voxels: output plane i is input plane index[i]. Picking
commutes with the maximum, so the maximum comes first, over the stored voxels in the order they lie in memory, and
picking is left for the small 2-D result. The bits are those of SimpleITK's Resample + maximum; the time is that of
reading the volume once. Oblique grids are sampled plane by plane.
Explained in notebooks/01_data_preparation.ipynb; measured by benchmarks/projection.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations, processing

from petsuv import nifti
from petsuv.errors import ExamError, tell
from petsuv.plausible import check_suv, stride
from radiogan_lib import machine
from radiogan_lib.config import ConfigError

VERSION = (
    1  # goes up when the same exam would give another projection or another picture on the canvas
)
OBLIQUE = 1e-3  # off-axis direction cosine (1 mm per metre) above which a grid is resampled
THREADS_ABOVE = 16_000_000  # bytes of volume from which threads pay for themselves


def coronal_mip(image: nib.Nifti1Image, spacing_mm: float = 2.0) -> np.ndarray:
    """Project from front to back.

    Args:
        image: 3-D (or 4-D with one volume), any axis order, orientation and stored type.
        spacing_mm: pixel size of the result, both ways.

    Returns:
        (rows, columns) float32 in the image's unit (SUV): head up, patient's right on the viewer's left.
    """
    return upright(_project(image, 1, spacing_mm))


def sagittal_mip(image: nib.Nifti1Image, spacing_mm: float = 2.0) -> np.ndarray:
    """Project from right to left: (rows, columns) float32, head up, face to the viewer's left."""
    return upright(_project(image, 0, spacing_mm))


def is_axis_aligned(affine: np.ndarray) -> bool:
    """Do the voxel axes run along right-left, back-front and foot-head, to a millimetre in a metre?"""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return bool((np.sort(cosines, axis=0)[:2] <= OBLIQUE).all())


def plane_indices(
    n: int, voxel_mm: float, spacing_mm: float, origin_mm: float = 0.0, fastest: bool = False
) -> np.ndarray:
    """Which input plane nearest-neighbour resampling picks for every output plane: ITK's arithmetic, to the last bit.

    The output starts at the centre of the first input plane and has round(n · voxel / spacing) planes. A plane more
    than half a voxel beyond the last centre is outside the image (−1, drawn as 0). Half-way ties go up; which side of a
    tie rounding falls on depends on the order of operations, so that order is ITK's: through the physical position,
    and along the fastest axis by interpolation between the two ends of a line.

    Args:
        n: input planes.
        voxel_mm: distance between them.
        spacing_mm: distance between output planes.
        origin_mm: physical position of the first plane.
        fastest: the axis along which ITK walks (its x).
    """
    m = int(round(n * voxel_mm / spacing_mm))
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
    if not is_axis_aligned(image.affine):
        return _oblique(image, depth, spacing_mm)
    array, slope, inter, ornt = stored(image)
    picks = picked_planes(array.shape, image.affine, spacing_mm)
    axis = int(np.flatnonzero(ornt[:, 0] == depth)[0])
    flat = maximum_along(
        array, axis, stored_planes(picks[depth], array.shape[axis], ornt[axis, 1] < 0)
    )
    return finish(scaled(flat, slope, inter), ornt, axis, picks, depth)


def _oblique(image, depth: int, spacing_mm: float) -> np.ndarray:
    """`_project` of an oblique volume: nearest neighbour on an upright grid around it, plane by plane.

    A point within half a voxel of the volume takes its nearest voxel, as in SimpleITK; the rest is 0.
    """
    array, slope, inter, _ = stored(image)
    shape, affine = nib.spaces.vox2out_vox((array.shape, image.affine), [float(spacing_mm)] * 3)
    step = np.linalg.inv(image.affine) @ affine  # output voxel → stored voxel
    step[:3, 3] += 1.5  # rounded by cutting off, in a volume with one layer of zeros around it
    if (slope, inter) != (1.0, 0.0):  # what lies outside is 0 after scaling
        array = scaled(array, slope, inter)
    voxels = np.pad(array, 1).ravel(order="F")
    sizes = [n + 2 for n in array.shape]
    strides = np.cumprod([1, *sizes[:2]])
    across, up = (a for a in range(3) if a != depth)
    line, column = np.arange(shape[depth])[:, None], np.arange(shape[across])[None]

    def index(axis: int, place: np.ndarray) -> np.ndarray:
        np.clip(place, 0, sizes[axis] - 1, out=place)
        whole = place.astype(np.int32)
        whole *= np.int32(strides[axis])
        return whole

    # What a row of the result leaves unchanged is computed once: all but one number, if the grid turns about one axis.
    base, moving = np.zeros((shape[depth], shape[across]), np.int32), []
    for axis in range(3):
        place = step[axis, depth] * line + step[axis, across] * column + step[axis, 3]
        if abs(step[axis, up]) * shape[up] < 1e-6:
            base += index(axis, place)
        else:
            flat_place = np.ptp(place) < 1e-6
            moving.append((axis, place[:1, :1] if flat_place else place.astype(np.float32)))
    flat = np.empty((shape[up], shape[across]), array.dtype)

    def part(rows: range) -> None:
        before = None
        for row in rows:
            shifts = [
                index(axis, place + place.dtype.type(step[axis, up] * row))
                for axis, place in moving
            ]
            same = before is not None and all(map(np.array_equal, shifts, before))
            flat[row] = flat[row - 1] if same else voxels.take(sum(shifts, base)).max(axis=0)
            before = shifts

    threads = min(4, machine.cores())
    edges = np.linspace(0, shape[up], threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, map(range, edges[:-1], edges[1:])))
    return flat.astype(np.float32).T


def finish(
    flat: np.ndarray, ornt: np.ndarray, axis: int, picks: list[np.ndarray], depth: int
) -> np.ndarray:
    """Turn the stored 2-D maximum into canonical axes and pick the planes of the output grid."""
    kept = [a for a in range(3) if a != axis]
    if ornt[kept[0], 0] > ornt[kept[1], 0]:
        flat, kept = flat.T, kept[::-1]
    flat = flat[tuple(slice(None, None, -1 if ornt[a, 1] < 0 else 1) for a in kept)]
    rows, columns = (picks[a] for a in range(3) if a != depth)
    if (picks[depth] < 0).any():  # planes outside the image are 0, and 0 takes part in the maximum
        flat = np.maximum(flat, np.float32(0))
    result = flat[np.ix_(np.maximum(rows, 0), np.maximum(columns, 0))]
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
    """Maximum over some planes of one axis, in the array's own type, reading memory in order.

    A large array is cut along its slowest axis for up to four threads, because one core cannot fill the memory bus.
    Planes are views: picking them one by one from a copy would copy the volume once per plane.
    """
    turned = [a for a in range(3) if array.strides[a] < 0]  # a flipped view: as memory runs
    array = np.flip(array, turned)
    if axis in turned:
        planes = (array.shape[axis] - 1 - planes)[::-1]
    order = sorted(range(3), key=lambda a: -array.strides[a])  # slowest axis first
    work, depth = array.transpose(order), order.index(axis)
    kept = [a for a in order if a != axis]
    result = np.empty([array.shape[a] for a in kept], array.dtype)
    threads = min(4, machine.cores()) if array.nbytes >= THREADS_ABOVE else 1
    split = 1 if depth == 0 else 0  # cut along the slowest axis that stays
    edges = np.linspace(0, work.shape[split], threads + 1).astype(int)
    step = int(planes[1] - planes[0]) if planes.size > 1 else 1
    even = bool((np.diff(planes) == step).all())

    def part(i: int) -> None:
        out = result[edges[i] : edges[i + 1]]
        if depth != 0 and not even:
            # Slab by slab, so that what the planes share of a slab stays in the cache.
            for row, slab in zip(out, work[edges[i] : edges[i + 1]], strict=True):
                np.maximum.reduce(slab.take(planes, axis=depth - 1), axis=depth - 1, out=row)
            return
        cut = work[(slice(None),) * split + (slice(edges[i], edges[i + 1]),)]
        if even:
            at = (slice(None),) * depth + (slice(planes[0], planes[-1] + 1, step),)
            np.maximum.reduce(cut[at], axis=depth, out=out)
            return
        out[...] = cut[planes[0]]
        for plane in planes[1:]:
            np.maximum(out, cut[plane], out=out)

    if threads == 1:
        part(0)
    else:
        with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the interpreter lock
            list(pool.map(part, range(threads)))
    result = np.flip(result, [i for i, a in enumerate(kept) if a in turned])
    return result if kept[0] < kept[1] else result.T


def stored(image) -> tuple[np.ndarray, float, float, np.ndarray]:
    """The voxels as stored with their slope and intercept, and the orientation of the stored axes."""
    proxy = image.dataobj
    if (
        hasattr(proxy, "get_unscaled") and proxy.slope > 0
    ):  # a negative slope would turn the maximum into a minimum
        array, slope, inter = (
            np.asanyarray(proxy.get_unscaled()),
            float(proxy.slope),
            float(proxy.inter),
        )
    else:
        array, slope, inter = np.asanyarray(proxy), 1.0, 0.0
    if array.ndim > 3 and all(n == 1 for n in array.shape[3:]):
        array = array.reshape(array.shape[:3], order="A" if array.flags.f_contiguous else "C")
    if array.ndim != 3:
        raise ExamError(f"the image has {array.ndim} dimensions; a projection needs a volume")
    return array, slope, inter, orientations.io_orientation(image.affine)


def scaled(flat: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Stored values → float32, by the arithmetic of nibabel's get_fdata (float64, then rounded once)."""
    return (
        flat.astype(np.float32)
        if (slope, inter) == (1.0, 0.0)
        else (flat * slope + inter).astype(np.float32)
    )


def upright(mip: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mip.T[::-1, ::-1])


def straightened(image, spacing_mm: float):
    """An oblique volume on an axis-aligned grid of the result's spacing, by nibabel's nearest-neighbour resampler."""
    if image.ndim > 3:
        image = nib.squeeze_image(image)
    return processing.resample_to_output(image, voxel_sizes=[float(spacing_mm)] * 3, order=0)


def rotating_mips(
    image: nib.Nifti1Image, n_angles: int = 24, spacing_mm: float = 2.0
) -> np.ndarray:
    """Views from all around the patient, for a cine loop: frame 0 from the front, then turning about the long axis.

    Every frame samples the volume by nearest neighbour on a square of `spacing_mm` that turns about its centre; the
    slices share one table of voxels per angle, so a frame costs one gather and no interpolation.

    Returns:
        (n_angles, rows, columns) float32; head up. Frame 0 has the patient's right on the viewer's left, the frame at
        half a turn is its mirror image.
    """
    if n_angles < 1:
        raise ValueError(f"n_angles = {n_angles}; at least one view is needed.")
    image = image if is_axis_aligned(image.affine) else straightened(image, spacing_mm)
    array, slope, inter, ornt = stored(image)
    canonical = orientations.apply_orientation(array, ornt)
    voxel = nib.affines.voxel_sizes(image.affine)[np.argsort(ornt[:, 0])]
    nx, ny, nz = canonical.shape
    rows = plane_indices(nz, voxel[2], spacing_mm)
    columns = np.zeros(
        (nx * ny + 1, rows.size), canonical.dtype
    )  # the last one is what lies outside: 0
    columns[:-1] = canonical[:, :, np.where(rows < 0, 0, rows)].reshape(nx * ny, rows.size)
    columns[:, rows < 0] = 0
    half = round(max(nx * voxel[0], ny * voxel[1]) / spacing_mm / 2)
    u = (np.arange(-half, half + 1) * spacing_mm)[:, None]  # across the view
    v = (np.arange(-half, half + 1) * spacing_mm)[None, :]  # along the line of sight
    frames = np.empty((n_angles, rows.size, u.size), np.float32)

    def turn(k: int) -> None:
        angle = 2 * np.pi * k / n_angles
        x = np.floor((np.cos(angle) * u - np.sin(angle) * v) / voxel[0] + nx / 2).astype(int)
        y = np.floor((np.sin(angle) * u + np.cos(angle) * v) / voxel[1] + ny / 2).astype(int)
        table = np.where((x >= 0) & (x < nx) & (y >= 0) & (y < ny), x * ny + y, nx * ny)
        best = columns.take(table[:, 0], axis=0)
        for j in np.flatnonzero((table != nx * ny).any(axis=0)):
            np.maximum(best, columns.take(table[:, j], axis=0), out=best)
        frames[k] = upright(scaled(best, slope, inter))

    with ThreadPoolExecutor(min(4, machine.cores())) as pool:
        list(pool.map(turn, range(n_angles)))
    return frames


def nifti_mip(
    path: Path, spacing_mm: float = 2.0, notes: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The coronal MIP of a NIfTI file, equal to `coronal_mip(petsuv.read(path))` to the last bit, without the volume.

    Every few unpacked megabytes are projected while they are in the cache, in their stored type; what is left is gzip.

    Returns:
        (rows, columns) float32 SUV, head up, patient's right on the viewer's left; and the voxel size along
        right-left, back-front and foot-head, mm.
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
    flat, lowest, highest, sample = None, np.inf, -np.inf, []
    for k, block in nifti.slabs(header):
        lowest, highest = np.minimum(lowest, block.min()), np.maximum(highest, block.max())
        sample.append(
            block.reshape(-1)[-(k * header.shape[0] * header.shape[1]) % step :: step].copy()
        )
        if axis == 2:
            inside = planes[(planes >= k) & (planes < k + len(block))] - k
            part = maximum_along(block, 0, inside) if inside.size else None  # (j, i)
            flat = part if flat is None else flat if part is None else np.maximum(flat, part)
        else:
            part = maximum_along(block, 2 - axis, planes)  # (k, i) or (k, j)
            flat = [part] if flat is None else [*flat, part]
    flat = flat if axis == 2 else np.concatenate(flat)
    extremes = scaled(np.array([lowest, highest]), header.slope, header.inter)
    sample = scaled(np.concatenate(sample), header.slope, header.inter)
    low, high = map(float, extremes)
    tell([*notes, *header.notes, *check_suv(low, high, sample)])
    mip = finish(scaled(flat.T, header.slope, header.inter), ornt, axis, picks, 1)
    return upright(mip), voxel_mm


def _overlaps(n_source: int, n_canvas: int, field_px: float, offset_px: int) -> np.ndarray:
    """Weights (n_canvas, n_source): which share of canvas pixel i is covered by source pixel j.

    All lengths are in source pixels; canvas pixel i covers [i, i + 1] · field_px / n_canvas of the field of view and
    source pixel j covers [j, j + 1] + offset_px. A canvas pixel that nothing covers has a row of zeros.
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

    The field of view starts at the top row (the head), is centred left to right to the nearest whole pixel, and is
    empty (SUV 0) where the exam does not reach. The value of a canvas pixel is the mean over its area, with fractional
    pixels weighed by the share that lies inside, so the mean over the field of view is kept. Where a canvas pixel is
    exactly a source pixel (d = 7: 640 × 384 over 1280 × 768 mm at 2 mm) the result equals the input bit for bit.

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

    Source: our reading of paper §3.1 and §3.2. Explained in notebooks/01_data_preparation.ipynb.
    """
    mip = np.asarray(mip)
    if mip.ndim != 2 or 0 in mip.shape:
        raise ValueError(
            f"a projection has two dimensions with pixels in them; this one has shape {mip.shape}."
        )
    fov = tuple(field_of_view_mm)
    if len(fov) != 2 or not all(math.isfinite(v) and v > 0 for v in fov):
        raise ConfigError(
            f"field_of_view_mm = {list(fov)!r}; give height and width in mm, such as [900, 540]."
        )
    row_mm, column_mm = (spacing_mm, spacing_mm) if np.isscalar(spacing_mm) else spacing_mm
    height_px, width_px = fov[0] / row_mm, fov[1] / column_mm
    left = math.floor((width_px - mip.shape[1]) / 2)
    down = _overlaps(mip.shape[0], canvas[0], height_px, 0)
    across = _overlaps(mip.shape[1], canvas[1], width_px, left)
    return (down @ mip.astype(np.float64) @ across.T).astype(np.float32)  # (height, width)
