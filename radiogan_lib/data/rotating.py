"""Projections from all around, for a cine loop."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel import orientations

from radiogan_lib.data.mip import (
    is_axis_aligned,
    plane_indices,
    scaled,
    stored,
    straightened,
    upright,
)


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
    for k, angle in enumerate(2 * np.pi * np.arange(n_angles) / n_angles):
        x = np.floor((np.cos(angle) * u - np.sin(angle) * v) / voxel[0] + nx / 2).astype(int)
        y = np.floor((np.sin(angle) * u + np.cos(angle) * v) / voxel[1] + ny / 2).astype(int)
        table = np.where((x >= 0) & (x < nx) & (y >= 0) & (y < ny), x * ny + y, nx * ny)
        best = columns[table[:, 0]]
        for j in np.flatnonzero((table != nx * ny).any(axis=0)):
            np.maximum(best, columns[table[:, j]], out=best)
        frames[k] = upright(scaled(best, slope, inter))
    return frames
