"""Whole headers as each vendor writes them, nights, odd exports: the value to six digits, or a
refusal with its tag."""

import math
import warnings
from datetime import datetime, timedelta

import nibabel as nib
import numpy as np
import pydicom
import pytest
from exam_builder import SHAPE, T_HALF, D, W, coded, decayed, factor, item, refused, write  # noqa: F401
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    generate_uid,
)

import petsuv
from petsuv import times


def minutes_of(folder):
    """Minutes of decay that the reader found, from the factor alone."""
    return math.log2(factor(folder).value * D / (1000 * W)) * T_HALF / 60


def frames(begin, every_s, duration_s, reference="mean", **more):
    """Bed after bed, one slice each: acquisition time, frame times and decay factor as a scanner
    writes them."""
    average = times.average_activity_time(duration_s, T_HALF)

    def edit(ds, k):
        start = begin + timedelta(seconds=every_s * k)
        ds.AcquisitionDate, ds.AcquisitionTime = (
            start.strftime("%Y%m%d"),
            start.strftime("%H%M%S.%f"),
        )
        ds.ActualFrameDuration = str(duration_s * 1000)
        offset = every_s * k + (average if reference == "mean" else 0)
        ds.FrameReferenceTime = f"{offset * 1000:.4f}"
        ds.DecayFactor = f"{2 ** ((every_s * k + average) / T_HALF):.8g}"
        for keyword, value in more.items():
            setattr(ds, keyword, value)

    return edit


NOON = datetime(2000, 1, 1, 12)


# ---- vendors -------------------------------------------------------------------------------------


def test_siemens(tmp_path, image):
    """Per-slice slopes, date-time and time of injection, frames counted to their mean; series time
    = first bed."""
    drug = item(
        RadiopharmaceuticalStartDateTime="20000101105230.000000",
        RadiopharmaceuticalStartTime="105230.000000",
        RadionuclideTotalDose="298000000",
        RadionuclideHalfLife="6586.2",
        RadionuclidePositronFraction="0.97",
        Radiopharmaceutical="Fluorodeoxyglucose",
        RadionuclideCodeSequence=coded("C-111A1", "^18^Fluorine"),
    )
    folder = write(
        image,
        tmp_path,
        drug,
        frames(NOON, 150, 120),
        Manufacturer="SIEMENS",
        PatientWeight="82.5",
        SeriesTime="120000.000000",
        CorrectedImage=["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"],
    )
    expected = 82500 / (298e6 * 2 ** (-4050 / T_HALF))
    assert factor(folder).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("decay_factor", [True, False])
@pytest.mark.parametrize("maker, reference", [("SIEMENS", "mean"), ("GE MEDICAL SYSTEMS", "start")])
def test_reconstructed_later_without_a_private_time(
    tmp_path, image, maker, reference, decay_factor
):
    """Each vendor's way to count frames leads back to the same start, by its decay factor or by its
    name."""
    begin = NOON + timedelta(
        minutes=3
    )  # the first slice here is the second bed: every frame time is above zero
    average = times.average_activity_time(180, T_HALF)

    def edit(ds, k):
        frames(begin, 200, 180)(ds, k)
        ds.FrameReferenceTime = (
            f"{(180 + 200 * k + (average if reference == 'mean' else 0)) * 1000:.4f}"
        )
        ds.DecayFactor = f"{2 ** ((180 + 200 * k + average) / T_HALF):.8g}"
        ds.Manufacturer, ds.SeriesTime = maker, "171500"
        if not decay_factor:
            del ds.DecayFactor

    found = factor(write(image, tmp_path, edit=edit))
    assert found.value == pytest.approx(decayed(60), rel=1e-6)
    assert "back-computed" in " ".join(found.explanation)


def test_the_decay_factor_outweighs_the_name(tmp_path, image):
    def edit(ds, k):
        frames(NOON, 200, 180)(ds, k)  # counted to the mean ...
        ds.Manufacturer, ds.SeriesTime = "GE MEDICAL SYSTEMS", "171500"  # ... under GE's name

    assert minutes_of(write(image, tmp_path, edit=edit)) == pytest.approx(60, abs=1e-4)


