"""One exam, step by step: a phantom written as DICOM, what its header says, and what goes wrong on purpose.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

import petphantom
import petsuv
from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import WINDOW, mip_row
from radiogan_lib.lab.tables import Table

FOLLOWED = "phantom:lung/20001"


def phantom_as_dicom(which: str = FOLLOWED, spacing_mm: float = 4.0) -> Path:
    """Write a phantom as a folder of DICOM PET slices, as a scanner would export it, and return the folder.

    Every slice has its own rescale slope, so that the commonest mistake in reading PET can be shown. It is written
    once, below the home folder's `data/`.

    Args:
        which: `phantom:<class>/<seed>`, as in a cohort csv.
        spacing_mm: isotropic voxel size.
    """

    try:
        name, seed = petphantom.parse(which)
    except petphantom.PhantomError:
        raise RadioganError(
            f"{which!r} names no phantom; write phantom:<class>/<seed> with one of the classes "
            f"{', '.join(petphantom.CLASSES)}."
        ) from None
    folder = paths.home() / "data" / "phantom_dicom" / f"{name}-{seed}-{spacing_mm:g}mm"
    mark = folder.parent / f"{folder.name}.complete"
    if not mark.is_file():  # written last: a folder without it is written again
        petsuv.write_phantom_series(
            petphantom.make(name, seed, spacing_mm), folder, dose_mbq=300, seed=seed
        )
        paths.write_text(mark, "written\n")
    return folder


def exam_to_follow(cfg, exam_path: str = ""):
    """The exam that notebook 01 follows: the reader's own, the cohort's first real volume, or a phantom written as DICOM.

    Args:
        cfg: names the cohort.
        exam_path: a DICOM folder or NIfTI file; "" looks into the cohort.

    Returns:
        What `data.read_suv` takes. Says in one line, without its path, which it is.
    """
    from radiogan_lib.data import cohort, pictures

    if exam_path:
        print("Followed step by step: the exam of the parameter exam_path.")
        return exam_path
    real = [
        p
        for p in cohort.read(paths.cohort_path(cfg)).exams["path"]
        if not p.startswith("phantom:") and not pictures.is_picture(p)
    ]
    for path in real:
        if Path(path).exists():
            print(f"Followed step by step: the first of the cohort's {len(real)} real exams.")
            return path
    print(
        "Followed step by step: a phantom written as DICOM, because the cohort holds no volume of a real exam."
    )
    return phantom_as_dicom()


def exam_facts(image) -> Table:
    """Size, voxels, extent and SUV of one exam (nibabel image, SUV), and nothing of whom it shows."""
    suv = np.asarray(image.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(0))
    body = suv[suv > 0.2]
    middle = float(np.median(body)) if body.size else float("nan")
    rows = [
        (
            "voxels",
            " × ".join(str(n) for n in suv.shape[:3]) + " (left–right, back–front, foot–head)",
        ),
        ("voxel size", " × ".join(f"{s:.2f}" for s in step) + " mm"),
        ("extent", " × ".join(f"{s * n:.0f}" for s, n in zip(step, suv.shape)) + " mm"),
        ("SUV", f"highest {suv.max():.4g}, median inside the body {middle:.2f}"),
    ]
    return Table(rows + [("remark", note) for note in getattr(image, "extra", {}).get("notes", [])])


def _series(folder):
    """The PET series of a DICOM folder as the library reads it; None for anything else."""
    if isinstance(folder, str) and folder.startswith("phantom:"):
        return None
    found = petsuv.locate(folder)
    return found.series or petsuv.read_series(found.path) if found.kind == "dicom" else None


def suv_explanation(folder) -> Table:
    """How the library derived an exam's factor from stored values to SUV, one row per step, from the header alone.

    Args:
        folder: a DICOM PET folder; for a NIfTI file the table says that its values are taken as SUV.
    """
    series = _series(folder)
    if series is None:
        return Table(
            [
                (
                    "format",
                    "no DICOM slices: the values are taken to be SUV already, and checked to be plausible",
                )
            ]
        )
    slopes = [float(ds.RescaleSlope) for ds in series.headers]
    return Table(
        [
            ("rule", series.factor.rule),
            (
                "slices",
                f"{len(slopes)} with {len(set(slopes))} different slopes, "
                f"{min(slopes):.4g} to {max(slopes):.4g}",
            ),
            *((f"step {k}", words) for k, words in enumerate(series.factor.explanation, 1)),
            (
                "factor",
                f"{series.factor.value:.6g}: SUV = stored number × slope of its slice × factor",
            ),
            *(("note", note) for note in series.notes),
        ],
        ("what", "as read from the header"),
    )


def one_slope_mistake(folder, window=WINDOW):
    """The same exam read correctly (left) and with the first slice's slope for every slice (right).

    Args:
        folder: a DICOM PET folder, or any exam: where there are no slices, only the correct picture is drawn.
    """
    from radiogan_lib import data

    series = _series(folder)
    if series is None:
        right = data.read_suv(folder)
        return mip_row(
            [data.coronal_mip(right, spacing_mm=4.0)],
            [f"as read: highest SUV {float(np.max(right.dataobj)):.1f}"],
            window,
            height=3.4,
        )
    pictures, titles = [], []
    for words, values in (
        ("each slice its own slope", petsuv.volume(series)),
        ("one slope for all", petsuv.with_one_slope(series)),
    ):
        pictures.append(
            data.coronal_mip(petsuv.as_image(values, series.geometry.affine), spacing_mm=4.0)
        )
        titles.append(f"{words}\nhighest SUV {values.max():.1f}")
    return mip_row(pictures, titles, window, height=3.4)


# What may be wrong with an exam, and the header that shows it; a slice that is lost and a file in Bq/ml come on top.
SPOILT = (
    ("nobody was weighed", dict(PatientWeight=None)),
    ("values in proportional counts", dict(Units="PROPCNTS")),
    ("not corrected for attenuation", dict(CorrectedImage=["DECY", "SCAT"])),
    ("another tracer", "PSMA-1007"),
    ("injected after the scan", "123000"),
    ("a weight of 0.07 kg", dict(PatientWeight="0.07")),
)


def spoilt_exams() -> Table:
    """One small exam, spoilt in eight ways, and what the library says to each. Nothing of it stays on disk."""
    import nibabel as nib

    from radiogan_lib import data

    image, rows = (
        petphantom.make("lung", 20001, 12.0).slicer[:, :, 30:44],
        [],
    )  # a part of the chest is enough

    def says(what, path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data.read_suv(path)
                rows.append((what, "read", ""))
            except data.ExamError as error:
                rows.append((what, error.reason, error.remedy))

    with tempfile.TemporaryDirectory() as folder:
        for k, (what, change) in enumerate(SPOILT):
            if isinstance(change, str):
                drug = _drug(change)
                change = dict(RadiopharmaceuticalInformationSequence=[drug])
            says(what, petsuv.write_phantom_series(image, Path(folder) / str(k), **change))
        lost = petsuv.write_phantom_series(image, Path(folder) / "lost")
        sorted(lost.iterdir())[7].unlink()
        says("one slice was lost", lost)
        bq = nib.Nifti1Image(np.asarray(image.dataobj, np.float32) * 5000, image.affine)
        nib.save(bq, Path(folder) / "exam.nii.gz")
        says("a NIfTI file in Bq/ml", Path(folder) / "exam.nii.gz")
    return Table(rows, ("what is wrong", "what the library says", "remedy"))


def _drug(change: str):
    """The injection of a phantom with another tracer, or another time if `change` is one."""
    from pydicom.dataset import Dataset

    drug = Dataset()
    drug.Radiopharmaceutical = "FDG" if change.isdigit() else change
    drug.RadiopharmaceuticalStartTime = change if change.isdigit() else "110000"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = "350000000", "6586.2"
    return drug
