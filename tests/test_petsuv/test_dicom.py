"""DICOM PET → SUVbw: each vendor's rule on headers written here, reference objects, a real exam,
every refusal."""

import math
import tarfile
import warnings
from datetime import datetime, timedelta

import nibabel as nib
import numpy as np
import pydicom
import pytest
from exam_builder import (  # noqa: F401
    SHAPE,
    SHARED,
    T_HALF,
    D,
    W,
    coded,
    decayed,
    factor,
    item,
    refused,
    write,
)
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless, generate_uid

import petsuv
from petsuv import elements, grid, suv, times

# ---- what is read back is what was written
# ------------------------------------------------------------------------


def test_a_series_written_and_read_is_the_same_image(tmp_path, image):
    found = petsuv.read(write(image, tmp_path))
    assert nib.aff2axcodes(found.affine) == ("R", "A", "S") and found.get_data_dtype() == np.float32
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
    volume, expected = np.asarray(found.dataobj), np.asarray(image.dataobj)
    np.testing.assert_allclose(volume, expected, atol=expected.max() / 65534)
    for k in range(SHAPE[2]):  # each slice to half a grey level of its own scale
        np.testing.assert_allclose(
            volume[:, :, k], expected[:, :, k], atol=expected[:, :, k].max() / 65000
        )
    assert (
        found.extra["suv"].value == pytest.approx(decayed(60))
        and found.extra["suv"].rule == "BQML START"
    )


def test_one_slope_for_all_slices_gives_a_wrong_maximum(tmp_path, image):
    series = petsuv.read_series(write(image, tmp_path))
    right = petsuv.volume(series).max()
    assert right == pytest.approx(np.max(image.dataobj), rel=1e-4)
    assert petsuv.with_one_slope(series, 0).max() < right / 3
    assert petsuv.with_one_slope(series, 1).max() == pytest.approx(
        right, rel=0.2
    )  # right in that slice
    same = petsuv.read_series(write(image, tmp_path / "b", one_slope=True))
    np.testing.assert_array_equal(petsuv.volume(same), petsuv.with_one_slope(same, 0))


def test_the_writer_makes_whole_exams(tmp_path, image):
    phantom = image
    found = petsuv.read(
        petsuv.write_phantom_series(
            phantom, tmp_path, uptake_min=5 * 60 + 45, weight_kg=95, dose_mbq=200
        )
    )
    np.testing.assert_allclose(found.affine, phantom.affine, atol=1e-4)
    np.testing.assert_allclose(np.asarray(found.dataobj), np.asarray(phantom.dataobj), atol=2e-3)


# ---- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suv_type", [None, "", "BW", " bw "])
def test_gml_is_suvbw_already(tmp_path, image, suv_type):
    found = factor(write(image, tmp_path, Units="GML", SUVType=suv_type))
    assert found.value == 1.0


def private(ds, tag, vr, value, creator=None):
    ds.add_new(tag, vr, value)
    if creator:
        ds.add_new((tag[0], tag[1] >> 8), "LO", creator)


@pytest.mark.parametrize("creator", [None, "Philips PET Private Group"])
@pytest.mark.parametrize("block", [0x10, 0x11])
@pytest.mark.parametrize("vr, value", [("DS", "0.000728 "), ("UN", b"0.000728"), ("FD", 0.000728)])
def test_philips_counts_by_the_suv_factor(tmp_path, image, creator, block, vr, value):
    def edit(ds, k):
        private(ds, (0x7053, block << 8), vr, value, creator)
        private(ds, (0x7053, block << 8 | 9), "DS", f"{0.000728 / decayed(60):.10g}", creator)

    found = factor(write(image, tmp_path, edit=edit, Units="CNTS"))
    assert found.value == pytest.approx(0.000728) and found.rule == "CNTS Philips SUV"


@pytest.mark.parametrize("suv_factor", [None, "0", "", "x"])
def test_philips_counts_by_the_activity_factor(tmp_path, image, suv_factor):
    def edit(ds, k):
        if suv_factor is not None:
            ds.add_new((0x7053, 0x1000), "LO", suv_factor)
        ds.add_new((0x7053, 0x1009), "DS", "1.602563")

    found = factor(write(image, tmp_path, edit=edit, Units="CNTS"))
    assert found.value == pytest.approx(1.602563 * decayed(60))


def test_somebody_elses_private_block_is_not_philips(tmp_path, image):
    folder = write(
        image,
        tmp_path,
        edit=lambda ds, k: private(ds, (0x7053, 0x1000), "DS", "0.5", "ACME CORP"),
        Units="CNTS",
    )
    refused(folder, "(7053,1000)")


@pytest.mark.parametrize(
    "elements, why",
    [
        (dict(Units="CNTS"), "(7053,1000) or (7053,1009)"),
        (dict(Units="PROPCNTS"), "(0054,1001) is PROPCNTS"),
        (dict(Units="PROPCPS"), "PROPCPS"),
        (dict(Units="CPS"), "CPS"),
        (dict(Units="1CM"), "1CM"),
        (dict(Units=""), "(0054,1001) is missing"),
        (dict(Units=None), "(0054,1001) is missing"),
        (dict(Units="JANEDOE"), "an unknown value"),
        (dict(Units="CM2ML"), "(0054,1001) is CM2ML"),
        (dict(Units="CM2ML", SUVType="BSA"), "SUV by body weight"),
        (dict(Units="GML", SUVType="BSA"), "(0054,1006) is BSA"),
        (dict(Units="GML", SUVType="LBM"), "not SUV by body weight"),
        (dict(Units="GML", SUVType="SUL"), "(0054,1006)"),
        (dict(PatientWeight=None), "(0010,1030) is missing"),
        (dict(PatientWeight=""), "(0010,1030) is missing"),
        (dict(PatientWeight="0"), "(0010,1030) is not above zero"),
        (dict(PatientWeight="-70"), "(0010,1030)"),
        (dict(DecayCorrection=None), "(0054,1102) is missing"),
        (dict(DecayCorrection="MAYBE"), "(0054,1102) is not"),
        (dict(CorrectedImage=["DECY", "SCAT"]), "(0028,0051) does not list ATTN"),
        (dict(CorrectedImage=None), "ATTN"),
        (dict(CorrectedImage=["ATTN"]), "does not list DECY"),
        (dict(RescaleSlope=None), "(0028,1053)"),
        (dict(RescaleSlope="0"), "(0028,1053)"),
        (dict(RescaleSlope="-1"), "(0028,1053)"),
        (dict(LossyImageCompression="01"), "(0028,2110)"),
    ],
)
def test_headers_that_do_not_lead_to_suv(tmp_path, image, elements, why):
    refused(write(image, tmp_path, **elements), why)


