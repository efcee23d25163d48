"""A MIP dataset on disk: made by `prepare`, read by `load`.

mips.npy holds linear SUV, exams.csv one row per picture in the same order, dataset.json what both
are.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data.cohort import SPLITS
from radiogan_lib.data.preparation import SCHEMA_VERSION, DatasetError, Report, prepare

UNITS = ("SUV", "window")
CURVES = ("linear", "sqrt")
_AGAIN = "run notebooks/01_data_preparation.ipynb again."
__all__ = ["DatasetError", "MipDataset", "Report", "load", "load_if_there", "prepare"]


@dataclass(frozen=True, eq=False)
class MipDataset:
    """Projections with their labels."""

    suv: np.ndarray  # (n, h, w) float32, linear SUV in [0, suv_max]
    exams: pd.DataFrame  # row k: exam_id, patient_id, class, split, and what was measured
    class_names: list[str]  # label k is `class_names[k]`
    field_of_view_mm: tuple[float, float]  # height and width that a projection shows
    suv_max: float  # SUV at which values were clipped
    sha256: str  # of mips.npy, also for a split or subset of it
    unit: str = "SUV"  # or "window": uncalibrated, `suv` is suv_max times the window's share

    def __post_init__(self):
        if len(self.suv) != len(self.exams):
            raise ValueError(f"{len(self.suv)} pictures but {len(self.exams)} rows.")

    def __len__(self) -> int:
        return len(self.suv)

    def __repr__(self) -> str:
        n = np.bincount(self.labels, minlength=len(self.class_names))
        of_class = ", ".join(f"{c} {k}" for c, k in zip(self.class_names, n))
        return f"{len(self)} projections of {self.canvas[0]} x {self.canvas[1]} pixels: {of_class}"

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.suv.shape[1], self.suv.shape[2]

    @property
    def unit_label(self) -> str:
        """The unit as a figure or table names it."""
        return "SUV" if self.unit == "SUV" else f"uncalibrated (window 0 to {self.suv_max:g})"

    @cached_property
    def images(self) -> np.ndarray:
        """(n, h, w, 1) float32 in [-1, 1], linear in SUV; other curves: `encode`."""
        return encode(self.suv, "linear", self.suv_max)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32."""
        index = {name: k for k, name in enumerate(self.class_names)}
        return np.array([index[name] for name in self.exams["class"]], dtype=np.int32)

    @property
    def exam_ids(self) -> list[str]:
        return list(self.exams["exam_id"])

    @property
    def patient_ids(self) -> list[str]:
        return list(self.exams["patient_id"])

    @property
    def splits(self) -> list[str]:
        return list(self.exams["split"])

    def subset(self, indices) -> Self:
        """The same dataset with only these rows (numbers or a mask), in this order."""
        kind = int if np.size(indices) == 0 else None
        rows = np.arange(len(self))[np.asarray(indices, dtype=kind)]
        exams = self.exams.iloc[rows].reset_index(drop=True)
        return dataclasses.replace(self, suv=self.suv[rows], exams=exams)

    def first_per_class(self, n: int) -> Self:
        """About `n` exams: the first of each class, as many of one as of another."""
        classes = range(len(self.class_names))
        share = max(1, n // max(1, len(classes)))
        return self.subset(
            np.concatenate([np.flatnonzero(self.labels == c)[:share] for c in classes])
        )


def load(out_dir: Path | str, split: str | None = None) -> MipDataset:
    """Read a dataset that `prepare` wrote, after checking that its files are the ones it wrote.

    Args:
        out_dir: its folder.
        split: "train", "test" or None for all.

    Raises:
        MissingArtefact: there is no finished dataset; the message names the notebook to run.
        DatasetError: a file is damaged, changed or of another version.
        ConfigError: no such split.
    """
    directory = Path(out_dir)
    if split not in (None, *SPLITS):
        raise ConfigError(f"split = {split!r}; choose {', '.join(SPLITS)}, or None for all.")
    file = paths.need(directory / "dataset.json", "01_data_preparation")
    described, again = paths.shown(file), f"delete this file and {_AGAIN}"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names, unit = list(content["class_names"]), content["unit"]
        shape = (content["exams"], *content["canvas"])
        marks = {"mips.npy": content["sha256"], "exams.csv": content["exams_sha256"]}
        fov = tuple(float(v) for v in content["field_of_view_mm"])
        suv_max, version = float(content["suv_max"]), content["schema_version"]
        sizes = len(fov) == 2 and all(math.isfinite(v) and v > 0 for v in (*fov, suv_max))
        named = names and all(isinstance(name, str) for name in names)
        if not (sizes and named and unit in UNITS):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise DatasetError(f"{described} is damaged ({type(e).__name__}); {again}") from None
    if version != SCHEMA_VERSION:
        said = f"{described} has version {version}; this library reads {SCHEMA_VERSION}"
        raise DatasetError(f"{said}; {again}")
    for name, mark in marks.items():
        part = paths.shown(directory / name)
        if not (directory / name).exists():
            raise DatasetError(f"{part} is missing beside its dataset.json; {_AGAIN}")
        if paths.sha256(directory / name) != mark:
            raise DatasetError(
                f"{part} changed after it was prepared, so nothing made from it can be trusted; "
                f"delete dataset.json beside it and {_AGAIN}"
            )
    suv = np.load(directory / "mips.npy", mmap_mode="r", allow_pickle=False)
    if suv.shape != shape or suv.dtype != np.float32:
        there = f"{paths.shown(directory / 'mips.npy')} holds {suv.dtype} {suv.shape}"
        raise DatasetError(f"{there} where dataset.json says float32 {shape}; {again}")
    texts = dict.fromkeys(("exam_id", "patient_id", "class", "split", "path"), str)
    exams = pd.read_csv(directory / "exams.csv", keep_default_na=False, dtype=texts)
    if len(exams) != len(suv) or not set(exams["class"]) <= set(names):
        raise DatasetError(f"{described} and exams.csv beside it contradict each other; {again}")
    rows = np.flatnonzero((split is None) | (exams["split"] == split))
    exams = exams.iloc[rows].reset_index(drop=True)
    return MipDataset(np.asarray(suv[rows]), exams, names, fov, suv_max, content["sha256"], unit)


def load_if_there(out_dir: Path | str, split: str | None = None) -> MipDataset | None:
    """As `load`, but None where no dataset has been prepared; a damaged one is still an error."""
    return load(out_dir, split) if (Path(out_dir) / "dataset.json").exists() else None


def _check_curve(curve: str, suv_max: float) -> None:
    if curve not in CURVES:
        raise ConfigError(f"curve = {curve!r}; choose one of {', '.join(CURVES)}.")
    if not suv_max > 0:
        raise ConfigError(f"suv_max = {suv_max!r}; it must be above 0.")


def encode(suv: np.ndarray, curve: str = "linear", suv_max: float = 30.0) -> np.ndarray:
    """Turn SUV into the grey values in [-1, 1] that the networks see.

    Args:
        suv: (n, h, w) linear SUV; values outside [0, suv_max] are clipped.
        curve: "linear" (paper) or "sqrt", which gives dim tissue more of the range.
        suv_max: SUV that becomes the brightest grey value (paper: 30).

    Returns:
        (n, h, w, 1) float32.

    Raises:
        ConfigError: an unknown curve, or suv_max of 0 or less.
    """
    _check_curve(curve, suv_max)
    grey = np.asarray(suv, dtype=np.float32) / np.float32(suv_max)
    np.clip(grey, 0, 1, out=grey)
    if curve == "sqrt":
        np.sqrt(grey, out=grey)
    grey *= 2
    grey -= 1
    return grey[..., None]


def decode(images: np.ndarray, curve: str = "linear", suv_max: float = 30.0) -> np.ndarray:
    """Turn grey values, clipped to their range, back into SUV: the inverse of `encode`.

    Args:
        images: (n, h, w, 1) grey values.
        curve, suv_max: as they were given to `encode`.

    Returns:
        (n, h, w) float32 linear SUV in [0, suv_max].
    """
    _check_curve(curve, suv_max)
    images = np.asarray(images, dtype=np.float32)
    if images.ndim < 3 or images.shape[-1] != 1:
        raise ValueError(f"grey images have shape (n, h, w, 1); these have {images.shape}.")
    grey = np.clip((images[..., 0] + 1) / 2, 0, 1)
    if curve == "sqrt":
        grey = grey * grey
    return (grey * np.float32(suv_max)).astype(np.float32)
