"""NIfTI exams: look at the header before the data, then read or project in one pass.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel import orientations

from radiogan_lib.data import mip
from radiogan_lib.data.checks import check_suv, stride
from radiogan_lib.data.nifti_header import Header, faults, read_header, unpacked

_READS = 4 << 20  # bytes unpacked at a time: what fits the cache is projected before it leaves it


def _slabs(header: Header):
    """Yield (first k, block) with block (k, j, i): the voxels in the order of the file, a cacheful at a time."""
    ni, nj, nk = header.shape
    plane = ni * nj * header.dtype.itemsize
    depth = max(1, min(nk, _READS // plane))
    buffer = memoryview(bytearray(depth * plane))
    with faults(), unpacked(header.data) as f:
        _skip(f, header.offset)
        for k in range(0, nk, depth):
            count = min(depth, nk - k)
            want, got = count * plane, 0
            while got < want:
                more = f.readinto(buffer[got:want])
                if not more:
                    raise EOFError
                got += more
            yield k, np.frombuffer(buffer[:want], header.dtype).reshape(count, nj, ni)
        if isinstance(f, igzip.IGzipFile):
            f.read(1)  # the end of the stream: only now is its checksum compared


def _skip(f, count: int) -> None:
    while count > 0:
        read = len(f.read(min(count, 1 << 16)))
        if not read:
            raise EOFError
        count -= read


def read(path: Path) -> nib.Nifti1Image:
    """A NIfTI file → SUVbw image, RAS+, float32, with an empty header.

    Raises:
        ExamError: the file is damaged or cut off, or its values are not SUV.
    """
    header = read_header(path)
    ni, nj, nk = header.shape
    volume = np.empty((nk, nj, ni), np.float32)
    lowest, highest = np.inf, -np.inf
    for k, block in _slabs(header):
        out = volume[k : k + len(block)]
        if (header.slope, header.inter) == (1.0, 0.0):
            out[:] = block
        else:
            out[:] = block * header.slope + header.inter
        lowest, highest = np.minimum(lowest, out.min()), np.maximum(highest, out.max())
    check_suv(float(lowest), float(highest), volume.reshape(-1)[:: stride(volume.size)])
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.T, header.affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SUVbw g/ml"
    return image


def nifti_mip(path: Path, spacing_mm: float = 2.0) -> np.ndarray:
    """The coronal MIP of a NIfTI file, equal to `coronal_mip(read(path))` to the last bit, without building the volume.

    Every few unpacked megabytes are projected while they are in the cache, in their stored type; what is left is gzip.

    Returns:
        (rows, columns) float32 SUV, head up, patient's right on the viewer's left.
    """
    header = read_header(path)
    if header.slope <= 0 or not mip.is_axis_aligned(header.affine):
        return mip.coronal_mip(read(path), spacing_mm)
    ornt = orientations.io_orientation(header.affine)
    picks = mip.picked_planes(header.shape, header.affine, spacing_mm)
    axis = int(np.flatnonzero(ornt[:, 0] == 1)[0])  # the stored axis that runs from back to front
    planes = mip.stored_planes(picks[1], header.shape[axis], ornt[axis, 1] < 0)
    step = stride(math.prod(header.shape))
    flat, lowest, highest, sample = None, np.inf, -np.inf, []
    for k, block in _slabs(header):
        lowest, highest = np.minimum(lowest, block.min()), np.maximum(highest, block.max())
        sample.append(
            block.reshape(-1)[-(k * header.shape[0] * header.shape[1]) % step :: step].copy()
        )
        if axis == 2:
            inside = planes[(planes >= k) & (planes < k + len(block))] - k
            part = mip.maximum_along(block, 0, inside) if inside.size else None  # (j, i)
            flat = part if flat is None else flat if part is None else np.maximum(flat, part)
        else:
            part = mip.maximum_along(block, 2 - axis, planes)  # (k, i) or (k, j)
            flat = [part] if flat is None else [*flat, part]
    flat = flat if axis == 2 else np.concatenate(flat)
    scaled = [
        mip.scaled(np.asarray(v), header.slope, header.inter)
        for v in (lowest, highest, np.concatenate(sample))
    ]
    check_suv(float(scaled[0]), float(scaled[1]), scaled[2])
    return mip.upright(
        mip.finish(mip.scaled(flat.T, header.slope, header.inter), ornt, axis, picks, 1)
    )