# ---- dose and weight
# ----------------------------------------------------------------------------------------------


def test_a_dose_in_mbq_and_a_weight_in_grams_are_put_right(tmp_path, image):
    found = factor(write(image, tmp_path, item(RadionuclideTotalDose="350"), PatientWeight="70000"))
    assert found.value == pytest.approx(decayed(60)) and len(found.notes) == 2
    assert (
        factor(
            write(
                image, tmp_path / "b", item(RadionuclideTotalDose=" 3.5e8 "), PatientWeight=" 70.0 "
            )
        ).value
        == found.value
    )


@pytest.mark.parametrize(
    "changes, why",
    [
        (dict(RadionuclideTotalDose=None), "(0018,1074) is missing"),
        (dict(RadionuclideTotalDose=""), "(0018,1074) is missing"),
        (dict(RadionuclideTotalDose="0"), "(0018,1074) is not above zero"),
        (dict(RadionuclideTotalDose="-3e8"), "(0018,1074)"),
        (dict(RadionuclideHalfLife=None), "(0018,1075) is missing"),
        (dict(RadionuclideHalfLife="0"), "(0018,1075)"),
        (dict(RadiopharmaceuticalStartTime=None), "(0018,1078)"),
        (dict(RadiopharmaceuticalStartTime=""), "(0018,1072)"),
        (dict(RadiopharmaceuticalStartTime="9999"), "(0018,1072)"),
        (dict(RadiopharmaceuticalStartTime="1230"), "injected after the scan"),
    ],
)
def test_injections_that_cannot_be_trusted(tmp_path, image, changes, why):
    refused(write(image, tmp_path, item(**changes)), why)


def test_two_injections_are_refused(tmp_path, image):
    refused(write(image, tmp_path, item() + item()), "(0054,0016) has 2 items")
    assert "(0054,0016)" in str(
        refused(
            write(image, tmp_path / "b", RadiopharmaceuticalInformationSequence=None),
            "tracer is unknown",
        )
    )


# ---- decay correction and its reference
# ---------------------------------------------------------------------------


def test_admin_takes_the_dose_as_it_is(tmp_path, image):
    found = factor(
        write(
            image,
            tmp_path,
            item(
                RadiopharmaceuticalStartTime=None,
                RadionuclideHalfLife=None,
                RadionuclideCodeSequence=coded("C-111A1", "^18^Fluorine"),
            ),
            DecayCorrection="ADMIN",
        )
    )
    assert found.value == pytest.approx(1000 * W / D)


def test_none_corrects_each_slice_from_its_own_acquisition(tmp_path, image):
    def edit(ds, k):
        ds.AcquisitionTime = f"12{3 * k:02d}00.500"
        ds.ActualFrameDuration = "603000"

    series = petsuv.read_series(
        write(image, tmp_path, edit=edit, DecayCorrection="NONE", CorrectedImage=["ATTN", "SCAT"])
    )
    rate, frame = math.log(2) / T_HALF, 603.0
    for k, found in enumerate(series.factor.per_slice):
        since = 3600 + 180 * k + 0.5
        expected = (
            rate * frame / (1 - math.exp(-rate * frame)) * math.exp(rate * since) * 1000 * W / D
        )
        assert found == pytest.approx(expected, rel=1e-9)
    refused(
        write(
            image,
            tmp_path / "b",
            DecayCorrection="NONE",
            CorrectedImage=["ATTN"],
            ActualFrameDuration=None,
        ),
        "(0018,1242)",
    )
    refused(
        write(
            image,
            tmp_path / "c",
            DecayCorrection="NONE",
            CorrectedImage=["ATTN"],
            AcquisitionTime=None,
        ),
        "(0008,0032)",
    )


def test_series_time_is_the_reference_unless_it_is_later_than_the_scan(tmp_path, image):
    early = write(image, tmp_path / "a", SeriesTime="115500", AcquisitionTime="120000")
    assert factor(early).value == pytest.approx(decayed(55))
    later = write(
        image, tmp_path / "b", SeriesTime="131500", AcquisitionTime="120000", FrameReferenceTime="0"
    )
    assert factor(later).value == pytest.approx(decayed(60))  # nothing better: earliest acquisition
    next_day = write(
        image,
        tmp_path / "c",
        SeriesDate="20000103",
        AcquisitionTime="120000",
        FrameReferenceTime="0",
    )
    assert factor(next_day).value == pytest.approx(decayed(60))  # reconstructed two days later


@pytest.mark.parametrize(
    "vr, value",
    [("DT", "20000101114200.00"), ("UN", b"20000101114200.00 "), ("LO", "200001011142")],
)
def test_ges_private_scan_time_comes_next(tmp_path, image, vr, value):
    folder = write(
        image,
        tmp_path,
        SeriesTime="131500",
        AcquisitionTime="120000",
        edit=lambda ds, k: private(ds, (0x0009, 0x100D), vr, value),
    )
    assert factor(folder).value == pytest.approx(decayed(42))
    with_creator = write(
        image,
        tmp_path / "b",
        SeriesTime="131500",
        AcquisitionTime="120000",
        edit=lambda ds, k: private(ds, (0x0009, 0x100D), vr, value, "GEMS_PETD_01"),
    )
    assert factor(with_creator).value == pytest.approx(decayed(42))
    swap = (b"1142", b"1159") if isinstance(value, bytes) else ("1142", "1159")
    agreeing = value.replace(*swap)
    unused = write(
        image, tmp_path / "c", edit=lambda ds, k: private(ds, (0x0009, 0x100D), vr, agreeing)
    )
    assert factor(unused).value == pytest.approx(
        decayed(60)
    )  # Series Time is good, and comes first
    opposed = write(
        image, tmp_path / "d", edit=lambda ds, k: private(ds, (0x0009, 0x100D), vr, value)
    )
    refused(opposed, "private scan time and the time of the series differ by 12%")


