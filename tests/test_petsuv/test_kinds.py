"""The kinds of faults that other people's headers have, one or more cases a kind (petsuv/README.md
lists the rules)."""

import gzip
import json
import warnings
import zipfile

import nibabel as nib
import numpy as np
import pydicom
import pytest
from exam_builder import T_HALF, coded, decayed, factor, item, refused, write
from pydicom.uid import generate_uid

import petsuv
from petsuv import times

AFFINE = np.diag([4.0, 4.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def suv():
    """(24, 20, 30) SUV of a small body with one hot voxel of 9."""
    rng = np.random.default_rng(0)
    volume = np.zeros((24, 20, 30), np.float32)
    volume[4:-4, 3:-3, 1:-1] = rng.gamma(2, 0.5, (16, 14, 28)).clip(0, 7)
    volume[8, 10, 26] = 9
    return volume


def notes_of(path):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        image = petsuv.read(path)
    said = [str(w.message) for w in heard if w.category is petsuv.ExamNote]
    assert said == list(image.extra["notes"])
    return float(np.max(image.dataobj)), " | ".join(said)


def save(path, values, affine=AFFINE, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


# ---- uptake --------------------------------------------------------------------------------------


def late_static(start, **more):
    """A frame 50 min after Series Time with the frame time and decay factor that belong to it."""
    average = times.average_activity_time(1200, T_HALF)
    return (
        dict(
            drug=item(RadiopharmaceuticalStartTime=start),
            SeriesTime="120000",
            AcquisitionTime="125000",
            ActualFrameDuration="1200000",
            FrameReferenceTime=f"{(3000 + average) * 1000:.3f}",
            DecayFactor=f"{2 ** ((3000 + average) / T_HALF):.8g}",
        )
        | more
    )


@pytest.mark.parametrize("start, minutes", [("120014", -14 / 60), ("115930", 0.5), ("120000", 0)])
def test_a_late_static_image_of_a_dynamic_scan(tmp_path, image, start, minutes):
    found = factor(write(image, tmp_path, **late_static(start)))
    assert found.value == pytest.approx(decayed(minutes), rel=1e-6)


@pytest.mark.parametrize(
    "start, elements, why",
    [
        ("120000", {}, "equals the start of the scan"),
        ("000000", dict(SeriesTime="093000", AcquisitionTime="093000"), "placeholder"),
        ("000000", dict(SeriesTime="003000", AcquisitionTime="003000"), "placeholder"),
        ("110000", dict(AcquisitionTime="000000"), "placeholder"),
        ("055900", {}, "no uptake of FDG"),
        ("115500", {}, "no uptake of FDG"),
        ("120500", {}, "injected after the scan"),
        ("120000", dict(AcquisitionTime="124500"), "(0008,0031)"),
        ("110000", dict(SeriesTime="060000"), "neither Frame Reference Time"),
    ],
)
def test_implausible_uptakes_and_placeholders(tmp_path, image, start, elements, why):
    drug = item(RadiopharmaceuticalStartTime=start)
    refused(write(image, tmp_path, drug, **elements), why)


def test_an_early_scan_is_noted_and_a_placeholder_series_time_passed_over(tmp_path, image):
    early = write(image, tmp_path / "a", item(RadiopharmaceuticalStartTime="114500"))
    assert "15 min after the injection" in notes_of(early)[1]
    late = item(RadiopharmaceuticalStartTime="133000")
    zero = write(image, tmp_path / "b", late, SeriesTime="000000", AcquisitionTime="143000")
    assert factor(zero).value == pytest.approx(decayed(60))
    dated = item(RadiopharmaceuticalStartDateTime="20000101000000")
    assert factor(write(image, tmp_path / "c", dated)).value == pytest.approx(decayed(60))


# ---- contradictions
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drug, elements, why",
    [
        (dict(RadiopharmaceuticalStartDateTime="20000101100000"), {}, "differ by 46%"),
        ({}, dict(DecayFactor="1.5"), "Decay Factor (0054,1321) and the time"),
        ({}, dict(SeriesTime="115000", FrameReferenceTime="3000000"), "Frame Reference Time"),
        ({}, dict(DecayCorrection="NONE", DecayFactor="1.3"), "contradict"),
    ],
)
def test_contradictions_are_refused(tmp_path, image, drug, elements, why):
    refused(write(image, tmp_path, item(**drug), **elements), why)


def test_small_contradictions_are_noted(tmp_path, image):
    drug = item(RadiopharmaceuticalStartDateTime="20000101105500")
    value, said = notes_of(write(image, tmp_path / "a", drug))
    assert "differ by 3% of SUV" in said
    zoned = item(RadiopharmaceuticalStartDateTime="20000101090000+0000")
    assert "another time zone" in notes_of(write(image, tmp_path / "b", zoned))[1]
    frame = write(image, tmp_path / "c", FrameReferenceTime="1500000")
    assert "Frame Reference Time (0054,1300)" in notes_of(frame)[1]

    def siemens(ds, k):
        ds.add_new((0x0071, 0x0010), "LO", "SIEMENS MED PT")
        ds.add_new((0x0071, 0x1022), "DT", "20000101120400.000000")

    assert "private scan time" in notes_of(write(image, tmp_path / "d", edit=siemens))[1]
    siemens_hour = write(
        image,
        tmp_path / "e",
        edit=lambda ds, k: (
            (
                ds.add_new((0x0071, 0x0010), "LO", "SIEMENS MED PT"),
                ds.add_new((0x0071, 0x1022), "DT", "20000101130000.000000"),
            )
            and None
        ),
    )
    refused(siemens_hour, "private scan time")


def ge(time, creator="GEMS_PETD_01"):
    def edit(ds, k):
        ds.add_new((0x0009, 0x0010), "LO", creator)
        ds.add_new((0x0009, 0x103B), "DT", time)

    return edit


def test_ges_time_of_administration(tmp_path, image):
    """The patient was injected at 11:00; dates may have been shifted by an anonymiser."""
    agrees = write(image, tmp_path / "a", edit=ge("19990606110000.00"))
    assert notes_of(agrees)[1] == ""
    late = write(image, tmp_path / "b", edit=ge("20000101110500.00"))
    assert "(0009,xx3B)" in notes_of(late)[1] and "3% of SUV" in notes_of(late)[1]
    refused(write(image, tmp_path / "c", edit=ge("20000101112000.00")), "(0009,xx3B)")
    nothing = item(RadiopharmaceuticalStartTime=None)
    alone = factor(write(image, tmp_path / "d", nothing, ge("20000101110000.00")))
    assert alone.value == pytest.approx(decayed(60))
    refused(write(image, tmp_path / "e", nothing, ge("20000101110000.00", "ACME")), "is missing")
    refused(write(image, tmp_path / "f", nothing, ge("20000101000000.00")), "is missing")


def test_the_end_of_the_injection_is_noted(tmp_path, image):
    near = item(RadiopharmaceuticalStopTime="110100")
    assert notes_of(write(image, tmp_path / "a", near))[1] == ""
    far = item(RadiopharmaceuticalStopDateTime="20000101114000")
    assert "Stop Date Time (0018,1079) differs" in notes_of(write(image, tmp_path / "b", far))[1]
    zero = item(RadiopharmaceuticalStopTime="000000")
    assert notes_of(write(image, tmp_path / "c", zero))[1] == ""


def test_philips_factors_are_compared(tmp_path, image):
    def series(name, share, **elements):
        def edit(ds, k):
            ds.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
            ds.add_new((0x7053, 0x1000), "DS", "0.000551")
            ds.add_new((0x7053, 0x1009), "DS", f"{share * 0.000551 / decayed(60):.10g}")

        return write(image, tmp_path / name, edit=edit, Units="CNTS", **elements)

    assert factor(series("a", 1.01)).notes == ()
    noted = factor(series("b", 0.97))
    assert noted.value == 0.000551 and "differ by 3% of SUV" in noted.notes[0]
    refused(series("c", 1.2), "(7053,1000) and (7053,1009) differ by 20%")
    unknown = factor(series("d", 1, PatientWeight=None))
    assert unknown.value == 0.000551 and "could not be compared" in unknown.notes[0]


def test_more_slices_than_the_header_says_are_noted(tmp_path, image):
    said = notes_of(write(image, tmp_path, NumberOfSlices=3))[1]
    assert said == "Number Of Slices (0054,0081) is 3, but 4 were read"


# ---- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dose", ["9.46", "20", "350000", "0.35", "9459", "9.5e6", "3.5e10"])
def test_a_dose_in_an_unknown_unit_is_refused(tmp_path, image, dose):
    weight = "30" if dose == "20" else "70"
    folder = write(image, tmp_path, item(RadionuclideTotalDose=dose), PatientWeight=weight)
    refused(folder, "(0018,1074)")


@pytest.mark.parametrize("weight", ["0.07", "1.2", "700", "7e8"])
def test_a_weight_that_nobody_has_is_refused(tmp_path, image, weight):
    refused(write(image, tmp_path, PatientWeight=weight), "(0010,1030)")


def test_dose_and_weight_that_are_put_right(tmp_path, image):
    mbq = write(image, tmp_path / "a", item(RadionuclideTotalDose="350"), PatientWeight="70000")
    assert factor(mbq).value == pytest.approx(decayed(60))
    child = write(image, tmp_path / "b", item(RadionuclideTotalDose="26e6"), PatientWeight="5")
    assert factor(child).notes == ()
    low = write(image, tmp_path / "c", item(RadionuclideTotalDose="3e7"))
    assert "unusual dose" in " ".join(factor(low).notes)


def test_dicom_values_are_judged_as_nifti_values(tmp_path, suv):
    hot = nib.Nifti1Image(suv * 300, AFFINE)
    refused(write(hot, tmp_path / "a", Units="GML"), "not SUV")
    tiny = write(nib.Nifti1Image(suv, np.diag([0.05, 0.05, 3, 1])), tmp_path / "b")
    refused(tiny, "no PET scanner")
    short = dict(DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration="180")
    refused(write(nib.Nifti1Image(suv, AFFINE), tmp_path / "c", **short), "(0018,1242)")


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v / v.max(),
        lambda v: (v > 3).astype(np.float32),
        lambda v: np.where(v > 0, 40, 0).astype(np.int16),
        lambda v: np.rint(v * 10).astype(np.int16),
    ],
)
def test_masks_shares_and_clipped_ct_are_no_suv(tmp_path, suv, change):
    refused(save(tmp_path / "patient_SUV.nii.gz", change(suv)), "not SUV")


