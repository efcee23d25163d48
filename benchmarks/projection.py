"""How long one exam takes to become a projection, beside SimpleITK and nibabel.

    python benchmarks/projection.py [--repeats 5] [--quick] [--parts old disk world]

The methods take turns within every round; what counts is the ratio in a round, because times on a
shared machine wander. Both sides have the same cores: all, then one. The processor time of all
threads stands beside the time on the clock. Part `old` starts from a volume in memory (the paper's
grid and autoPET's), `disk` from a .nii.gz of autoPET's size, `world` tries other grids, layouts in
memory and views. Needs SimpleITK (extra `test`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from isal import igzip
from nibabel import eulerangles, spaces
from nibabel.processing import resample_to_output
from scipy import ndimage

from radiogan_lib import data

SPACING_MM = 2.0
OLD = {
    "paper": ((168, 168, 429), (4.06, 4.06, 2.0)),
    "autoPET": ((400, 400, 326), (2.0364201, 2.0364201, 3.0)),
}
# voxels of current scanners, and grids turned about right-left, back-front and foot-head, degrees
WORLD = {
    "1.65 mm": ((256, 256, 300), (1.65, 1.65, 2.0), (0, 0, 0)),
    "1.5 mm": ((256, 256, 300), (1.5, 1.5, 1.5), (0, 0, 0)),
    "2.04 mm": ((256, 256, 300), (2.04, 2.04, 3.0), (0, 0, 0)),
    "4.06 mm": ((168, 168, 429), (4.06, 4.06, 2.0), (0, 0, 0)),
    "4.06 mm, turned in plane": ((168, 168, 215), (4.06, 4.06, 4.0), (0, 0, 10)),
    "4.06 mm, tilted": ((168, 168, 215), (4.06, 4.06, 4.0), (10, 0, 0)),
    "4.06 mm, turned about three axes": ((168, 168, 215), (4.06, 4.06, 4.0), (10, 6, 12)),
}
ANGLES = 3  # of a rotating view: 0, 120 and 240 degrees
Race = dict[
    str, np.ndarray
]  # of a method: (rounds, 2) milliseconds on the clock and of the processor


def body(
    shape: tuple[int, int, int], voxel_mm: tuple[float, float, float], degrees=(0, 0, 0)
) -> nib.Nifti1Image:
    """A smooth, noisy ellipse of SUV in air: compresses like an exam (zeros outside, nothing
    repeats inside)."""
    rng = np.random.default_rng(0)
    coarse = ndimage.gaussian_filter(
        rng.standard_normal([max(n // 4, 2) for n in shape], dtype=np.float32), 2
    )
    zoom = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
    suv = ndimage.zoom(coarse / coarse.std(), zoom, order=1)
    x, y = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:2]], indexing="ij")
    inside = (x / 0.5) ** 2 + (y / 0.35) ** 2 < 1
    suv = np.where(inside[..., None], np.abs(suv) + rng.gamma(4, 0.1, shape), 0)
    corner = [-v * n / 2 for v, n in zip(voxel_mm, shape, strict=True)]
    upright = nib.affines.from_matvec(np.diag(voxel_mm), corner)
    turn = eulerangles.euler2mat(*np.deg2rad(degrees)[::-1])
    return nib.Nifti1Image(
        np.asfortranarray(suv, np.float32), nib.affines.from_matvec(turn) @ upright
    )


def as_sitk(image: nib.Nifti1Image) -> sitk.Image:
    """The same volume for SimpleITK, in nibabel's axes."""
    sizes = nib.affines.voxel_sizes(image.affine)
    moving = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.dataobj).T))
    moving.SetSpacing([float(s) for s in sizes])
    moving.SetDirection((image.affine[:3, :3] / sizes).ravel().tolist())
    moving.SetOrigin([float(v) for v in image.affine[:3, 3]])
    return moving