def test_back_computation_only_where_slices_agree(tmp_path, image):
    start, frame = datetime(2000, 1, 1, 11, 50), 180.0
    average = times.average_activity_time(frame, T_HALF)
    assert 89 < average < 90  # just before the middle

    def edit(ds, k):
        begin = start + timedelta(minutes=4 * k)
        ds.AcquisitionTime = begin.strftime("%H%M%S")
        ds.FrameReferenceTime = f"{(240 * k + average) * 1000:.6f}"
        ds.ActualFrameDuration = "180000"
        ds.SeriesTime = "131500"

    assert factor(write(image, tmp_path / "a", edit=edit)).value == pytest.approx(
        decayed(50), rel=1e-6
    )

    def ge(ds, k):  # GE counts to the start of the frame
        edit(ds, k)
        ds.Manufacturer, ds.FrameReferenceTime = "GE MEDICAL SYSTEMS", f"{240000 * (k + 1)}"

    assert factor(write(image, tmp_path / "ge", edit=ge)).value == pytest.approx(
        decayed(46), rel=1e-6
    )

    def shifted(ds, k):
        edit(ds, k)
        if k == 2:
            ds.FrameReferenceTime = f"{(240 * k + average) * 1000 + 9000:.3f}"

    assert factor(write(image, tmp_path / "b", edit=shifted)).value == pytest.approx(
        decayed(50)
    )  # earliest

    def absurd(ds, k):  # it went beyond what a date can hold
        edit(ds, 0)
        ds.FrameReferenceTime = "1e18"

    refused(write(image, tmp_path / "far", edit=absurd), "points to a day or more before")

    def alone(ds, k):  # before the injection; SUV near zero would come of it
        edit(ds, 0)
        ds.FrameReferenceTime = f"{13.9 * 3600 * 1000:.0f}"

    refused(
        write(image, tmp_path / "alone", edit=alone), "833 min before the scan, and Decay Factor"
    )

    def both(ds, k):  # a late part of a scan that began 20 minutes earlier
        edit(ds, 0)
        ds.FrameReferenceTime = f"{(1200 + average) * 1000:.6f}"
        ds.DecayFactor = f"{2 ** ((1200 + average) / T_HALF):.8f}"

    assert factor(write(image, tmp_path / "both", edit=both)).value == pytest.approx(
        decayed(30), rel=1e-6
    )

    def zero(ds, k):
        edit(ds, k)
        ds.AcquisitionTime = "115200"
        if k == 0:
            ds.FrameReferenceTime = "0"

    assert factor(write(image, tmp_path / "c", edit=zero)).value == pytest.approx(decayed(52))


def test_without_acquisition_time_there_is_no_reference(tmp_path, image):
    refused(write(image, tmp_path, AcquisitionTime=None), "(0008,0032)")
    refused(write(image, tmp_path / "b", AcquisitionTime=""), "(0008,0032)")
    instead = write(
        image,
        tmp_path / "c",
        AcquisitionTime=None,
        AcquisitionDate=None,
        AcquisitionDateTime="20000101120000",
    )
    assert factor(instead).value == pytest.approx(decayed(60))
    refused(write(image, tmp_path / "d", AcquisitionDate="20010101"), "contradict")


@pytest.mark.parametrize(
    "changes, minutes",
    [
        (dict(RadiopharmaceuticalStartDateTime="20000101110130.000000"), 58.5),  # before Start Time
        (
            dict(
                RadiopharmaceuticalStartDateTime="200001011130", RadiopharmaceuticalStartTime=None
            ),
            30,
        ),
        (
            dict(RadiopharmaceuticalStartDateTime="19640101105800"),
            62,
        ),  # a shifted date: its time of day still counts
        (dict(RadiopharmaceuticalStartDateTime="20000101"), 60),  # no time in it: Start Time
        (dict(RadiopharmaceuticalStartDateTime=""), 60),
        (dict(RadiopharmaceuticalStartTime="1100"), 60),
        (dict(RadiopharmaceuticalStartTime="110000.5"), 60 - 0.5 / 60),
        (dict(RadiopharmaceuticalStartTime="11:00:30"), 59.5),
        (dict(RadiopharmaceuticalStartTime="11"), 60),
    ],
)
def test_when_it_was_injected(tmp_path, image, changes, minutes):
    assert factor(write(image, tmp_path, item(**changes))).value == pytest.approx(
        decayed(minutes), rel=1e-6
    )


@pytest.mark.parametrize(
    "changes",
    [
        dict(RadiopharmaceuticalStartTime="233000"),
        dict(RadiopharmaceuticalStartDateTime="20000101233000", RadiopharmaceuticalStartTime=None),
        dict(
            RadiopharmaceuticalStartDateTime="20000101233000", RadiopharmaceuticalStartTime="233010"
        ),
    ],
)
def test_an_injection_before_midnight(tmp_path, image, changes):
    folder = write(
        image,
        tmp_path,
        item(**changes),
        SeriesDate="20000102",
        SeriesTime="003000",
        AcquisitionDate="20000102",
        AcquisitionTime="003000",
    )
    assert factor(folder).value == pytest.approx(decayed(60))


@pytest.mark.parametrize(
    "zone, stated, minutes",
    [
        (None, "20000101110000+0200", 60),
        ("+0200", "20000101110000+0200", 60),
        ("+0200", "20000101100000+0100", 60),
        ("-0500", "20000101160000+0000", 60),
        ("+0200", "20000101110000", 60),
    ],
)
def test_time_zones(tmp_path, image, zone, stated, minutes):
    folder = write(
        image,
        tmp_path,
        item(RadiopharmaceuticalStartDateTime=stated, RadiopharmaceuticalStartTime=None),
        TimezoneOffsetFromUTC=zone,
    )
    assert factor(folder).value == pytest.approx(decayed(minutes))