def test_a_sidecar_that_says_becquerel(tmp_path, suv):
    path = save(tmp_path / "sub-1_pet.nii.gz", suv)
    for units, fine in (("SUV", True), ("g/ml", True), ("kBq/mL", False), ("BQML", False)):
        (tmp_path / "sub-1_pet.json").write_text(json.dumps({"Units": units}))
        if fine:
            assert notes_of(path)[0] == 9
        else:
            refused(path, "says in Units")


# ---- identifiers and labels
# ---------------------------------------------------------------------------------------


def test_slices_that_share_an_instance_uid_are_kept(tmp_path, image):
    folder = write(image, tmp_path, edit=lambda ds, k: setattr(ds, "SOPInstanceUID", "1.2.3"))
    assert petsuv.read(folder).shape == image.shape
    assert "(0008,0018)" in notes_of(folder)[1]


@pytest.mark.parametrize(
    "names", [["SeriesInstanceUID"], ["SeriesInstanceUID", "StudyInstanceUID"]]
)
def test_a_series_uid_per_slice(tmp_path, image, names):
    def edit(ds, k):
        for name in names:
            setattr(ds, name, generate_uid())

    folder = write(image, tmp_path, edit=edit)
    assert petsuv.read(folder).shape == image.shape and "(0020,000E)" in notes_of(folder)[1]