def sitk_mip(moving: sitk.Image, grid: nib.Nifti1Image | None, axis: int, angle: float = 0.0):
    """The usual recipe: isotropic nearest-neighbour resampling, then the maximum.

    Args:
        grid: None keeps the volume's own axes, otherwise the result is upright around this image.
        axis: of the maximum in (z, y, x).
        angle: turn of the view about the long axis, radians.
    """
    if grid is None:
        size = [round(n * s / SPACING_MM) for n, s in zip(moving.GetSize(), moving.GetSpacing())]
        origin, direction, turn = moving.GetOrigin(), moving.GetDirection(), sitk.Transform()
    else:
        shape, affine = spaces.vox2out_vox((grid.shape, grid.affine), [SPACING_MM] * 3)
        size, origin = [int(n) for n in shape], [float(v) for v in affine[:3, 3]]
        direction = (1, 0, 0, 0, 1, 0, 0, 0, 1)
        middle = affine[:3] @ [*(np.array(shape) / 2), 1]
        turn = sitk.Transform()
        if angle:
            turn = sitk.Euler3DTransform([float(v) for v in middle], 0.0, 0.0, angle)
    nearest, spacing = sitk.sitkNearestNeighbor, (SPACING_MM,) * 3
    fine = sitk.Resample(moving, size, turn, nearest, origin, spacing, direction, 0.0)
    return sitk.GetArrayViewFromImage(fine).max(axis=axis)[::-1, ::-1]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Everything that runs inside, ours and SimpleITK's, has one core."""
    allowed = os.sched_getaffinity(0)
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    os.sched_setaffinity(0, {min(allowed)})
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def race(methods: dict[str, Callable[[], object]], repeats: int) -> Race:
    """Milliseconds of every method, in turns, after one round that is not counted."""
    found: dict[str, list] = {name: [] for name in methods}
    for turn in range(repeats + 1):
        for name, method in methods.items():
            before = time.perf_counter(), time.process_time()
            method()
            after = time.perf_counter(), time.process_time()
            if turn:
                found[name].append([(b - a) * 1e3 for a, b in zip(before, after, strict=True)])
    return {name: np.array(times) for name, times in found.items()}


def row(label: str, times: np.ndarray, ours: np.ndarray) -> None:
    """One line: medians, and how many times longer than ours (median and range over the rounds)."""
    clock, processor = np.median(times, axis=0)
    ratio = times / ours
    print(
        f"{label:<62}{clock:>9.1f}{processor:>9.1f}{np.median(ratio[:, 0]):>8.1f} "
        f"({ratio[:, 0].min():.1f}-{ratio[:, 0].max():.1f}){np.median(ratio[:, 1]):>9.1f}",
        flush=True,
    )