def test_without_any_date_the_times_of_day_do(tmp_path, image):
    folder = write(image, tmp_path, StudyDate=None, SeriesDate="", AcquisitionDate=None)
    assert factor(folder).value == pytest.approx(decayed(60))


def test_the_writings_of_dates_and_times():
    hour, minute, second = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
    for found, expected in (
        ("10", 10 * hour),
        ("1005", 10 * hour + 5 * minute),
        ("100507", 10 * hour + 5 * minute + 7 * second),
        ("100507.25 ", 10 * hour + 5 * minute + 7.25 * second),
        ("10:05:07", 10 * hour + 5 * minute + 7 * second),
        ("235960", 24 * hour),
        ("", None),
        (None, None),
        ("24", None),
        ("1", None),
        ("noon", None),
        ("1005.5", None),
    ):
        assert elements.clock(found) == expected, found
    assert elements.day("20000229") == elements.day("2000.02.29") == datetime(2000, 2, 29)
    assert elements.day("20010229") is None and elements.day("0") is None
    assert elements.moment("20000101100507.5+0200") == datetime(2000, 1, 1, 10, 5, 7, 500000)
    assert elements.moment("20000101") is None and elements.moment("01-01-2000 10:00") is None
    assert elements.clock("93000") == 9.5 * hour and elements.clock("100507,25") == elements.clock(
        "100507.25"
    )
    noon = elements.moment("2000-01-01T12:00:00+02:00", timedelta())
    assert noon == elements.moment("2000-01-01 10:00:00Z") == datetime(2000, 1, 1, 10)


# Headers of eight real series and the factors published with them:
# github.com/cornerstonejs/calculate-suv, test/ (MIT). Series and acquisition time, injection time,
# Frame Reference Time and Actual Frame Duration in ms, weight, dose, half-life, units, Philips' SUV
# factor, expected factor.
VECTORS = {
    "Siemens": (
        "104829.000000",
        "104830.351370",
        "083045.000000",
        38513.36,
        74324,
        67,
        374e6,
        6586.2,
        "BQML",
        None,
        0.00042748316187197236,
    ),
    "GE": (
        "095621",
        "095621",
        "084500.00",
        0,
        120000,
        52,
        152022720,
        6586.2001953125,
        "BQML",
        None,
        0.0005367387681819742,
    ),
    "Philips Bq/ml": (
        "110155",
        "110156",
        "100058",
        1328700,
        120700,
        64,
        126e6,
        6586.199707,
        "BQML",
        "0.003515736 ",
        0.0007463747013889488,
    ),
    "Philips counts": (
        "134551",
        "141336",
        "123000",
        1755000,
        180000,
        47,
        208230000,
        6588,
        "CNTS",
        "0.000728",
        0.000728,
    ),
    "Philips counts, both": (
        "093556",
        "095439",
        "083000",
        1183000,
        120000,
        54,
        238e6,
        6588,
        "CNTS",
        "0.000551",
        0.000551,
    ),
    "series 5 us late": (
        "123515.000000",
        "123514.999995",
        "114100.000000",
        59936.854672596,
        120000,
        65,
        225e6,
        6586.2,
        "BQML",
        None,
        0.0004069156854009332,
    ),
    "series later": (
        "134918.000000",
        "130348.234000",
        "120037.000000",
        0,
        180000,
        69,
        388e6,
        6586.2,
        "BQML",
        None,
        0.00026503312764157046,
    ),
    "no datetime": (
        "135431.843000",
        "141555.687000",
        "125000.000000",
        1372857.9232493,
        180000,
        102,
        412e6,
        6586.2,
        "BQML",
        None,
        0.0003721089202818729,
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_published_factors_of_real_headers(tmp_path, image, name):
    (
        series,
        acquired,
        injected,
        reference,
        duration,
        weight,
        dose,
        half_life,
        units,
        philips,
        expected,
    ) = VECTORS[name]

    def edit(ds, k):
        if philips:
            ds.add_new((0x7053, 0x1000), "DS", philips)

    drug = item(
        RadiopharmaceuticalStartTime=injected,
        RadionuclideTotalDose=f"{dose:.0f}",
        RadionuclideHalfLife=str(half_life),
    )
    folder = write(
        image,
        tmp_path,
        drug,
        edit,
        SeriesTime=series,
        AcquisitionTime=acquired,
        FrameReferenceTime=str(reference),
        ActualFrameDuration=str(duration),
        PatientWeight=str(weight),
        Units=units,
    )
    assert factor(folder).value == pytest.approx(expected, rel=1e-6)


# ---- the tracer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        dict(Radiopharmaceutical="FDG -- fluorodeoxyglucose"),
        dict(Radiopharmaceutical="Fluorodeoxyglucose"),
        dict(Radiopharmaceutical="18F-FDG"),
        dict(Radiopharmaceutical="F-18 Fludeoxyglucose"),
        dict(Radiopharmaceutical=None, RadiopharmaceuticalCodeSequence=coded("C-B1031", "")),
        dict(
            Radiopharmaceutical="Solution",
            RadiopharmaceuticalCodeSequence=coded("35321007", "Fluorodeoxyglucose F^18^"),
        ),
        dict(RadionuclideCodeSequence=coded("C-111A1", "^18^Fluorine")),
        dict(RadionuclideCodeSequence=coded("77004003", "18F")),
        dict(RadionuclideHalfLife="6588"),
        dict(RadionuclideHalfLife="6582.0"),
    ],
)
def test_fdg_under_its_names(tmp_path, image, changes):
    assert not factor(write(image, tmp_path, item(**changes))).notes


@pytest.mark.parametrize(
    "changes",
    [
        dict(Radiopharmaceutical=None),
        dict(Radiopharmaceutical="Solution"),
        dict(Radiopharmaceutical="F18"),
    ],
)
def test_fluorine_18_without_a_name_is_noted(tmp_path, image, changes):
    assert "taken to be FDG" in factor(write(image, tmp_path, item(**changes))).notes[0]