def test_slices_of_two_patients_are_never_joined(tmp_path, image):
    def edit(ds, k):
        ds.SeriesInstanceUID = generate_uid()
        ds.PatientWeight = "60" if k % 2 else "70"

    refused(write(image, tmp_path, edit=edit), "")


def test_two_series_under_one_uid_are_told_apart_by_content(tmp_path, image):
    write(image, tmp_path / "a")
    write(image, tmp_path / "b", CorrectedImage=["DECY"], SeriesDescription="NAC")
    value, said = notes_of(tmp_path)
    assert value == pytest.approx(float(np.max(image.dataobj)), rel=1e-4)
    assert "shared by 2 series" in said


@pytest.mark.parametrize("label", ["DYNAMIC", "GATED"])
def test_a_label_of_frames_with_each_place_once(tmp_path, image, label):
    assert petsuv.read(write(image, tmp_path, SeriesType=[label, "IMAGE"])).shape == image.shape


@pytest.mark.parametrize(
    "change",
    [
        dict(Rows=9),
        dict(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        dict(ImageType=["DERIVED", "SECONDARY", "MIP"]),
        dict(ImagePositionPatient=None, ImageOrientationPatient=None),
    ],
)
def test_one_foreign_image_in_a_good_series(tmp_path, suv, change):
    folder = write(nib.Nifti1Image(suv, AFFINE), tmp_path)
    ds = pydicom.dcmread(folder / "slice-0003.dcm")
    ds.SOPInstanceUID = generate_uid()
    for keyword, value in change.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(folder / "foreign.dcm")
    value, said = notes_of(folder)
    assert value == pytest.approx(9, rel=1e-4) and "1 of 31 images" in said


@pytest.mark.parametrize("fault", ["cut short", "another size"])
def test_a_slice_that_was_passed_over_is_named_beside_the_gap(tmp_path, suv, fault):
    folder = write(nib.Nifti1Image(suv, AFFINE), tmp_path)
    file = folder / "slice-0007.dcm"
    if fault == "cut short":
        file.write_bytes(file.read_bytes()[:300])
    else:
        ds = pydicom.dcmread(file)
        ds.Rows = 10
        ds.PixelData = ds.PixelData[: 2 * 10 * ds.Columns]
        ds.save_as(file)
    named = {"cut short": "1 damaged DICOM files", "another size": "1 of 30 images"}[fault]
    with pytest.raises(petsuv.ExamError, match=f"slices are missing.*{named}"):
        petsuv.read(folder)


# ---- texts and names
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: setattr(ds, "PatientWeight", "70.000000"),
        lambda ds: setattr(ds, "SeriesTime", "120000.000"),
        lambda ds: setattr(ds, "SeriesDate", "2000.01.01"),
        lambda ds: setattr(ds, "CorrectedImage", ds.CorrectedImage[::-1]),
        lambda ds: setattr(ds, "Units", "Bqml"),
        lambda ds: setattr(
            ds.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose", "3.5E+08"
        ),
        lambda ds: setattr(
            ds.RadiopharmaceuticalInformationSequence[0],
            "RadiopharmaceuticalStartTime",
            "110000.000",
        ),
    ],
)
def test_one_value_in_two_writings(tmp_path, image, change):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = write(image, tmp_path, edit=lambda ds, k: change(ds) if k == 0 else None)
        assert factor(folder).value == pytest.approx(decayed(60))


