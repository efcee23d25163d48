"""How long one exam takes to become a coronal MIP, beside SimpleITK, SciPy and nibabel.

    python benchmarks/projection.py [--repeats 5] [--quick] [--parts paper autoPET disk world]

Times on a shared machine wander; the methods therefore take turns within every round, and what counts is the ratio.
Part 1 starts from a volume in memory (the paper's grid and autoPET's); part 2 from an autoPET-sized .nii.gz on disk; part 3\n(world) tries other grids, layouts in memory and views.
Needs SimpleITK (in the `test` extra). Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from isal import igzip
from nibabel.processing import resample_to_output
from scipy import ndimage

from radiogan_lib import data

GRIDS = {
    "paper": ((168, 168, 429), (4.06, 4.06, 2.0)),
    "autoPET": ((400, 400, 326), (2.0364201, 2.0364201, 3.0)),
}
SPACING_MM = 2.0


def body(
    shape: tuple[int, int, int], voxel_mm: tuple[float, float, float], seed: int = 0
) -> nib.Nifti1Image:
    """A smooth, noisy ellipse of SUV in air: compresses like an exam (zeros outside, nothing repeats inside)."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(
        rng.standard_normal([max(n // 4, 2) for n in shape], dtype=np.float32), 2
    )
    suv = ndimage.zoom(
        coarse / coarse.std(), [n / c for n, c in zip(shape, coarse.shape, strict=True)], order=1
    )[: shape[0], : shape[1], : shape[2]]
    x, y = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:2]], indexing="ij")
    inside = (x / 0.5) ** 2 + (y / 0.35) ** 2 < 1
    suv = np.where(inside[..., None], np.abs(suv) + rng.gamma(4, 0.1, shape), 0)
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = [-v * n / 2 for v, n in zip(voxel_mm, shape, strict=True)]
    return nib.Nifti1Image(np.asfortranarray(suv, dtype=np.float32), affine)


def as_sitk(image: nib.Nifti1Image) -> sitk.Image:
    """The same volume for SimpleITK (LPS)."""
    converted = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.dataobj).T))
    converted.SetSpacing([float(v) for v in nib.affines.voxel_sizes(image.affine)])
    converted.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    converted.SetOrigin([float(v) for v in image.affine[:3, 3] * (-1, -1, 1)])
    return converted


def sitk_mip(image: sitk.Image) -> np.ndarray:
    """The usual SimpleITK recipe: isotropic nearest-neighbour resampling, then the maximum."""
    size = [
        int(round(n * s / SPACING_MM))
        for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    fine = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        image.GetOrigin(),
        (SPACING_MM,) * 3,
        image.GetDirection(),
        0.0,
    )
    return sitk.GetArrayViewFromImage(fine).max(axis=1)[::-1, ::-1]


def one_thread(method: Callable[[], object]) -> object:
    """Run SimpleITK without its threads."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        return method()
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def scipy_mip(image: nib.Nifti1Image) -> np.ndarray:
    """SciPy's affine_transform, order 0, then the maximum."""
    voxel = nib.affines.voxel_sizes(image.affine)
    size = [int(round(n * s / SPACING_MM)) for n, s in zip(image.shape, voxel, strict=True)]
    fine = ndimage.affine_transform(
        np.asarray(image.dataobj), SPACING_MM / voxel, output_shape=size, order=0
    )
    return fine.max(axis=1).T[::-1, ::-1]


def nibabel_mip(image: nib.Nifti1Image) -> np.ndarray:
    """nibabel's resample_to_output, order 0, then the maximum."""
    return (
        resample_to_output(image, [SPACING_MM] * 3, order=0).get_fdata().max(axis=1).T[::-1, ::-1]
    )


def usual_route(path: Path) -> np.ndarray:
    """From disk the way most scripts do it."""
    image = nib.load(path)
    return nibabel_mip(nib.Nifti1Image(image.get_fdata(), image.affine))


def unpack(path: Path) -> None:
    """The floor: unpack the file and do nothing with it."""
    buffer = bytearray(4 << 20)
    with igzip.open(path, "rb") as f:
        while f.readinto(buffer):
            pass