def test_ge_with_its_private_time(tmp_path, image):
    """A series made anew two days on: the scan time lies in the private block, the injection before
    midnight."""

    def edit(ds, k):
        frames(datetime(2000, 1, 2, 0, 55), 240, 210, "start")(ds, k)
        ds.add_new((0x0009, 0x0010), "LO", "GEMS_PETD_01")
        ds.add_new((0x0009, 0x100D), "DT", "20000102005458.50")
        ds.Manufacturer, ds.SeriesDate, ds.SeriesTime = (
            "GE MEDICAL SYSTEMS",
            "20000104",
            "171500.00",
        )

    folder = write(image, tmp_path, item(RadiopharmaceuticalStartTime="234800.00"), edit)
    assert minutes_of(folder) == pytest.approx(66 + 58.5 / 60, abs=1e-6)


def philips(suv=None, activity=None, creator=True):
    def edit(ds, k):
        if creator:
            ds.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
        for element, value in ((0x1000, suv), (0x1009, activity)):
            if value is not None:
                ds.add_new((0x7053, element), "DS", value[k] if isinstance(value, list) else value)

    return edit


def test_philips_counts(tmp_path, image):
    folder = write(
        image,
        tmp_path / "a",
        edit=philips("0.000551", f"{0.000551 / decayed(60):.10g}"),
        Units="CNTS",
        Manufacturer="Philips Medical Systems",
    )
    assert factor(folder).value == 0.000551
    each = factor(
        write(image, tmp_path / "b", Units="CNTS", edit=philips(["0.1", "0.2", "0.4", "0.8"]))
    )
    np.testing.assert_array_equal(each.per_slice, [0.1, 0.2, 0.4, 0.8])
    some = write(
        image, tmp_path / "c", Units="CNTS", edit=philips(["0.1", "0", "0.4", "0.8"], "1.35")
    )
    assert factor(some).value == pytest.approx(
        1.35 * decayed(60)
    )  # not usable in every slice: the other factor
    none = write(image, tmp_path / "d", Units="CNTS", edit=philips(["0.1", "0", "0.4", "0.8"]))
    refused(none, "(7053,1000) or (7053,1009)")
    refused(
        write(image, tmp_path / "e", edit=philips("0.1"), Units="CNTS", SUVType="LBM"),
        "(0054,1006) is LBM",
    )
    undecayed = write(
        image,
        tmp_path / "f",
        edit=philips("0.1"),
        Units="CNTS",
        DecayCorrection="NONE",
        CorrectedImage=["ATTN", "SCAT"],
    )
    assert factor(undecayed).value == 0.1 and "NONE" in factor(undecayed).notes[0]


def test_philips_counts_to_activity_without_decay_correction(tmp_path, image):
    """CNTS → Bq/ml by (7053,1009), then each slice from its own time, as Decay Correction NONE
    asks."""

    def edit(ds, k):
        philips(None, "1.35")(ds, k)
        frames(NOON, 150, 120)(ds, k)

    series = petsuv.read_series(
        write(
            image,
            tmp_path,
            edit=edit,
            Units="CNTS",
            DecayCorrection="NONE",
            CorrectedImage=["ATTN"],
        )
    )
    rate = math.log(2) / T_HALF
    expected = [
        1.35
        * 1000
        * W
        / D
        * math.exp(rate * (3600 + 150 * k))
        * rate
        * 120
        / (1 - math.exp(-rate * 120))
        for k in range(SHAPE[2])
    ]
    np.testing.assert_allclose(series.factor.per_slice, expected, rtol=1e-9)


def test_united_imaging(tmp_path, image):
    """One bed for the whole body, fractional seconds, a zone in every moment, doses as text with
    blanks."""
    drug = item(
        RadiopharmaceuticalStartDateTime="20000101103015.250+0800",
        RadionuclideTotalDose="296000000.0 ",
        RadiopharmaceuticalStartTime="103015.250",
        Radiopharmaceutical="FDG -- fluorodeoxyglucose",
    )
    folder = write(
        image,
        tmp_path,
        drug,
        frames(NOON + timedelta(seconds=0.75), 0, 900),
        Manufacturer="UIH",
        SeriesTime="120000.750",
        TimezoneOffsetFromUTC="+0800",
    )
    seconds = 3600 + 1785.5
    assert factor(folder).value == pytest.approx(
        1000 * W / (296e6 * 2 ** (-seconds / T_HALF)), rel=1e-9
    )