@pytest.mark.parametrize(
    "changes, why",
    [
        (dict(Radiopharmaceutical="18F-PSMA-1007"), "(0018,0031)"),
        (dict(Radiopharmaceutical="FLT"), "(0018,0031)"),
        (dict(Radiopharmaceutical="Sodium fluoride F18"), "(0018,0031)"),
        (
            dict(
                Radiopharmaceutical=None,
                RadiopharmaceuticalCodeSequence=coded("C-B1036", "Fluorothymidine F^18^"),
            ),
            "(0018,0031)",
        ),
        (dict(Radiopharmaceutical="DOTATATE", RadionuclideHalfLife="4062.6"), "not fluorine-18"),
        (dict(RadionuclideHalfLife="109.8"), "109.8 s, not fluorine-18"),
        (dict(RadionuclideHalfLife="1223"), "(0018,1075)"),
        (dict(RadionuclideCodeSequence=coded("C-131A3", "^68^Gallium")), "(0054,0300)"),
        (dict(Radiopharmaceutical=None, RadionuclideHalfLife=None), "(0018,0031) does not say"),
    ],
)
def test_other_tracers(tmp_path, image, changes, why):
    refused(write(image, tmp_path, item(**changes)), why)


# ---- which files, which series
# ------------------------------------------------------------------------------------


def test_order_comes_from_position_not_from_names_or_numbers(tmp_path, image):
    plain = petsuv.read(write(image, tmp_path / "a"))
    mixed = write(
        image, tmp_path / "b", edit=lambda ds, k: setattr(ds, "InstanceNumber", 7 * k % 4)
    )
    for k, file in enumerate(sorted(mixed.glob("*.dcm"))):
        file.rename(mixed / f"{'zxya'[k]}")  # no suffix either
    np.testing.assert_array_equal(np.asarray(petsuv.read(mixed).dataobj), np.asarray(plain.dataobj))


def test_head_first_or_feet_first_axial_or_coronal(tmp_path, image):
    """The same voxels under another orientation land where the orientation says."""

    def prone(ds, k):
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        ds.ImagePositionPatient = [x + 5 * 4, y + 4 * 3, z]
        ds.PixelData = ds.pixel_array[::-1, ::-1].tobytes()

    plain = petsuv.read(write(image, tmp_path / "a"))
    turned = petsuv.read(write(image, tmp_path / "b", edit=prone))
    np.testing.assert_allclose(turned.affine, plain.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(turned.dataobj), np.asarray(plain.dataobj))


def test_oblique_slices_keep_their_affine(tmp_path, image):
    angle = math.radians(10)
    axes = np.array([[1, 0, 0], [0, math.cos(angle), math.sin(angle)]])
    normal = np.cross(*axes)

    def edit(ds, k):
        ds.ImageOrientationPatient = [f"{v:.8f}" for v in axes.ravel()]
        ds.ImagePositionPatient = [f"{v:.6f}" for v in normal * 5 * k]

    found = petsuv.read(write(image, tmp_path, edit=edit))
    assert (
        np.abs(np.linalg.det(found.affine[:3, :3])) > 0
        and (np.abs(found.affine[:3, :3]) > 0.01).sum() > 3
    )
    np.testing.assert_allclose(nib.affines.voxel_sizes(found.affine), [4, 3, 5], atol=1e-4)


def test_attenuation_corrected_and_longest_series_is_taken_and_said(tmp_path, image):
    longer = nib.Nifti1Image(np.concatenate([image.dataobj] * 3, axis=2), image.affine)
    study = generate_uid()

    def uids(number):
        def edit(ds, k):
            ds.StudyInstanceUID, ds.SeriesNumber, ds.SeriesInstanceUID = (
                study,
                number,
                f"1.2.3.{number}",
            )
            ds.SOPInstanceUID = f"1.2.3.{number}.{k}"

        return edit

    write(image, tmp_path / "head", edit=uids(3))
    write(longer, tmp_path / "whole", edit=uids(4))
    write(longer, tmp_path / "nac", edit=uids(2), CorrectedImage=["DECY"])
    write(
        longer,
        tmp_path / "ct",
        edit=uids(1),
        Modality="CT",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
    )
    write(
        image,
        tmp_path / "capture",
        edit=uids(9),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        Modality="PT",
    )
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "mask.nii.gz").write_bytes(b"x")
    (tmp_path / "DICOMDIR").write_bytes(b"x")
    (tmp_path / "junk").write_bytes(b"\0" * 5000)
    with pytest.warns(petsuv.ExamNote) as notes:
        found = petsuv.read(tmp_path)
    assert found.shape == (6, 5, 12)
    said = " ".join(str(n.message) for n in notes)
    assert "4 PET series" in said and "12 slices" in said and "12 CT" in said and "ATTN" in said
    assert found.extra["notes"] == [str(n.message) for n in notes]


