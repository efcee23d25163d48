"""Exams with one fault each: every function makes the bad thing in a folder and returns the path
that a cohort would name."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import exam_builder as dicoms
import nibabel as nib
import numpy as np
import pydicom
from pydicom.uid import generate_uid

AFFINE = np.diag([8.0, 8.0, 6.0, 1.0])
SHAPE = (12, 10, 14)


def body(seed: int = 0) -> np.ndarray:
    """(x, y, z) float32: a small body with noise and one hot spot, SUV 0 to about 9."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(SHAPE, np.float32)
    volume[2:10, 2:8, 1:13] = rng.gamma(2, 0.5, (8, 6, 12))
    volume[3 + seed % 5, 4, 11] = 9
    return volume


def nifti(folder: Path, name: str, volume=None, affine=AFFINE, cls=nib.Nifti1Image) -> Path:
    """Write a volume; the intact exam of these tests when called without one."""
    nib.save(cls(body() if volume is None else volume, affine), folder / name)
    return folder / name


def raw(folder: Path, name: str, change) -> Path:
    """An intact single-file NIfTI whose bytes `change` edits."""
    content = bytearray(nib.Nifti1Image(body(), AFFINE).to_bytes())
    edited = change(content)
    content = content if edited is None else edited
    (folder / name).write_bytes(
        gzip.compress(bytes(content)) if name.endswith(".gz") else bytes(content)
    )
    return folder / name


def packed(folder: Path, change) -> Path:
    """An intact .nii.gz whose packed bytes `change` edits."""
    content = nifti(folder, "a.nii.gz").read_bytes()
    (folder / "a.nii.gz").write_bytes(change(content))
    return folder / "a.nii.gz"


def header(field_offset: int, layout: str, *values):
    """An edit of a NIfTI-1 header field."""

    def change(content):
        content[field_offset : field_offset + struct.calcsize(layout)] = struct.pack(
            layout, *values
        )

    return change


def affine(rows):
    """An edit that sets the sform to these rows and forgets the qform."""

    def change(content):
        content[252:256] = struct.pack("<2h", 0, 1)
        content[280:328] = struct.pack("<12f", *np.asarray(rows, float)[:3].ravel())

    return change


def bomb(folder: Path) -> Path:
    """130 kilobytes that unpack to 128 megabytes: an honest header, and zeros (gzip members may be
    strung together)."""
    shape, megabytes = (400, 400, 400), 128
    start = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), AFFINE).to_bytes()[:352])
    start[40:56] = struct.pack("<8h", 3, *shape, 1, 1, 1, 1)
    zeros = gzip.compress(bytes(16 << 20), 6)
    (folder / "a.nii.gz").write_bytes(gzip.compress(bytes(start)) + zeros * (megabytes // 16))
    return folder / "a.nii.gz"


def series(folder: Path, edit=None, drug=None, seed=0, **elements) -> Path:
    """A whole DICOM series with one thing changed."""
    return dicoms.write(
        nib.Nifti1Image(body(seed), AFFINE), folder / "series", drug, edit, **elements
    )


def slices(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def giant_slices(folder: Path) -> Path:
    """Headers that promise 65535 x 65535 pixels a slice: 240 GB as a volume."""
    return series(folder, edit=lambda ds, k: ds.update({"Rows": 65535, "Columns": 65535}))


def deflated_bomb(folder: Path) -> Path:
    """A slice of four megabytes that unpacks to four gigabytes of private padding."""
    found = series(folder)
    ds = pydicom.dcmread(slices(found)[0])
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.SOPInstanceUID = generate_uid()
    ds.save_as(found / "bomb.dcm")
    whole = (found / "bomb.dcm").read_bytes()
    # Full blocks of zeros end on byte boundaries, so one can be repeated: a stream of any length
    # without the work.
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    meta = whole[:132] + whole[132 : 132 + 12 + struct.unpack("<I", whole[140:144])[0]]
    (found / "bomb.dcm").write_bytes(meta + block * 256 + packer.flush())
    return found


def as_film(ds, k):
    """MPEG-2, which no PET slice is and no decoder here knows."""
    ds.PixelData = pydicom.encaps.encapsulate([bytes(ds.PixelData)])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"


def two_series(folder: Path) -> Path:
    """Two patients' series in one folder."""
    series(folder / "one", seed=0)
    dicoms.petsuv.write_phantom_series(nib.Nifti1Image(body(1), AFFINE), folder / "two", seed=7)
    return folder


def fifo(path: Path) -> Path:
    """A named pipe: opening it waits for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def loop(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path)
    return path


def with_copies(folder: Path) -> Path:
    found = series(folder)
    for file in slices(found)[:3]:
        (found / f"copy-{file.name}").write_bytes(file.read_bytes())
    return found


def two_images_one_place(folder: Path) -> Path:
    found = series(folder)
    ds = pydicom.dcmread(slices(found)[5])
    ds.SOPInstanceUID, ds.PixelData = generate_uid(), bytes(len(ds.PixelData))
    ds.save_as(found / "other.dcm")
    return found


def among_strangers(folder: Path) -> Path:
    """A sound series among a text, a truncated slice of nothing, an empty file, a pipe and a link
    to itself."""
    found = series(folder)
    (found / "readme").write_text("not DICOM")
    (found / "empty.dcm").touch()
    (found / "junk.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)))
    loop(found / "loop.dcm")
    fifo(found / "pipe.dcm")
    (found / "self").symlink_to(found)
    return found