# ---- midnight, zones, fractions
# -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dates", ["all", "no acquisition date", "one date", "none"])
def test_a_scan_that_runs_past_midnight(tmp_path, image, dates):
    """Series 23:52, beds to 00:04; injected 22:52. One hour has passed, with few dates, too."""

    def edit(ds, k):
        frames(datetime(2000, 1, 1, 23, 52), 240, 210)(ds, k)
        if dates == "one date":
            ds.AcquisitionDate = "20000101"
        elif dates != "all":
            del ds.AcquisitionDate
        if dates == "none":
            ds.SeriesDate, ds.StudyDate = "", ""

    folder = write(
        image, tmp_path, item(RadiopharmaceuticalStartTime="225200"), edit, SeriesTime="235200"
    )
    assert minutes_of(folder) == pytest.approx(60, abs=1e-6)


def test_past_midnight_and_not_decay_corrected(tmp_path, image):
    def edit(ds, k):
        frames(datetime(2000, 1, 1, 23, 52), 240, 210)(ds, k)
        del ds.AcquisitionDate

    drug = item(RadiopharmaceuticalStartTime="225200")
    series = petsuv.read_series(
        write(
            image,
            tmp_path,
            drug,
            edit,
            SeriesTime="235200",
            DecayCorrection="NONE",
            CorrectedImage=["ATTN"],
        )
    )
    steps = np.log2(series.factor.per_slice[1:] / series.factor.per_slice[:-1]) * T_HALF
    np.testing.assert_allclose(steps, 240, rtol=1e-6)
    assert np.log2(series.factor.per_slice[0] * D / (1000 * W)) * T_HALF == pytest.approx(
        3600 + times.average_activity_time(210, T_HALF), rel=1e-6
    )


def test_series_begun_before_midnight_first_slice_after(tmp_path, image):
    folder = write(
        image,
        tmp_path,
        item(RadiopharmaceuticalStartTime="225900"),
        SeriesTime="235900",
        AcquisitionDate=None,
        AcquisitionTime="000030",
    )
    assert minutes_of(folder) == pytest.approx(60, abs=1e-6)


def test_a_dummy_moment_of_injection_gives_way_to_the_time(tmp_path, image):
    drug = item(
        RadiopharmaceuticalStartDateTime="19000101000000", RadiopharmaceuticalStartTime="110000"
    )
    assert minutes_of(write(image, tmp_path, drug)) == pytest.approx(60, abs=1e-6)


def test_fractions_of_a_second_count(tmp_path, image):
    drug = item(RadiopharmaceuticalStartTime="105959.123456")
    folder = write(
        image, tmp_path, drug, SeriesTime="120000.623456", AcquisitionTime="120000.623456"
    )
    assert minutes_of(folder) * 60 == pytest.approx(3601.5, abs=1e-5)


def test_moments_only(tmp_path, image):
    """Acquisition DateTime in another zone than the injection; the series' own zone holds them
    together."""
    drug = item(
        RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime="20000101100000.0+0000"
    )
    folder = write(
        image,
        tmp_path,
        drug,
        AcquisitionTime=None,
        AcquisitionDate=None,
        AcquisitionDateTime="20000101140000+0300",
        SeriesTime="120000",
        TimezoneOffsetFromUTC="+0100",
    )
    assert minutes_of(folder) == pytest.approx(60, abs=1e-6)


@pytest.mark.parametrize(
    "changes, elements",
    [
        (
            dict(RadiopharmaceuticalStartTime="120100"),
            {},
        ),  # clocks a minute apart: not 23 h 59 min of uptake
        (
            dict(
                RadiopharmaceuticalStartDateTime="20000101120030",
                RadiopharmaceuticalStartTime="120030",
            ),
            {},
        ),
        (
            dict(RadiopharmaceuticalStartTime="100000"),
            dict(SeriesTime="233000", AcquisitionTime="233000"),
        ),
    ],
)
def test_uptakes_that_nobody_waits_for(tmp_path, image, changes, elements):
    why = "no uptake of FDG" if elements else "injected after the scan"
    refused(write(image, tmp_path, item(**changes), **elements), why)


