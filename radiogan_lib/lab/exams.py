"""One exam, step by step: a phantom as DICOM, what its header says, what goes wrong on purpose."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import petphantom
import petsuv
from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import mip_row
from radiogan_lib.lab.tables import Table

FOLLOWED = "phantom:lung/20001"


def phantom_as_dicom(which: str = FOLLOWED, spacing_mm: float = 4.0) -> Path:
    """Write `phantom:<class>/<seed>` as a folder of DICOM PET slices, and return the folder.

    Every slice has its own rescale slope, as a scanner's has, so that the commonest mistake in
    reading PET can be shown. It is written once, below the home folder's `data/`.
    """
    try:
        name, seed = petphantom.parse(which)
    except petphantom.PhantomError:
        classes = ", ".join(petphantom.CLASSES)
        how = f"write phantom:<class>/<seed> with one of the classes {classes}."
        raise RadioganError(f"{which!r} names no phantom; {how}") from None
    folder = paths.home() / "data" / "phantom_dicom" / f"{name}-{seed}-{spacing_mm:g}mm"
    mark = folder.parent / f"{folder.name}.complete"
    if not mark.is_file():  # written last: a folder without it is written again
        image = petphantom.make(name, seed, spacing_mm)
        petsuv.write_phantom_series(image, folder, dose_mbq=300, seed=seed)
        paths.write_text(mark, "written\n")
    return folder


def exam_to_follow(cfg, exam_path: str = ""):
    """The exam that notebook 01 follows, for `data.read_suv`; prints in one line which it is.

    It is the one of `exam_path` (a DICOM folder or NIfTI file), else the first real volume of the
    cohort, else a phantom written as DICOM.
    """
    from radiogan_lib.data import cohort, pictures

    if exam_path:
        print("Followed step by step: the exam of the parameter exam_path.")
        return exam_path
    listed = cohort.read(paths.cohort_path(cfg)).exams["path"]
    real = [p for p in listed if not p.startswith("phantom:") and not pictures.is_picture(p)]
    for path in real:
        if Path(path).exists():
            print(f"Followed step by step: the first of the cohort's {len(real)} real exams.")
            return path
    why = "because the cohort holds no volume of a real exam."
    print(f"Followed step by step: a phantom written as DICOM, {why}")
    return phantom_as_dicom()


def exam_facts(image) -> Table:
    """Size, voxels and SUV of one exam (nibabel image, SUV), and nothing of whom it shows."""
    suv = np.asarray(image.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(0))
    body = suv[suv > 0.2]
    middle = float(np.median(body)) if body.size else float("nan")
    voxels = " × ".join(str(n) for n in suv.shape[:3])
    rows = [
        ("voxels", f"{voxels} (left–right, back–front, foot–head)"),
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
    """How a DICOM exam's factor from stored values to SUV follows from its header, step by step.

    Of any other exam the table says that its values are SUV.
    """
    series = _series(folder)
    if series is None:
        words = "the values are taken to be SUV already, and checked to be plausible"
        return Table([("format", f"no DICOM slices: {words}")])
    slopes = [float(ds.RescaleSlope) for ds in series.headers]
    span = f"{min(slopes):.4g} to {max(slopes):.4g}"
    factor = f"{series.factor.value:.6g}: SUV = stored number × slope of its slice × factor"
    rows = [
        ("rule", series.factor.rule),
        ("slices", f"{len(slopes)} with {len(set(slopes))} different slopes, {span}"),
        *((f"step {k}", words) for k, words in enumerate(series.factor.explanation, 1)),
        ("factor", factor),
        *(("note", note) for note in series.notes),
    ]
    return Table(rows, ("what", "as read from the header"))


def one_slope_mistake(folder):
    """A DICOM exam read correctly (left) and with the first slice's slope for all slices (right).

    Of any other exam only the correct picture is drawn.
    """
    from radiogan_lib import data

    series = _series(folder)
    if series is None:
        read = {"as read: ": data.read_suv(folder)}
    else:
        volumes = {
            "each slice its own slope\n": petsuv.volume(series),
            "one slope for all\n": petsuv.with_one_slope(series),
        }
        read = {k: petsuv.as_image(v, series.geometry.affine) for k, v in volumes.items()}
    mips = [data.coronal_mip(image, spacing_mm=4.0) for image in read.values()]
    titles = [f"{k}highest SUV {float(np.max(v.dataobj)):.1f}" for k, v in read.items()]
    return mip_row(mips, titles, height=3.4)


# What may be wrong with an exam, and the header that shows it
SPOILT = {
    "nobody was weighed": {"PatientWeight": None},
    "values in proportional counts": {"Units": "PROPCNTS"},
    "not corrected for attenuation": {"CorrectedImage": ["DECY", "SCAT"]},
    "another tracer": {"Radiopharmaceutical": "PSMA-1007"},
    "injected after the scan": {"RadiopharmaceuticalStartTime": "123000"},
    "a weight of 0.07 kg": {"PatientWeight": "0.07"},
}
DRUG = {
    "Radiopharmaceutical": "FDG",
    "RadiopharmaceuticalStartTime": "110000",
    "RadionuclideTotalDose": "350000000",
    "RadionuclideHalfLife": "6586.2",
}


def _drug(change: dict):
    """The injection of a phantom, as DICOM has it, with one thing changed."""
    from pydicom.dataset import Dataset

    drug = Dataset()
    for name, value in (DRUG | change).items():
        setattr(drug, name, value)
    return drug


def spoilt_exams() -> Table:
    """One small exam, spoilt in eight ways, and what the library says to each."""
    import nibabel as nib

    from radiogan_lib import data

    # a part of the chest is enough
    image = petphantom.make("lung", 20001, 12.0).slicer[:, :, 30:44]
    rows = []

    def says(what, path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data.read_suv(path)
                rows.append((what, "read", ""))
            except data.ExamError as error:
                rows.append((what, error.reason, error.remedy))

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for k, (what, change) in enumerate(SPOILT.items()):
            if change.keys() & DRUG.keys():
                change = {"RadiopharmaceuticalInformationSequence": [_drug(change)]}
            says(what, petsuv.write_phantom_series(image, folder / str(k), **change))
        lost = petsuv.write_phantom_series(image, folder / "lost")
        sorted(lost.iterdir())[7].unlink()
        says("one slice was lost", lost)
        bq = nib.Nifti1Image(np.asarray(image.dataobj, np.float32) * 5000, image.affine)
        nib.save(bq, folder / "exam.nii.gz")
        says("a NIfTI file in Bq/ml", folder / "exam.nii.gz")
    return Table(rows, ("what is wrong", "what the library says", "remedy"))
