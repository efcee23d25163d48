"""One exam, step by step: a phantom written as DICOM, what its header says, and the commonest mistake on purpose.

Explained in notebooks/01_data_preparation.ipynb.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import WINDOW, mip_row
from radiogan_lib.lab.tables import Table

WEIGHT_KG, DOSE_BQ, HALF_LIFE_S = 70.0, 300e6, 6586.2
INJECTED, SCANNED = "090000.00", "100000.00"  # one hour apart, as is usual
UPTAKE_S = 3600.0


def phantom_as_dicom(which: str, spacing_mm: float = 4.0) -> Path:
    """Write a phantom as a folder of DICOM PET slices, as a scanner would export it, and return the folder.

    Every slice has its own rescale slope, so that the commonest mistake in reading PET can be shown. It is written once,
    below the home folder's `data/`.

    Args:
        which: `phantom:<class>/<seed>`, as in a cohort csv.
        spacing_mm: isotropic voxel size.
    """
    from radiogan_lib.data import phantom

    try:
        kind, _, rest = which.partition(":")
        name, _, seed = rest.partition("/")
        if kind != "phantom" or name not in phantom.CLASSES:
            raise ValueError
        seed = int(seed)
    except ValueError:
        raise RadioganError(f"{which!r} names no phantom; write phantom:<class>/<seed> with one of the classes "
                            f"{', '.join(phantom.CLASSES)}.") from None
    folder = paths.home() / "data" / "phantom_dicom" / f"{name}-{seed}-{spacing_mm:g}mm"
    if not (folder.parent / f"{folder.name}.complete").is_file():
        image = phantom.make(name, seed, spacing_mm)
        suv = np.asarray(image.dataobj, dtype=np.float32)
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(suv.shape[2]):
            file = folder / f"slice_{k:04d}.dcm"  # the mark beside it is written last: a folder without it is written again
            _slice(suv[:, :, k], k, image.affine, spacing_mm, which).save_as(file, enforce_file_format=True)
        paths.write_text(folder.parent / f"{folder.name}.complete", f"{suv.shape[2]}\n")
    return folder


def _slice(suv: np.ndarray, k: int, affine, spacing_mm: float, which: str):
    """One DICOM PET instance in Bq/ml, decay-corrected to the start of the scan; the slope fills the 16 bits."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

    # UIDs derived from the phantom's name: valid, reproducible, and of no patient
    root = "2.25." + str(int(hashlib.sha256(which.encode()).hexdigest()[:24], 16))
    factor = WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-UPTAKE_S / HALF_LIFE_S))  # SUV per (Bq/ml)
    activity = suv[::-1, ::-1].T / factor  # DICOM rows run to the back, columns to the patient's left
    slope = max(float(activity.max()), 1e-3) / 32767
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{root}.3.{k + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = root + ".1", root + ".2", root + ".4"
    ds.Modality, ds.PatientName, ds.PatientID, ds.PatientSex = "PT", "Phantom", "PHANTOM", "O"
    ds.Manufacturer, ds.SeriesDescription = "radiogan_lib", "phantom, attenuation corrected"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientWeight, ds.PatientSize = WEIGHT_KG, 1.75
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = SCANNED
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT", "RADL", "NORM"]
    ds.CountsSource, ds.SeriesType = "EMISSION", ["WHOLE BODY", "IMAGE"]
    dose = Dataset()
    dose.Radiopharmaceutical, dose.RadiopharmaceuticalStartTime = "Fluorodeoxyglucose", INJECTED
    dose.RadiopharmaceuticalStartDateTime = "20200101" + INJECTED
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = DOSE_BQ, HALF_LIFE_S
    nuclide = Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    dose.RadionuclideCodeSequence = [nuclide]
    ds.RadiopharmaceuticalInformationSequence = [dose]
    ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = 0.0, 120000, 1.0
    ds.InstanceNumber, ds.NumberOfSlices, ds.ImageIndex = k + 1, 1, k + 1
    ds.Rows, ds.Columns = activity.shape
    ds.PixelSpacing, ds.SliceThickness = [spacing_mm, spacing_mm], spacing_mm
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    corner = np.asarray(affine) @ [suv.shape[0] - 1, suv.shape[1] - 1, k, 1]  # RAS+ position of DICOM's first pixel
    ds.ImagePositionPatient = [round(float(v), 4) for v in (-corner[0], -corner[1], corner[2])]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = 0, f"{slope:.9g}"
    ds.PixelData = np.round(activity / float(ds.RescaleSlope)).clip(0, 32767).astype("<i2").tobytes()
    return ds


def exam_facts(image) -> Table:
    """Size, voxels, extent and SUV of one exam (nibabel image, SUV), and nothing of whom it shows."""
    suv = np.asarray(image.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(0))
    body = suv[suv > 0.2]
    middle = float(np.median(body)) if body.size else float("nan")
    return Table([
        ("voxels", " × ".join(str(n) for n in suv.shape[:3]) + " (left–right, back–front, foot–head)"),
        ("voxel size", " × ".join(f"{s:.2f}" for s in step) + " mm"),
        ("extent", " × ".join(f"{s * n:.0f}" for s, n in zip(step, suv.shape)) + " mm"),
        ("SUV", f"highest {suv.max():.4g}, median inside the body {middle:.2f}"),
    ])


def _slices(folder) -> list:
    """The DICOM slices of a folder, sorted along the patient."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    found = []
    for file in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []:
        try:
            ds = pydicom.dcmread(file)
        except (InvalidDicomError, OSError):
            continue
        if getattr(ds, "Modality", "") == "PT" and "PixelData" in ds and "RescaleSlope" in ds:
            found.append(ds)
    return sorted(found, key=lambda d: float(d.ImagePositionPatient[2]))


def suv_explanation(folder) -> Table:
    """Which header values make an exam's SUV, one row each: what it says, and what it is for.

    Args:
        folder: a DICOM PET folder; for a NIfTI file the table says that its values are taken as SUV.
    """
    slices = _slices(folder)
    if not slices:
        return Table([("format", "no DICOM slices: the file is taken to hold SUV already", "checked to lie in a plausible range")],
                     ("what", "value", "what for"))
    first = slices[0]
    dose = (first.get("RadiopharmaceuticalInformationSequence") or [{}])[0]
    slopes = [float(d.RescaleSlope) for d in slices]

    def of(ds, name, unit=""):
        value = ds.get(name) if ds else None
        value = getattr(value, "value", value)
        return "not given" if value in (None, "") else f"{value}{unit}"

    total = getattr(dose.get("RadionuclideTotalDose"), "value", dose.get("RadionuclideTotalDose"))
    return Table([
        ("units", of(first, "Units"), "BQML is activity per millilitre; others need other rules"),
        ("slopes", f"{len(set(slopes))} different in {len(slopes)} slices, {min(slopes):.4g} to {max(slopes):.4g}",
         "stored whole number × its slice's slope = activity"),
        ("injected dose", f"{float(total) / 1e6:.0f} MBq" if total else "not given", "what SUV is relative to"),
        ("half-life", of(dose, "RadionuclideHalfLife", " s"), "how fast the dose decays"),
        ("decay corrected to", of(first, "DecayCorrection"), "START: to the start of the scan; ADMIN: to the injection"),
        ("patient weight", of(first, "PatientWeight", " kg"), "spreads the dose evenly over the body's mass"),
    ], ("what", "value", "what for"))


def one_slope_mistake(folder, window=WINDOW):
    """The same exam read correctly (left) and with the first slice's slope for every slice (right).

    Args:
        folder: a DICOM PET folder, or any exam: where there are no slices, only the correct picture is drawn.
    """
    from radiogan_lib import data

    right = data.read_suv(folder)
    mip = data.coronal_mip(right, spacing_mm=4.0)
    highest = float(np.asarray(right.dataobj).max())
    slices = _slices(folder)
    if not slices:
        return mip_row([mip], [f"as read: highest SUV {highest:.1f}"], window, height=3.4)
    import nibabel as nib

    # The ratio of the two slopes, slice by slice, is the whole mistake: the stored numbers are the same
    ratio = np.array([float(slices[0].RescaleSlope) / float(d.RescaleSlope) for d in slices], dtype=np.float32)
    values = np.asarray(right.dataobj, dtype=np.float32)
    if values.shape[2] != len(ratio):  # not one slice per plane (several series in a folder): nothing to compare
        return mip_row([mip], [f"as read: highest SUV {highest:.1f}"], window, height=3.4)
    wrong = nib.Nifti1Image(values * ratio, right.affine)
    return mip_row([mip, data.coronal_mip(wrong, spacing_mm=4.0)],
                   [f"each slice its own slope\nhighest SUV {highest:.1f}",
                    f"one slope for all\nhighest SUV {float(np.asarray(wrong.dataobj).max()):.1f}"], window, height=3.4)