@pytest.mark.parametrize(
    "name",
    "FDG|[18F]-2-fluoro-2-deoxy-D-glucose|Fludesoxyglucose "
    "(18F)|F18-Fluorglukose|FluorDG|18F_FDG|^18^F-FDG|EFDEGE|"
    "GLUCOSE 18-F|Fluorodeoksiglukoz|Fluorodesossiglucosio|FDG 370 "
    "MBq|ФДГ|フルオロデオキシグルコース|氟代脱氧葡萄糖".split("|"),
)
def test_fdg_in_many_writings(tmp_path, image, name):
    drug = item(Radiopharmaceutical=name, RadionuclideCodeSequence=coded("C-111A1", "^18^Fluorine"))
    assert factor(write(image, tmp_path, drug, SpecificCharacterSet="ISO_IR 192")).notes == ()


@pytest.mark.parametrize("name", ["F-18 injection", "18Fluor", "Fluor 18", "F18 solution"])
def test_a_nuclide_without_a_tracer(tmp_path, image, name):
    assert (
        "names no tracer" in factor(write(image, tmp_path, item(Radiopharmaceutical=name))).notes[0]
    )


@pytest.mark.parametrize(
    "name, why",
    [
        ("Fluciclovine F18", "other than FDG"),
        ("18F-FET", "other than FDG"),
        ("XY-77", "not recognised"),
    ],
)
def test_other_tracers_are_called_what_they_are(tmp_path, image, name, why):
    refused(write(image, tmp_path, item(Radiopharmaceutical=name)), why)