def test_a_folder_with_only_what_cannot_be_used(tmp_path, image):
    refused(
        write(image, tmp_path / "nac", CorrectedImage=["DECY"]), "not corrected for attenuation"
    )
    refused(
        write(image, tmp_path / "ct", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
        "no PET images (4 CT)",
    )
    refused(
        write(image, tmp_path / "mip", ImageType=["DERIVED", "SECONDARY", "MIP"]), "projections"
    )
    refused(write(image, tmp_path / "repro", SeriesType=["STATIC", "REPROJECTION"]), "projections")
    refused(write(image, tmp_path / "underscore", SeriesDescription="WB_MIP_1"), "projections")
    refused(write(image, tmp_path / "named", SeriesDescription="PET MIP rotating"), "projections")
    refused(
        write(image, tmp_path / "sc", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "screen capture"
    )
    refused(
        write(image, tmp_path / "enhanced", SOPClassUID="1.2.840.10008.5.1.4.1.1.130"),
        "Enhanced PET",
    )

    def rotate(ds, k):
        ds.ImageOrientationPatient = [
            f"{math.cos(k):.8f}",
            f"{math.sin(k):.8f}",
            "0",
            "0",
            "0",
            "-1",
        ]

    refused(write(image, tmp_path / "rotating", edit=rotate), "rotating projections")


def test_two_patients_in_one_folder(tmp_path, image):
    write(image, tmp_path / "a", seed=1)
    petsuv.write_phantom_series(image, tmp_path / "b", seed=2)
    refused(tmp_path, "several studies")


def test_a_longer_series_that_fails_is_not_silently_replaced(tmp_path, image):
    longer = nib.Nifti1Image(np.concatenate([image.dataobj] * 3, axis=2), image.affine)

    def other(ds, k):
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.9", f"1.2.9.{k}"

    write(image, tmp_path / "head")
    write(longer, tmp_path / "whole", edit=other, PatientWeight="0")
    refused(tmp_path, "(0010,1030)")


# ---- geometry ------------------------------------------------------------------------------------


def test_duplicates_are_dropped_and_noted(tmp_path, image):
    folder = write(image, tmp_path)
    for k in (0, 2):
        (folder / f"copy-{k}.dcm").write_bytes((folder / f"slice-000{k}.dcm").read_bytes())
    other_uid = pydicom.dcmread(folder / "slice-0001.dcm")
    other_uid.SOPInstanceUID = generate_uid()
    other_uid.save_as(folder / "again.dcm")
    with pytest.warns(petsuv.ExamNote, match="3 duplicate"):
        assert petsuv.read(folder).shape == SHAPE


def test_time_frames_and_gates_at_one_place(tmp_path, image):
    for name, change in (
        ("dynamic", dict(AcquisitionTime="120500")),
        ("frames", dict(FrameReferenceTime="240000")),
        ("gates", dict(TriggerTime="400")),
    ):
        folder = write(image, tmp_path / name)
        for file in sorted(folder.glob("*.dcm")):
            ds = pydicom.dcmread(file)
            ds.SOPInstanceUID = generate_uid()
            for keyword, value in change.items():
                setattr(ds, keyword, value)
            ds.save_as(folder / f"second-{file.name}")
        refused(folder, "2 time frames lie at the same position")


def test_large_slices_stay_on_disk_until_used(tmp_path):
    """More than 100 kB a slice: a study's CT is never loaded, the PET's pixels only when they are
    needed."""
    large = nib.Nifti1Image(
        np.random.default_rng(1).random((240, 230, 2), np.float32), np.diag([2.0, 2, 3, 1])
    )
    found = petsuv.read(write(large, tmp_path))
    np.testing.assert_allclose(np.asarray(found.dataobj), np.asarray(large.dataobj), atol=1e-4)


def test_a_capture_filed_under_the_same_series(tmp_path, image):
    folder = write(image, tmp_path)
    ds = pydicom.dcmread(folder / "slice-0000.dcm")
    ds.SOPInstanceUID, ds.SOPClassUID = generate_uid(), "1.2.840.10008.5.1.4.1.1.7"
    ds.save_as(folder / "capture.dcm")
    with pytest.warns(petsuv.ExamNote, match="screen capture"):
        assert petsuv.read(folder).shape == SHAPE


def test_two_different_images_at_one_place(tmp_path, image):
    folder = write(image, tmp_path)
    ds = pydicom.dcmread(folder / "slice-0001.dcm")
    ds.SOPInstanceUID, ds.PixelData = generate_uid(), bytes(len(ds.PixelData))
    ds.save_as(folder / "other.dcm")
    refused(folder, "two different images")


def test_missing_slices_are_named(tmp_path, image):
    tall = nib.Nifti1Image(np.concatenate([image.dataobj] * 3, axis=2), image.affine)
    middle = write(tall, tmp_path / "middle", edit=lambda ds, k: "drop" if k in (4, 5) else None)
    refused(middle, "2 between -65.00 and -50.00 mm")
    end = write(tall, tmp_path / "end", edit=lambda ds, k: "drop" if k == 11 else None)
    refused(end, "(0054,0081) is 12, but 11 slices are here")
    short = write(
        image,
        tmp_path / "short",
        NumberOfSlices=None,
        edit=lambda ds, k: "drop" if k == 1 else None,
    )
    refused(short, "1 between")
    one = write(image, tmp_path / "one", edit=lambda ds, k: "drop" if k else None)
    refused(one, "one slice")
    damaged = write(tall, tmp_path / "damaged")
    (damaged / "slice-0006.dcm").write_bytes((damaged / "slice-0006.dcm").read_bytes()[:300])
    refused(damaged, "1 between")


def place(positions):
    def edit(ds, k):
        x, y, _ = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{positions[k]:.4f}"]

    return edit


def test_steps_a_little_uneven_leave_every_voxel_as_it_is(tmp_path, image):
    """Where beds meet, steps differ by hundredths of a millimetre: no value may be blended away."""
    found = petsuv.read(write(image, tmp_path, edit=place([0, 3.27, 6.46, 9.75])))
    assert nib.affines.voxel_sizes(found.affine)[2] == pytest.approx(3.25)
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), np.asarray(petsuv.read(write(image, tmp_path / "b")).dataobj)
    )


def test_uneven_steps_are_resampled(tmp_path):
    """A ramp along z stays one whatever the steps; a reader of equal steps bends it."""
    positions = np.array([0, 2.0, 5.0, 7.0, 10.0, 13.2, 16.0])
    ramp = np.broadcast_to((positions + 1).astype(np.float32), (4, 5, 7))
    folder = write(
        nib.Nifti1Image(np.array(ramp), np.diag([4.0, 4, 2, 1])), tmp_path, edit=place(positions)
    )
    found = petsuv.read(folder)
    z = nib.affines.apply_affine(found.affine, [[0, 0, k] for k in range(found.shape[2])])[:, 2]
    np.testing.assert_allclose(np.diff(z), 16 / 6, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(found.dataobj)[1, 2], z + 1, atol=0.05 * 16 / 6)
    off_grid = np.abs(positions[:, None] - z).min(axis=0) > 0.05 * 16 / 6
    np.testing.assert_allclose(
        np.asarray(found.dataobj)[1, 2][off_grid], z[off_grid] + 1, atol=1e-3
    )