def read_once(flat: np.ndarray) -> None:
    """The floor: every stored value is compared once, in the order of memory, on all cores."""
    runs = flat[: flat.size // 4096 * 4096].reshape(-1, 4096)
    with ThreadPoolExecutor() as pool:
        parts = np.array_split(runs, len(os.sched_getaffinity(0)))
        list(pool.map(lambda part: part.max(axis=1), parts))


def old_grids(repeats: int, shrink: int) -> None:
    """The coronal MIP of the two grids of before, with all cores and with one."""
    for name, (shape, voxel) in OLD.items():
        image = body(tuple(n // shrink for n in shape), voxel)
        lps = nib.Nifti1Image(image.dataobj, np.diag([-1, -1, 1, 1]) @ image.affine)
        moving = as_sitk(lps)  # its own axes, so that the arithmetic is the same
        ours, theirs = lambda i=image: data.coronal_mip(i), lambda m=moving: sitk_mip(m, None, 1)
        same = "identical bits" if np.array_equal(ours(), theirs()) else "DIFFERENT BITS"
        for cores, limit in (("all cores", contextlib.nullcontext()), ("one core", one_core())):
            with limit:
                floor = partial(read_once, np.asarray(image.dataobj).ravel(order="K"))
                methods = {"ours": ours, "reading it once": floor, "SimpleITK": theirs}
                times = race(methods, repeats)
            for who, found in times.items():
                row(f"{name}, coronal, {cores}, {same}: {who}", found, times["ours"])


VIEWS = {  # ours of an image; SimpleITK's of its own image, upright around ours
    "coronal": (data.coronal_mip, lambda m, i: sitk_mip(m, i, 1)),
    "sagittal": (data.sagittal_mip, lambda m, i: sitk_mip(m, i, 2)),
    "rotating": (
        lambda i: data.rotating_mips(i, ANGLES),
        lambda m, i: [sitk_mip(m, i, 1, 2 * np.pi * k / ANGLES) for k in range(ANGLES)],
    ),
}


def world(repeats: int, shrink: int) -> None:
    """Every grid, contiguous in memory or not, from the front, the side and from all around."""
    for name, (shape, voxel, degrees) in WORLD.items():
        plain = body(tuple(n // shrink for n in shape), voxel, degrees)
        moving, values = as_sitk(plain), np.asarray(plain.dataobj)
        flipped = np.ascontiguousarray(values[::-1, ::-1].T).T[::-1, ::-1]
        images = {"contiguous": plain, "flipped view": nib.Nifti1Image(flipped, plain.affine)}
        for view, (ours, theirs) in VIEWS.items():
            methods = {memory: partial(ours, image) for memory, image in images.items()}
            methods["SimpleITK"] = partial(theirs, moving, plain)
            times = race(methods, repeats)
            for memory in images:
                row(f"{name}, {view}, {memory}: ours", times[memory], times[memory])
                row(f"{name}, {view}, {memory}: SimpleITK", times["SimpleITK"], times[memory])


def unpack(path: Path) -> None:
    """The floor: unpack the file and do nothing with it."""
    buffer = bytearray(4 << 20)
    with igzip.open(path, "rb") as f:
        while f.readinto(buffer):
            pass


def usual_route(path: Path) -> np.ndarray:
    """From disk the way most scripts do it."""
    image = nib.load(path)
    fine = resample_to_output(
        nib.Nifti1Image(image.get_fdata(), image.affine), [SPACING_MM] * 3, order=0
    )
    return fine.get_fdata().max(axis=1).T[::-1, ::-1]


def disk(repeats: int, shrink: int) -> None:
    """From a .nii.gz to the coronal MIP."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exam.nii.gz"
        shape, voxel = OLD["autoPET"]
        nib.save(body(tuple(n // shrink for n in shape), voxel), path)
        methods = {
            "read_mip": lambda: data.read_mip(path),
            "of which unpacking (python-isal)": lambda: unpack(path),
            "read_suv, then coronal_mip": lambda: data.coronal_mip(data.read_suv(path)),
            "nibabel get_fdata + resample_to_output + max": lambda: usual_route(path),
            "SimpleITK ReadImage + Resample + max": lambda: sitk_mip(
                sitk.ReadImage(str(path)), None, 1
            ),
        }
        times = race(methods, max(2, repeats // 2))
        for name, found in times.items():
            row(f"disk, {path.stat().st_size / 1e6:.0f} MB: {name}", found, times["read_mip"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--quick", action="store_true", help="small grids, to see that it runs")
    parts = {"old": old_grids, "disk": disk, "world": world}
    parser.add_argument("--parts", nargs="+", default=[*parts], choices=parts, help="default all")
    args = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; "
        f"SimpleITK {sitk.Version.VersionString()}, nibabel {nib.__version__}, NumPy "
        f"{np.__version__}\n"
        f"{'':<62}{'clock ms':>9}{'CPU ms':>9}   times ours: clock (range), CPU",
        flush=True,
    )
    for part in args.parts:
        parts[part](args.repeats, 4 if args.quick else 1)


if __name__ == "__main__":
    main()