# ---- what else headers do
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements, why",
    [
        (dict(PatientWeight="1E400"), "(0010,1030)"),
        (dict(RescaleSlope="1e999"), "(0028,1053)"),
        (dict(CorrectedImage=["NORM", "DECY", "SCAT"]), "(0028,0051)"),
        (dict(PixelSpacing=["4.0"]), "(0028,0030)"),
    ],
)
def test_more_headers_that_do_not_lead_to_suv(tmp_path, image, elements, why):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(write(image, tmp_path, **elements), why)


@pytest.mark.parametrize(
    "keyword, why",
    [
        ("PatientWeight", "(0010,1030)"),
        ("RescaleIntercept", "(0028,1052)"),
        ("RescaleSlope", "(0028,1053)"),
    ],
)
def test_a_decimal_comma_is_not_guessed(tmp_path, image, keyword, why):
    folder = write(image, tmp_path, Units="BQML", **{keyword: "1.6875"})
    for file in folder.glob("*.dcm"):
        file.write_bytes(file.read_bytes().replace(b"1.6875", b"1,6875"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(folder, why)


@pytest.mark.parametrize(
    "name",
    [
        "Fluorodésoxyglucose",
        "Fluordesoxyglukose",
        "Fluorodesoxiglucosa",
        "2-[18F]FDG",
        "FDG 18F",
        "Fluoro-2-deoxy-D-glucose",
        "fdg",
    ],
)
def test_fdg_in_other_languages(tmp_path, image, name):
    assert not factor(
        write(image, tmp_path, item(Radiopharmaceutical=name), SpecificCharacterSet="ISO_IR 192")
    ).notes


@pytest.mark.parametrize(
    "changes",
    [
        dict(
            RadiopharmaceuticalCodeSequence=coded("C-B1036", "Fluorothymidine F^18^")
        ),  # FDG typed, FLT coded
        dict(Radiopharmaceutical="18F-FDGal"),
        dict(Radiopharmaceutical="FDG/NaF cocktail"),
        dict(Radiopharmaceutical="FDOPA"),
    ],
)
def test_tracers_near_fdg(tmp_path, image, changes):
    refused(write(image, tmp_path, item(**changes)), "(0018,0031)")


def test_a_series_called_uncorrected_is_the_last_choice(tmp_path, image):
    """Some exports list ATTN everywhere; the description then tells, and length does not outweigh
    it."""
    longer = nib.Nifti1Image(np.concatenate([image.dataobj] * 3, axis=2), image.affine)
    study = generate_uid()

    def uids(number, name):
        def edit(ds, k):
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (
                study,
                f"1.2.{number}",
                f"1.2.{number}.{k}",
            )
            ds.SeriesDescription = name

        return edit

    write(longer, tmp_path / "nac", edit=uids(1, "PET WB NAC"))
    with pytest.warns(petsuv.ExamNote, match="says uncorrected"):
        assert petsuv.read(tmp_path).shape[2] == 12  # nothing better: read, and said
    write(image, tmp_path / "ac", edit=uids(2, "PET WB AC"))
    write(image, tmp_path / "ac2", edit=uids(3, "PET WB AC 2nd reconstruction"))
    with pytest.warns(petsuv.ExamNote, match="the longest of 3 that can be read"):
        assert petsuv.read(tmp_path).shape == SHAPE


# ---- files ---------------------------------------------------------------------------------------


def enhanced(folder, sop_class):
    """One multi-frame file whose geometry and times lie in functional groups, nothing of them at
    the top."""
    folder.mkdir(parents=True)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, generate_uid(), "PT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.NumberOfFrames = generate_uid(), generate_uid(), 3
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PerFrameFunctionalGroupsSequence = []
    for k in range(3):
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 3 * k]
        group.PlanePositionSequence = [place]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    ds.PixelData = bytes(120)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        sop_class,
        ds.SOPInstanceUID,
    )
    ds.save_as(folder / "one.dcm", enforce_file_format=True)
    return folder


def test_enhanced_pet_is_refused_by_name(tmp_path):
    refused(enhanced(tmp_path / "a", "1.2.840.10008.5.1.4.1.1.130"), "Enhanced PET")
    refused(
        enhanced(tmp_path / "b", "1.2.840.10008.5.1.4.1.1.128.1"), "Legacy Converted Enhanced PET"
    )