@pytest.mark.parametrize(
    "elements, why",
    [
        (dict(ImagePositionPatient=None), "(0020,0032)"),
        (dict(ImageOrientationPatient=None), "(0020,0037)"),
        (dict(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "(0020,0037)"),
        (dict(PixelSpacing=None), "(0028,0030)"),
        (dict(PixelSpacing=["0", "4"]), "(0028,0030)"),
        (dict(SamplesPerPixel=3), "(0028,0002)"),
        (dict(NumberOfFrames=32), "(0028,0008)"),
    ],
)
def test_slices_without_a_place(tmp_path, image, elements, why):
    refused(write(image, tmp_path, **elements), why)


def test_sheared_stacks_and_mixed_sizes(tmp_path, image):
    def shear(ds, k):
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y + 3 * k, z]

    refused(write(image, tmp_path / "a", edit=shear), "sheared")
    refused(
        write(
            image,
            tmp_path / "b",
            edit=lambda ds, k: setattr(ds, "PixelSpacing", ["3.0", f"{4 + k}"]),
        ),
        "differs between slices",
    )
    refused(
        write(image, tmp_path / "c", edit=lambda ds, k: setattr(ds, "PatientWeight", str(70 + k))),
        "(0010,1030) differs",
    )


# ---- pixel data ----------------------------------------------------------------------------------


def test_compressed_and_old_transfer_syntaxes(tmp_path, image):
    plain = np.asarray(petsuv.read(write(image, tmp_path / "plain")).dataobj)

    def rle(ds, k):
        ds.compress(RLELossless)

    def implicit(ds, k):
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    for name, edit in (("rle", rle), ("implicit", implicit)):
        np.testing.assert_array_equal(
            np.asarray(petsuv.read(write(image, tmp_path / name, edit=edit)).dataobj), plain
        )
    deflated = write(
        image,
        tmp_path / "deflated",
        edit=lambda ds, k: setattr(
            ds.file_meta, "TransferSyntaxUID", pydicom.uid.DeflatedExplicitVRLittleEndian
        ),
    )
    np.testing.assert_array_equal(np.asarray(petsuv.read(deflated).dataobj), plain)


def test_jpeg_2000(tmp_path, image):
    from pydicom.uid import JPEG2000Lossless

    large = nib.Nifti1Image(
        np.tile(image.dataobj, (12, 12, 1)), image.affine
    )  # the encoder wants 32 pixels and more
    plain = np.asarray(petsuv.read(write(large, tmp_path / "plain")).dataobj)
    folder = write(
        large,
        tmp_path / "j2k",
        edit=lambda ds, k: ds.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg"),
    )
    assert (
        pydicom.dcmread(next(folder.glob("*.dcm"))).file_meta.TransferSyntaxUID == JPEG2000Lossless
    )
    np.testing.assert_array_equal(np.asarray(petsuv.read(folder).dataobj), plain)


def test_files_without_preamble(tmp_path, image):
    plain = np.asarray(petsuv.read(write(image, tmp_path / "plain")).dataobj)
    folder = write(image, tmp_path / "old")
    for file in folder.glob("*.dcm"):
        ds = pydicom.dcmread(file)
        pydicom.dcmwrite(
            file, Dataset(ds), implicit_vr=True, little_endian=True, enforce_file_format=False
        )
        assert file.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(np.asarray(petsuv.read(folder).dataobj), plain)


def test_pixel_data_that_are_missing_or_cut(tmp_path, image):
    refused(
        write(
            image,
            tmp_path / "none",
            edit=lambda ds, k: delattr(ds, "PixelData") if k == 2 else None,
        ),
        "cannot be decoded",
    )
    refused(
        write(
            image,
            tmp_path / "cut",
            edit=lambda ds, k: setattr(ds, "PixelData", ds.PixelData[:20]) if k == 2 else None,
        ),
        "cannot be decoded",
    )
    refused(
        write(
            image,
            tmp_path / "zero",
            edit=lambda ds, k: setattr(ds, "PixelData", bytes(len(ds.PixelData))),
        ),
        "empty",
    )


def test_intercepts_and_padding(tmp_path, image):
    plain = np.asarray(petsuv.read(write(image, tmp_path / "plain")).dataobj)
    up = np.asarray(petsuv.read(write(image, tmp_path / "up", RescaleIntercept="1000")).dataobj)
    np.testing.assert_allclose(up - plain, 1000 * decayed(60), rtol=1e-4)

    def padded(ds, k):
        pixels = ds.pixel_array.copy()
        pixels[0, 0] = -32768
        ds.PixelData = pixels.tobytes()
        ds.add_new("PixelPaddingValue", "SS", -32768)

    found = np.asarray(petsuv.read(write(image, tmp_path / "pad", edit=padded)).dataobj)
    assert found.min() >= 0 and (found == 0).sum() == SHAPE[2]


def test_damaged_files_end_in_a_sentence(tmp_path, image):
    """Random bytes and lost elements in one or all slices: an image or an ExamError, never another
    error."""
    rng = np.random.default_rng(0)
    good = [file.read_bytes() for file in sorted(write(image, tmp_path / "good").glob("*.dcm"))]
    folder = tmp_path / "bad"
    folder.mkdir()
    refusals = 0
    for trial in range(150):
        places = rng.integers(132, len(good[0]) - 150, rng.integers(1, 5))
        for k, content in enumerate(good):
            changed = bytearray(content)
            if trial % 2 or k == trial % 4:
                changed[places[0] : places[0] + len(places)] = rng.bytes(len(places))
                changed[places[-1]] = rng.integers(256)
            (folder / f"{k}.dcm").write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert petsuv.read(folder).shape == SHAPE
            except petsuv.ExamError as error:
                assert error.reason and error.remedy
                refusals += 1
    assert 20 < refusals < 140


# ---- privacy -------------------------------------------------------------------------------------