def test_numbers_in_file_names_are_numbers(tmp_path, suv):
    for n in range(3):
        save(tmp_path / f"exam_{n:04d}.nii.gz", suv * (1 + n))
    assert [notes_of(tmp_path / f"exam_{n:04d}.nii.gz")[0] for n in range(3)] == [9, 18, 27]
    refused(tmp_path, "3 NIfTI exams")


def test_channels_by_dataset_json_or_by_values(tmp_path, suv):
    ct = np.where(suv > 0, 40, 0).astype(np.int16)
    folder = tmp_path / "Dataset001" / "imagesTr"
    save(folder / "a_0000.nii.gz", suv)
    save(folder / "a_0001.nii.gz", ct)
    value, said = notes_of(folder)  # a clipped CT: only its values tell
    assert value == 9 and "whose values can be SUV" in said
    names = {"channel_names": {"0": "PET", "1": "CT"}}
    (folder.parent / "dataset.json").write_text(json.dumps(names))
    assert "dataset.json" in notes_of(folder)[1] and notes_of(folder / "a_0000.nii.gz")[0] == 9
    refused(folder / "a_0001.nii.gz", "not the PET")


def test_the_dicom_series_wins_over_what_lies_beside_it(tmp_path, suv):
    folder = write(nib.Nifti1Image(suv, AFFINE), tmp_path / "slices")
    save(folder / "slices_PET_AC_4.nii.gz", suv * 30)
    value, said = notes_of(folder)
    assert value == pytest.approx(9, rel=1e-4) and "passed over" in said
    for file in folder.glob("*.dcm"):
        file.unlink()
    save(folder / "slices_SUV.nii.gz", suv)
    assert "whose name says SUV" in notes_of(folder)[1]


# ---- packed, linked, deep
# -----------------------------------------------------------------------------------------


def test_packed_slices_are_read(tmp_path, image):
    packed, archive = write(image, tmp_path / "a"), write(image, tmp_path / "b")
    for file in packed.glob("*.dcm"):
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    with zipfile.ZipFile(archive / "all.zip", "w") as z:
        for file in archive.glob("*.dcm"):
            z.write(file, file.name)
            file.unlink()
    for folder in (packed, archive):
        assert petsuv.read(folder).shape == image.shape
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "all.tar.gz").write_bytes(b"x")
    refused(tmp_path / "c", "1 packed archives")


