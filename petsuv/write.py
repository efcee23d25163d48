"""Write an SUV image as a DICOM PET series, for lessons and tests where no real exam may be."""

from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from petsuv.suv import F18_HALF_LIFE_S

# What all slices of every series share.
_WORDS = """
Modality=PT; ImageType=ORIGINAL\\PRIMARY; SeriesType=WHOLE BODY\\IMAGE; Manufacturer=synthetic;
PatientName=SYNTHETIC^PHANTOM; PatientID=phantom; PatientBirthDate=; PatientSex=O; PatientSize=1.7;
SeriesDescription=synthetic PET AC; SeriesNumber=1; StudyDate=20000101; SeriesDate=20000101;
AcquisitionDate=20000101; StudyTime=120000; SeriesTime=120000; AcquisitionTime=120000; Units=BQML;
CountsSource=EMISSION; DecayCorrection=START; CorrectedImage=NORM\\DTIM\\ATTN\\SCAT\\DECY\\RAN;
FrameReferenceTime=0; ActualFrameDuration=180000; PhotometricInterpretation=MONOCHROME2;
ImageOrientationPatient=1.0\\0.0\\0.0\\0.0\\1.0\\0.0
"""
_NUMBERS = dict(SamplesPerPixel=1, BitsAllocated=16, BitsStored=16, HighBit=15)
_COMMON = dict(pair.strip().split("=") for pair in _WORDS.split(";")) | _NUMBERS


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
    """Write a synthetic SUVbw image as a PET series: BQML, START, one Rescale Slope per slice.

    Reading it back gives the image to half a grey level of each slice (1/65534 of its maximum).

    Args:
        image: 3-D, SUVbw ≥ 0, axis-aligned. The files say that it is synthetic.
        folder: created; one file per axial slice.
        weight_kg: of the invented patient.
        dose_mbq: injected activity.
        uptake_min: minutes from injection to the start of the scan.
        one_slope: one Rescale Slope for the whole series, as some scanners write.
        seed: makes the UIDs.
        **elements: DICOM keywords that replace or add values in every slice (None removes).

    Returns:
        the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.as_closest_canonical(image)
    # RAS → LPS: DICOM rows run to the left, columns to the back.
    suv = np.clip(np.asarray(image.dataobj, np.float32), 0, None)[::-1, ::-1]
    spacing = nib.affines.voxel_sizes(image.affine)
    last = [suv.shape[0] - 1, suv.shape[1] - 1, 0]
    corner = nib.affines.apply_affine(image.affine, last) * (-1, -1, 1)
    decayed_bq = dose_mbq * 1e6 * 2 ** (-uptake_min * 60 / F18_HALF_LIFE_S)
    bq_ml = suv * np.float32(decayed_bq / (1000 * weight_kg))
    # Minutes after midnight; wraps to the evening before.
    hours, minutes = divmod((12 * 60 - uptake_min) % (24 * 60), 60)
    fluorine = dict(CodeValue="C-111A1", CodingSchemeDesignator="SRT", CodeMeaning="^18^Fluorine")
    injection = dict(
        Radiopharmaceutical="FDG",
        RadiopharmaceuticalStartTime=f"{hours:02.0f}{int(minutes):02d}{minutes % 1 * 60:09.6f}",
        RadionuclideTotalDose=f"{dose_mbq * 1e6:.10g}",
        RadionuclideHalfLife=f"{F18_HALF_LIFE_S:g}",
        RadionuclideCodeSequence=[_dataset(**fluorine)],
    )
    common = _dataset(
        **_COMMON,
        SOPClassUID=PositronEmissionTomographyImageStorage,
        PixelRepresentation=1,
        PatientWeight=f"{weight_kg:g}",
        NumberOfSlices=suv.shape[2],
        PixelSpacing=[f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"],
        SliceThickness=f"{spacing[2]:.6f}",
        Columns=suv.shape[0],
        Rows=suv.shape[1],
        StudyInstanceUID=_uid("study", seed),
        SeriesInstanceUID=_uid("series", seed),
        FrameOfReferenceUID=_uid("frame of reference", seed),
        RadiopharmaceuticalInformationSequence=[_dataset(**injection)],
    )
    tops = [float(bq_ml.max() if one_slope else plane.max()) for plane in bq_ml.transpose(2, 0, 1)]
    for k, top in enumerate(tops):
        slope = f"{(top or 1.0) / 32767:.9g}"  # DS: 16 characters
        stored = np.clip(np.rint(bq_ml[:, :, k].T / float(slope)), 0, 32767).astype("<i2")
        ds = _dataset(
            SOPInstanceUID=_uid(f"slice {k}", seed),
            InstanceNumber=k + 1,
            ImageIndex=k + 1,
            ImagePositionPatient=[f"{v:.6f}" for v in corner + (0, 0, k * spacing[2])],
            SliceLocation=f"{corner[2] + k * spacing[2]:.6f}",
            RescaleSlope=slope,
            RescaleIntercept="0",
            PixelData=stored.tobytes(),
        )
        ds.update(common)
        for keyword, replacement in elements.items():
            if replacement is not None:
                setattr(ds, keyword, replacement)
            elif keyword in ds:
                delattr(ds, keyword)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", common.SOPClassUID)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"slice-{k:04d}.dcm", enforce_file_format=True)
    return folder


def _uid(name: str, seed: int) -> str:
    return generate_uid(entropy_srcs=[name, str(seed)])


def _dataset(**elements) -> Dataset:
    ds = Dataset()
    for keyword, content in elements.items():
        setattr(ds, keyword, content)
    return ds