def test_jpeg_ls(tmp_path):
    """Slices that hold a real JPEG-LS frame come out as the same slices uncompressed."""
    packed, plain = (
        pydicom.dcmread(get_testdata_file(n))
        for n in ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm")
    )
    frame, (rows, columns) = (
        next(generate_frames(packed.PixelData, number_of_frames=1)),
        plain.pixel_array.shape,
    )
    volume = nib.Nifti1Image(np.ones((columns, rows, 3), np.float32), np.diag([4.0, 4, 4, 1]))

    def edit(ds, k):
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGLSLossless
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = (
            plain.PixelRepresentation,
            plain.BitsStored,
            plain.HighBit,
        )

    def raw(ds, k):
        ds.PixelData = plain.PixelData
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = (
            plain.PixelRepresentation,
            plain.BitsStored,
            plain.HighBit,
        )

    first, second = (
        petsuv.volume(petsuv.read_series(write(volume, tmp_path / n, edit=e)))
        for n, e in (("ls", edit), ("raw", raw))
    )
    assert first.max() > 0
    np.testing.assert_array_equal(first, second)


def test_compressions_that_may_lose_values_are_refused_by_name(tmp_path, image):
    def lossy(syntax, said=None):
        def edit(ds, k):
            ds.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
            ds.file_meta.TransferSyntaxUID = syntax
            if said:
                ds.LossyImageCompression = said

        return edit

    large = nib.Nifti1Image(np.tile(image.dataobj, (12, 12, 1)), image.affine)
    refused(write(large, tmp_path / "a", edit=lossy(JPEG2000)), "JPEG 2000")
    refused(write(large, tmp_path / "b", edit=lossy(JPEGBaseline8Bit, "00")), "JPEG Baseline")
    refused(write(large, tmp_path / "c", edit=lossy(JPEG2000Lossless, "01")), "(0028,2110)")
    plain = petsuv.read(write(large, tmp_path / "plain"))
    allowed = petsuv.read(write(large, tmp_path / "d", edit=lossy(JPEG2000, "00")))
    np.testing.assert_array_equal(np.asarray(allowed.dataobj), np.asarray(plain.dataobj))


def test_big_endian(tmp_path, image):
    plain = np.asarray(petsuv.read(write(image, tmp_path / "plain")).dataobj)
    folder = write(image, tmp_path / "big")
    for file in folder.glob("*.dcm"):
        ds = pydicom.dcmread(file)
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(file, ds, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(np.asarray(petsuv.read(folder).dataobj), plain)


def test_a_range_of_padding(tmp_path, image):
    def padded(ds, k):
        pixels = ds.pixel_array.copy()
        pixels[0, :3] = [-32768, -32000, -31000]
        ds.PixelData = pixels.tobytes()
        ds.add_new("PixelPaddingValue", "SS", -31000)
        ds.add_new("PixelPaddingRangeLimit", "SS", -32768)

    found = np.asarray(petsuv.read(write(image, tmp_path, edit=padded)).dataobj)
    assert found.min() >= 0 and (found == 0).sum() == 3 * SHAPE[2]


def test_slices_scattered_over_subfolders(tmp_path, image):
    plain = np.asarray(petsuv.read(write(image, tmp_path / "plain")).dataobj)
    folder = write(image, tmp_path / "spread")
    for k, file in enumerate(sorted(folder.glob("*.dcm"))):
        (folder / f"S{k % 2}" / "00").mkdir(parents=True, exist_ok=True)
        file.rename(folder / f"S{k % 2}" / "00" / f"IM{k:06d}")
    np.testing.assert_array_equal(np.asarray(petsuv.read(folder).dataobj), plain)


def test_an_enormous_suv_is_read_with_a_note(tmp_path):
    """An injection site that leaked reaches thousands in a few voxels; a whole volume of them is
    not SUV."""
    volume = np.random.default_rng(0).gamma(2, 0.5, (24, 20, 12)).astype(np.float32)
    volume[12, 10, 6] = 3000
    affine = np.diag([4.0, 4, 4, 1])
    with pytest.warns(petsuv.ExamNote, match="check weight and dose"):
        found = petsuv.read(write(nib.Nifti1Image(volume, affine), tmp_path / "a"))
    assert np.max(found.dataobj) > 2000
    refused(write(nib.Nifti1Image(volume * 300, affine), tmp_path / "b"), "not SUV")