def test_links_and_levels(tmp_path, image, suv):
    real = write(image, tmp_path / "store" / "series")
    exam = tmp_path / "exam"
    exam.mkdir()
    (exam / "link").symlink_to(real)
    (exam / "link" / "again").symlink_to(exam)  # a circle
    assert petsuv.read(exam).shape == image.shape
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "slice.dcm").symlink_to(tmp_path / "nowhere")
    refused(lost, "links that lead nowhere")
    refused(lost / "slice.dcm", "leads nowhere")
    save(tmp_path / "bids" / "sub-1" / "ses-1" / "pet" / "sub-1_pet.nii.gz", suv)
    assert notes_of(tmp_path / "bids")[0] == 9
    refused("C:\\data\\exam", "Windows path")


@pytest.mark.parametrize("raw, what", [(b"PK\3\4", "zip"), (b"<html>", "web page"), (b"", "empty")])
def test_what_is_no_nifti_is_called_by_its_name(tmp_path, raw, what):
    path = tmp_path / "a.nii"
    path.write_bytes(raw)
    refused(path, what)


@pytest.mark.parametrize("start", ["12:00:00 PM", "25"])
def test_unreadable_is_not_missing(tmp_path, image, start):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = write(image, tmp_path, item(RadiopharmaceuticalStartTime=start))
    refused(folder, "is unreadable")


# ---- NIfTI ---------------------------------------------------------------------------------------


def test_qfac_zero_means_one(tmp_path, suv):
    image = nib.Nifti1Image(suv, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)
    raw = bytearray(image.to_bytes())
    raw[76:80] = bytes(4)
    (tmp_path / "a.nii").write_bytes(raw)
    found = petsuv.read(tmp_path / "a.nii")
    np.testing.assert_allclose(found.affine, AFFINE)


def test_sform_and_qform_are_judged(tmp_path, suv):
    image = nib.Nifti1Image(suv, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(np.diag([-4.0, 4, 3, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    assert "mirror each other" in notes_of(tmp_path / "a.nii")[1]
    raw = bytearray(image.to_bytes())
    raw[280:328] = bytes(48)
    (tmp_path / "b.nii").write_bytes(raw)
    assert "the qform was followed" in notes_of(tmp_path / "b.nii")[1]


def test_a_pair_with_an_offset_and_capitals(tmp_path, suv):
    header = nib.nifti1.Nifti1PairHeader()
    header.set_data_dtype(np.float32)
    header.set_data_shape(suv.shape)
    header.set_sform(AFFINE, 1)
    header["vox_offset"], header["magic"] = 128, b"ni1"
    (tmp_path / "A.HDR").write_bytes(header.binaryblock)
    (tmp_path / "A.IMG").write_bytes(bytes(128) + suv.astype("<f4").tobytes(order="F"))
    np.testing.assert_array_equal(np.asarray(petsuv.read(tmp_path / "A.HDR").dataobj), suv)
    (tmp_path / "A.IMG").unlink()
    refused(tmp_path / "A.HDR", "not beside it")


def test_a_newline_after_the_gzip_stream(tmp_path, suv):
    path = save(tmp_path / "a.nii.gz", suv)
    sound = path.read_bytes()
    path.write_bytes(sound + b"\n")
    assert notes_of(path)[0] == 9
    path.write_bytes(sound[:-8] + bytes(4) + sound[-4:])  # a wrong checksum is still found out
    refused(path, "gzip stream is damaged")


@pytest.mark.parametrize("field", ["scl_slope", "scl_inter"])
def test_a_scale_that_is_not_finite(tmp_path, suv, field):
    raw = bytearray(nib.Nifti1Image(suv, AFFINE).to_bytes())
    raw[112:120] = np.array([1, 0], "<f4").tobytes()
    at = 112 if field == "scl_slope" else 116
    raw[at : at + 4] = np.array([np.inf], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    refused(tmp_path / "a.nii", field)


# ---- the command
# --------------------------------------------------------------------------------------------------


def test_the_command_prints_facts(tmp_path, image, capsys):
    from petsuv.__main__ import main

    folder = write(image, tmp_path / "a")
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "BQML START" in said and "SUV " in said and "60.00 min" in said
    assert main([str(tmp_path / "none")]) == 1
    assert "no such file" in capsys.readouterr().err
