"""A MIP dataset on disk: made by `prepare`, read by `load`.

mips.npy holds linear SUV, exams.csv one row per picture in the same order, dataset.json what both are. Explained in
notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data.cohort import SPLITS
from radiogan_lib.data.preparation import SCHEMA_VERSION, DatasetError, Report, prepare

UNITS = ("SUV", "window")
CURVES = ("linear", "sqrt")
__all__ = [
    "DatasetError",
    "MipDataset",
    "Report",
    "load",
    "load_if_there",
    "prepare",
]


@dataclass(frozen=True, eq=False)
class MipDataset:
    """Projections with their labels.

    Attributes:
        suv: (n, h, w) float32, linear SUV in [0, suv_max].
        exams: one row per projection: exam_id, patient_id, class, split, and what quality control measured.
        class_names: label k is `class_names[k]`.
        field_of_view_mm: height and width that a projection shows.
        suv_max: SUV at which values were clipped.
        sha256: of mips.npy, also for a split or subset of it.
        unit: "SUV", or "window": uncalibrated pictures, whose `suv` is suv_max times the share of the window.
    """

    suv: np.ndarray
    exams: pd.DataFrame
    class_names: list[str]
    field_of_view_mm: tuple[float, float]
    suv_max: float
    sha256: str
    unit: str = "SUV"

    def __post_init__(self):
        if len(self.suv) != len(self.exams):
            raise ValueError(f"{len(self.suv)} pictures but {len(self.exams)} rows.")

    def __len__(self) -> int:
        return len(self.suv)

    def __repr__(self) -> str:
        n = np.bincount(self.labels, minlength=len(self.class_names))
        return (
            f"{len(self)} projections of {self.canvas[0]} x {self.canvas[1]} pixels: "
            + ", ".join(f"{c} {k}" for c, k in zip(self.class_names, n))
        )

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
        """(n, h, w, 1) float32 in [-1, 1], linear in SUV; other curves: `encode(dataset.suv, …)`."""
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

    def subset(self, indices) -> MipDataset:
        """The same dataset with only these rows (numbers or a mask), in this order; class names stay."""
        rows = np.arange(len(self))[
            np.asarray(indices, dtype=int if np.size(indices) == 0 else None)
        ]
        return MipDataset(
            self.suv[rows],
            self.exams.iloc[rows].reset_index(drop=True),
            self.class_names,
            self.field_of_view_mm,
            self.suv_max,
            self.sha256,
            self.unit,
        )

    def first_per_class(self, n: int) -> MipDataset:
        """About `n` exams: the first of each class, as many of one as of another."""
        share = max(1, n // max(1, len(self.class_names)))
        return self.subset(
            np.concatenate(
                [np.flatnonzero(self.labels == c)[:share] for c in range(len(self.class_names))]
            )
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
    again = "delete this file and run notebooks/01_data_preparation.ipynb again."
    described = paths.need(directory / "dataset.json", "01_data_preparation")
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        version, class_names = content["schema_version"], list(content["class_names"])
        shape = (content["exams"], *content["canvas"])
        marks = {"mips.npy": content["sha256"], "exams.csv": content["exams_sha256"]}
        fov, suv_max = (
            tuple(float(v) for v in content["field_of_view_mm"]),
            float(content["suv_max"]),
        )
        if len(fov) != 2 or not all(math.isfinite(v) and v > 0 for v in (*fov, suv_max)):
            raise ValueError
        unit = content["unit"]
        if unit not in UNITS:
            raise ValueError
        if not class_names or not all(isinstance(name, str) for name in class_names):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise DatasetError(
            f"{paths.shown(described)} is damaged ({type(e).__name__}); {again}"
        ) from None
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"{paths.shown(described)} has version {version}; this library reads {SCHEMA_VERSION}; "
            f"{again}"
        )
    for name, mark in marks.items():
        if not (directory / name).exists():
            raise DatasetError(
                f"{paths.shown(directory / name)} is missing beside its dataset.json; "
                "run notebooks/01_data_preparation.ipynb again."
            )
        if paths.sha256(directory / name) != mark:
            raise DatasetError(
                f"{paths.shown(directory / name)} changed after it was prepared, so nothing made from "
                "it can be trusted; delete dataset.json beside it and run "
                "notebooks/01_data_preparation.ipynb again."
            )
    suv = np.load(directory / "mips.npy", mmap_mode="r", allow_pickle=False)
    if suv.shape != shape or suv.dtype != np.float32:
        raise DatasetError(
            f"{paths.shown(directory / 'mips.npy')} holds {suv.dtype} {suv.shape} where dataset.json "
            f"says float32 {shape}; {again}"
        )
    exams = pd.read_csv(
        directory / "exams.csv",
        keep_default_na=False,
        dtype={c: str for c in ("exam_id", "patient_id", "class", "split", "path")},
    )
    if len(exams) != len(suv) or not set(exams["class"]) <= set(class_names):
        raise DatasetError(
            f"{paths.shown(described)} and exams.csv beside it contradict each other; {again}"
        )
    rows = np.arange(len(exams)) if split is None else np.flatnonzero(exams["split"] == split)
    return MipDataset(
        np.asarray(suv[rows]),
        exams.iloc[rows].reset_index(drop=True),
        class_names,
        fov,
        suv_max,
        content["sha256"],
        unit,
    )


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
        curve: "linear" (paper) or "sqrt", which gives the dim tissue, where most pixels lie, more of the range.
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
    """Turn grey values back into SUV: the inverse of `encode`, for values outside the range as if they were at its end.

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