def test_nothing_that_identifies_comes_out(tmp_path, image):
    """Planted in every free-text tag, in UIDs and in the path: not in the image, the notes or an
    error."""
    secret = "ZORRO"
    planted = (
        {k: f"{secret}^JANE" for k in ("PatientName", "ReferringPhysicianName", "OperatorsName")}
        | {
            k: secret
            for k in (
                "PatientID",
                "AccessionNumber",
                "StudyID",
                "InstitutionName",
                "StationName",
                "StudyDescription",
                "ProtocolName",
                "SeriesDescription",
                "PatientComments",
                "ImageComments",
                "Manufacturer",
                "ManufacturerModelName",
            )
        }
        | {
            "PatientBirthDate": "19511113",
            "StudyInstanceUID": "1.2.19511113.1",
            "SeriesInstanceUID": "1.2.19511113.2",
        }
    )
    folder = write(image, tmp_path / secret / "a", **planted)
    (folder / "slice-0000.dcm").rename(folder / f"{secret}.dcm")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        found = petsuv.read(folder)
        said = repr(found.extra) + str(found.header)
        said += repr([str(n.message) for n in notes if n.category is petsuv.ExamNote])
    blob = found.to_bytes() + said.encode()
    assert secret.encode() not in blob and b"19511113" not in blob and found.get_filename() is None
    for changed in (
        dict(Units=secret),
        dict(DecayCorrection=secret),
        dict(SUVType=secret, Units="GML"),
        dict(CorrectedImage=[secret]),
        dict(SeriesType=[secret, "REPROJECTION"]),
        dict(Modality=secret, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
        dict(SeriesTime=secret, AcquisitionTime=secret),
    ):
        error = refused(write(image, tmp_path / secret / "b", **planted | changed), "")
        assert secret not in repr(error) and "19511113" not in repr(error)
    with warnings.catch_warnings(
        record=True
    ) as notes:  # pydicom's own warnings quote what they dislike
        warnings.simplefilter("always")
        folder = write(image, tmp_path / secret / "d")
        for file in folder.glob("*.dcm"):
            file.write_bytes(file.read_bytes().replace(b"120000", secret.encode() + b"!"))
        with pytest.raises(petsuv.ExamError):
            petsuv.read(folder)
    assert not [n for n in notes if secret in str(n.message)]
    error = refused(
        write(image, tmp_path / secret / "c", item(Radiopharmaceutical=secret), **planted),
        "not recognised as FDG",
    )
    assert secret not in repr(error)


def test_an_error_survives_a_trip_between_processes():
    import pickle

    error = petsuv.ExamError("a fault", "A remedy.")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.remedy, str(again)) == (
        "a fault",
        "A remedy.",
        "a fault. A remedy.",
    )


# ---- reference objects and the real exam
# --------------------------------------------------------------------------

OBJECTS = (
    "DRO_0_0",
    "DRO_1_0",
    "DRO_2_0",
    "DRO_2_4",
    "DRO_3_1",
    "DRO_3_2",
    "DRO_3_4",
    "DRO_4_0",
    "DRO_4_2",
)


@pytest.mark.parametrize("name", OBJECTS)
def test_reference_objects(tmp_path, name):
    """Synthetic series of the IBSI SUV project, one rule each (CC BY 4.0): SUV 0.20 / 1.00 / 4.00
    inside their mask."""
    archive = SHARED / "suv_reference_objects" / f"{name}.tar.gz"
    if not archive.exists():
        pytest.skip("the reference objects are not here (shared/data/suv_reference_objects)")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    found = petsuv.read(tmp_path)
    mask = nib.as_closest_canonical(nib.load(next(tmp_path.rglob("*mask*.nii*"))))
    np.testing.assert_allclose(found.affine, mask.affine, atol=1e-3)
    inside = np.asarray(found.dataobj)[np.asarray(mask.dataobj) > 0]
    assert [inside.min(), np.median(inside), inside.max()] == pytest.approx(
        [0.20, 1.00, 4.00], abs=5e-4
    )


@pytest.fixture(scope="module")
def real_series():
    folder = SHARED / "real_exam_dicom"
    if not folder.is_dir():
        pytest.skip("the real exam is not here (shared/data/real_exam_dicom)")
    return petsuv.read_series(folder)


def test_the_real_exam(real_series):
    """Soft-tissue-Sarcoma STS_001 (TCIA, CC BY 3.0): 267 slices, a slope of its own in each, uneven
    steps."""
    assert real_series.factor.value == pytest.approx(2.429029766e-4, rel=1e-9)
    assert np.ptp(np.diff(real_series.geometry.positions_mm)) > 0.09  # the steps are uneven ...
    assert np.abs(real_series.geometry.offsets).max() < grid.ON_GRID  # ... by less than counts
    volume = petsuv.volume(real_series)
    assert volume.shape == (267, 128, 128) and volume.max() == pytest.approx(66.5215, abs=1e-4)
    assert real_series.geometry.step_mm == pytest.approx(3.27, abs=1e-3)
    assert petsuv.with_one_slope(real_series).max() == pytest.approx(2.41, abs=5e-3)


def test_the_real_exam_agrees_with_simpleitk_and_with_its_nifti(real_series):
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([ds.filename for ds in real_series.headers])
    theirs = sitk.GetArrayFromImage(reader.Execute()) * real_series.factor.value
    np.testing.assert_allclose(petsuv.volume(real_series), theirs, rtol=2e-6, atol=1e-6)
    crop = (
        SHARED / "real_pet_nifti" / "STS_001.nii.gz"
    )  # the same exam, cropped, converted to SUV by the IBSI
    if crop.exists():
        piece = petsuv.read(crop)
        whole = petsuv.as_image(petsuv.volume(real_series), real_series.geometry.affine)
        first = np.rint(
            nib.affines.apply_affine(np.linalg.inv(whole.affine), piece.affine[:3, 3])
        ).astype(int)
        cut = tuple(slice(a, a + n) for a, n in zip(first, piece.shape, strict=True))
        ours, published = np.asarray(whole.dataobj)[cut], np.asarray(piece.dataobj)
        assert ours.max() == pytest.approx(published.max(), rel=0.05)
        assert np.corrcoef(ours.ravel(), published.ravel())[0, 1] > 0.98


def test_the_factor_explains_itself(real_series):
    said = " ".join(real_series.factor.explanation)
    assert "71 kg" in said and "45.18 min" in said and "0.000242902" in said
    assert suv.factor(real_series.headers[0]).value == pytest.approx(
        2.429029766e-4
    )  # one header is enough here
