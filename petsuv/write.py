"""Write an SUV image as a DICOM PET series, so that lessons and tests have one where no real exam may be shipped."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

F18_HALF_LIFE_S = 6586.2


def write_phantom_series(
    image: nib.Nifti1Image,
    folder: Path | str,
    weight_kg: float = 70.0,
    dose_mbq: float = 350.0,
    uptake_min: float = 60.0,
    one_slope: bool = False,
    seed: int = 0,
    **elements,
) -> Path:
    """Write a synthetic SUVbw image as a PET series: BQML, decay-corrected to START, one Rescale Slope per slice.

    Reading it back gives the image to half a grey level of each slice (1/65534 of that slice's maximum).

    Args:
        image: 3-D, SUVbw ≥ 0, axis-aligned. Synthetic: the files say so, and hold an invented patient.
        folder: created; one file per axial slice.
        weight_kg: of the invented patient.
        dose_mbq: injected activity.
        uptake_min: minutes from injection to the start of the scan.
        one_slope: one Rescale Slope for the whole series, as some scanners write.
        seed: makes the UIDs.
        **elements: DICOM keywords that replace or add values in every slice (None removes), for trying a rule.

    Returns:
        the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.as_closest_canonical(image)
    suv = np.clip(np.asarray(image.dataobj, np.float32), 0, None)[
        ::-1, ::-1
    ]  # RAS → LPS: DICOM rows run to the left, back
    spacing = nib.affines.voxel_sizes(image.affine)
    corner = nib.affines.apply_affine(image.affine, [suv.shape[0] - 1, suv.shape[1] - 1, 0]) * (
        -1,
        -1,
        1,
    )
    decayed_bq = dose_mbq * 1e6 * 2 ** (-uptake_min * 60 / F18_HALF_LIFE_S)
    bq_ml = suv * np.float32(decayed_bq / (1000 * weight_kg))
    common = _common(spacing, suv.shape, weight_kg, dose_mbq, uptake_min, seed)
    top = float(bq_ml.max()) or 1.0
    for k in range(suv.shape[2]):
        slope = float(
            f"{(top if one_slope else float(bq_ml[:, :, k].max()) or 1.0) / 32767:.9g}"
        )  # DS: 16 characters
        ds = Dataset()
        ds.update(common)
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[f"slice {k}", str(seed)])
        ds.InstanceNumber = ds.ImageIndex = k + 1
        ds.ImagePositionPatient = [f"{v:.6f}" for v in corner + (0, 0, k * spacing[2])]
        ds.SliceLocation = f"{corner[2] + k * spacing[2]:.6f}"
        ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.9g}", "0"
        stored = np.clip(np.rint(bq_ml[:, :, k].T / slope), 0, 32767).astype("<i2")
        ds.PixelData = stored.tobytes()
        for keyword, replacement in elements.items():
            if replacement is None:
                if keyword in ds:
                    delattr(ds, keyword)
            else:
                setattr(ds, keyword, replacement)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.get(
            "SOPClassUID", PositronEmissionTomographyImageStorage
        )
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"slice-{k:04d}.dcm", enforce_file_format=True)
    return folder


def _common(spacing, shape, weight_kg, dose_mbq, uptake_min, seed) -> Dataset:
    """What all slices share."""
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = PositronEmissionTomographyImageStorage, "PT"
    ds.ImageType, ds.SeriesType = ["ORIGINAL", "PRIMARY"], ["WHOLE BODY", "IMAGE"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[name, str(seed)])
        for name in ("study", "series", "frame of reference")
    )
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
        "SYNTHETIC^PHANTOM",
        "phantom",
        "",
        "O",
    )
    ds.PatientWeight, ds.PatientSize = f"{weight_kg:g}", "1.7"
    ds.Manufacturer, ds.SeriesDescription, ds.SeriesNumber = "synthetic", "synthetic PET AC", 1
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20000101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "120000"
    injected = 12 * 60 - uptake_min  # minutes after midnight; wraps to the evening before
    hours, minutes = divmod(injected % (24 * 60), 60)
    drug = Dataset()
    drug.Radiopharmaceutical = "FDG"
    drug.RadiopharmaceuticalStartTime = (
        f"{int(hours):02d}{int(minutes):02d}{minutes % 1 * 60:09.6f}"
    )
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = (
        f"{dose_mbq * 1e6:.10g}",
        f"{F18_HALF_LIFE_S:g}",
    )
    nuclide = Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = (
        "C-111A1",
        "SRT",
        "^18^Fluorine",
    )
    drug.RadionuclideCodeSequence = [nuclide]
    ds.RadiopharmaceuticalInformationSequence = [drug]
    ds.Units, ds.CountsSource, ds.DecayCorrection = "BQML", "EMISSION", "START"
    ds.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
    ds.FrameReferenceTime, ds.ActualFrameDuration, ds.NumberOfSlices = "0", "180000", shape[2]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = (
        [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"],
        f"{spacing[2]:.6f}",
    )
    ds.Columns, ds.Rows = shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    return ds