def race(methods: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every method, in turns, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(repeats + 1):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def table(title: str, seconds: dict[str, list[float]], ours: str, remarks: dict[str, str]) -> None:
    """Print medians, spread, and how many times longer than ours each takes (median and range over the rounds)."""
    print(
        f"\n{title}\n{'method':<44}{'median':>12}{'fastest':>12}{'slowest':>12}{'times ours':>12}   range   remark"
    )
    base = np.array(seconds[ours])
    for name, values in seconds.items():
        times, ratio = np.array(values), np.array(values) / base
        print(
            f"{name:<44}{np.median(times) * 1e3:>9.1f} ms{times.min() * 1e3:>9.1f} ms{times.max() * 1e3:>9.1f} ms"
            f"{np.median(ratio):>11.1f}x   {ratio.min():.1f}-{ratio.max():.1f}   {remarks.get(name, '')}"
        )


WORLD = {  # voxels of current scanners, and one grid that is turned; one size, so that rows can be compared
    "1.65 mm": ((256, 256, 300), (1.65, 1.65, 2.0), 0.0),
    "1.5 mm": ((256, 256, 300), (1.5, 1.5, 1.5), 0.0),
    "2.04 mm": ((256, 256, 300), (2.04, 2.04, 3.0), 0.0),
    "4.06 mm": ((168, 168, 429), (4.06, 4.06, 2.0), 0.0),
    "4.06 mm, turned by 10 degrees": ((168, 168, 215), (4.06, 4.06, 4.0), 10.0),
}
ANGLES = 4  # of a rotating view


def turned(image: nib.Nifti1Image, degrees: float) -> nib.Nifti1Image:
    """The volume on a grid that is turned about the long axis."""
    turn = nib.eulerangles.euler2mat(z=np.deg2rad(degrees))
    affine = nib.affines.from_matvec(turn) @ image.affine
    return nib.Nifti1Image(image.dataobj, affine)


def sitk_upright(image: nib.Nifti1Image, axis: int, angle: float = 0.0) -> np.ndarray:
    """Nearest-neighbour resampling of any grid to an upright one around it (turned by `angle`), then the maximum."""
    sizes = nib.affines.voxel_sizes(image.affine)
    moving = sitk.GetImageFromArray(np.asarray(image.dataobj).T)
    moving.SetSpacing([float(s) for s in sizes])
    moving.SetDirection((image.affine[:3, :3] / sizes).ravel().tolist())
    moving.SetOrigin([float(v) for v in image.affine[:3, 3]])
    shape, affine = nib.spaces.vox2out_vox((image.shape, image.affine), [SPACING_MM] * 3)
    transform = sitk.Transform()
    if angle:
        middle = affine[:3] @ [*(np.array(shape) / 2), 1]
        transform = sitk.Euler3DTransform([float(v) for v in middle], 0.0, 0.0, angle)
    fine = sitk.Resample(
        moving,
        [int(n) for n in shape],
        transform,
        sitk.sitkNearestNeighbor,
        [float(v) for v in affine[:3, 3]],
        (SPACING_MM,) * 3,
        (1, 0, 0, 0, 1, 0, 0, 0, 1),
        0.0,
    )
    return sitk.GetArrayViewFromImage(fine).max(axis=axis)


def world(repeats: int, shrink: int) -> None:
    """Every grid, contiguous in memory or not, from the front, from the side and from all around."""
    print(
        f"\n{'grid':<32}{'memory':<14}{'view':<10}{'ours':>11}{'SimpleITK':>12}{'times':>8}   range"
    )
    for name, (shape, voxel, degrees) in WORLD.items():
        plain = turned(body(tuple(n // shrink for n in shape), voxel), degrees)
        values = np.asarray(plain.dataobj)
        flipped = np.ascontiguousarray(values[::-1, ::-1].T).T[::-1, ::-1]
        for memory, array in (("contiguous", values), ("flipped view", flipped)):
            image = nib.Nifti1Image(array, plain.affine)
            views = {
                "coronal": (
                    lambda i=image: data.coronal_mip(i),
                    lambda i=plain: sitk_upright(i, 1),
                ),
                "sagittal": (
                    lambda i=image: data.sagittal_mip(i),
                    lambda i=plain: sitk_upright(i, 2),
                ),
                "rotating": (
                    lambda i=image: data.rotating_mips(i, ANGLES),
                    lambda i=plain: [
                        sitk_upright(i, 1, 2 * np.pi * k / ANGLES) for k in range(ANGLES)
                    ],
                ),
            }
            for view, (ours, theirs) in views.items():
                seconds = race({"ours": ours, "SimpleITK": theirs}, repeats)
                a, b = np.array(seconds["ours"]), np.array(seconds["SimpleITK"])
                print(
                    f"{name:<32}{memory:<14}{view:<10}{np.median(a) * 1e3:>8.0f} ms{np.median(b) * 1e3:>9.0f} ms"
                    f"{np.median(b / a):>7.1f}x   {(b / a).min():.1f}-{(b / a).max():.1f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--quick", action="store_true", help="small grids, to see that it runs")
    parts = [*GRIDS, "disk", "world"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts, help="default all")
    args = parser.parse_args()
    shrink = 4 if args.quick else 1
    print(
        f"{os.cpu_count()} cores; SimpleITK uses {sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()} threads, "
        "ours at most 4; "
        f"SimpleITK {sitk.Version.VersionString()}, nibabel {nib.__version__}, NumPy {np.__version__}; "
        f"load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for name, (shape, voxel) in GRIDS.items():
        if name not in args.parts:
            continue
        shape = tuple(n // shrink for n in shape)
        image = body(shape, voxel)
        other = as_sitk(image)
        methods = {
            "radiogan_lib.data.coronal_mip": lambda image=image: data.coronal_mip(image),
            "SimpleITK Resample + max": lambda other=other: sitk_mip(other),
            "SimpleITK Resample + max, one thread": lambda other=other: one_thread(
                lambda: sitk_mip(other)
            ),
            "SciPy affine_transform + max": lambda image=image: scipy_mip(image),
            "nibabel resample_to_output + max": lambda image=image: nibabel_mip(image),
        }
        ours = methods["radiogan_lib.data.coronal_mip"]()
        same = {
            m: "identical bits"
            if m != "radiogan_lib.data.coronal_mip" and np.array_equal(f(), ours)
            else ""
            for m, f in methods.items()
        }
        grid = " x ".join(map(str, shape[::-1]))
        table(
            f"In memory, {name} grid: {grid} voxels, float32 to 2 mm",
            race(methods, args.repeats),
            "radiogan_lib.data.coronal_mip",
            same,
        )
    if "world" in args.parts:
        world(args.repeats, shrink)
    if "disk" not in args.parts:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exam.nii.gz"
        shape, voxel = GRIDS["autoPET"]
        image = body(tuple(n // shrink for n in shape), voxel)
        nib.save(image, path)
        megabytes = path.stat().st_size / 1e6
        methods = {
            "radiogan_lib.data.read_mip": lambda: data.read_mip(path),
            "  of which unpacking alone (python-isal)": lambda: unpack(path),
            "read_suv, then coronal_mip": lambda: data.coronal_mip(data.read_suv(path)),
            "nibabel get_fdata + resample_to_output + max": lambda: usual_route(path),
            "SimpleITK ReadImage + Resample + max": lambda: sitk_mip(sitk.ReadImage(str(path))),
        }
        same = (
            "identical bits"
            if np.array_equal(sitk_mip(as_sitk(image)), data.read_mip(path))
            else "DIFFERENT BITS"
        )
        table(
            f"From disk: {' x '.join(map(str, image.shape[::-1]))} float32 in a .nii.gz of {megabytes:.0f} MB",
            race(methods, max(2, args.repeats // 2)),
            "radiogan_lib.data.read_mip",
            {"radiogan_lib.data.read_mip": same + " as SimpleITK"},
        )


if __name__ == "__main__":
    main()
