"""Small DICOM PET series for the tests: one patient, one injection, any element changed in any
slice."""

import os
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

import petsuv

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"
T_HALF = 6586.2
W, D = 70.0, 350e6  # kg, Bq of the synthetic patient
SHAPE = (6, 5, 4)


def item(**changes):
    """The Radiopharmaceutical Information Sequence: 350 MBq of FDG at 11:00; None removes an
    element."""
    drug = Dataset()
    values = (
        dict(
            Radiopharmaceutical="FDG",
            RadiopharmaceuticalStartTime="110000",
            RadionuclideTotalDose="350000000",
            RadionuclideHalfLife="6586.2",
        )
        | changes
    )
    for keyword, value in values.items():
        if value is not None:
            setattr(drug, keyword, value)
    return [drug]


def coded(value, meaning):
    code = Dataset()
    code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator = value, meaning, "SRT"
    return [code]


def write(image, folder, drug=None, edit=None, **elements):
    """A series with changed elements; `edit(ds, k)` changes slice k in place."""
    petsuv.write_phantom_series(
        image, folder, **({"RadiopharmaceuticalInformationSequence": drug or item()} | elements)
    )
    if edit:
        for k, file in enumerate(sorted(folder.glob("*.dcm"))):
            ds = pydicom.dcmread(file)
            if edit(ds, k) == "drop":
                file.unlink()
            else:
                ds.save_as(file)
    return folder


def factor(folder):
    return petsuv.read_series(folder).factor


def refused(folder, why):
    with pytest.raises(petsuv.ExamError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        petsuv.read(folder)
    assert why in str(caught.value), caught.value
    return caught.value


def decayed(minutes):
    return 1000 * W / (D * 2 ** (-minutes * 60 / T_HALF))
