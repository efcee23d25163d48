"""NIfTI exams and the one door: in whatever order, type and folder, the same SUV; or a refusal that
says why."""

import gzip
import os
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import petphantom
import petsuv.nifti
from radiogan_lib import data
from radiogan_lib.data import projection, readers

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"
AFFINE = np.array(
    [[-4.0, 0, 0, 30], [0, 4.0, 0, -20], [0, 0, 3.0, -100], [0, 0, 0, 1]]
)  # LAS, as autoPET


@pytest.fixture
def suv():
    """(x, y, z) a small body: SUV 0 to 9, sharp enough that a swapped axis shows."""
    rng = np.random.default_rng(0)
    volume = np.zeros((12, 10, 14), np.float32)
    volume[2:10, 2:8, 1:13] = rng.gamma(2, 0.5, (8, 6, 12))
    volume[3, 4, 11] = 9
    return volume


def save(path, volume, affine=AFFINE, dtype=None, cls=nib.Nifti1Image):
    image = cls(volume, affine)
    if dtype:
        image.header.set_data_dtype(dtype)
    nib.save(image, path)
    return path


def canonical(volume, affine=AFFINE):
    return nib.as_closest_canonical(nib.Nifti1Image(volume, affine))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i2", ">i2", "<u2"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_container_and_type_gives_the_same_suv(tmp_path, suv, name, dtype, cls):
    if name.endswith(".hdr"):
        cls = {nib.Nifti1Image: nib.Nifti1Pair, nib.Nifti2Image: nib.Nifti2Pair}[cls]
    path = save(tmp_path / name, suv, dtype=np.dtype(dtype), cls=cls)
    image = data.read_suv(path)
    whole = canonical(suv)
    assert image.get_data_dtype() == np.float32 and np.asarray(image.dataobj).dtype == np.float32
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine, whole.affine, atol=1e-4)
    tolerance = 0 if dtype.endswith("f4") else 1e-6 if dtype.endswith("f8") else 9 / 30000
    np.testing.assert_allclose(np.asarray(image.dataobj), np.asarray(whole.dataobj), atol=tolerance)
    np.testing.assert_array_equal(
        data.read_mip(path), data.coronal_mip(image)
    )  # the short road, to the last bit
    if name.endswith(".hdr"):
        np.testing.assert_array_equal(
            data.read_mip(path.with_suffix(".img")), data.coronal_mip(image)
        )


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ASL", "IAR"])
@pytest.mark.parametrize("spacing", [1.0, 4.06])
def test_every_axis_order_projects_alike(tmp_path, suv, codes, spacing):
    affine = AFFINE @ np.diag([spacing / 4, spacing / 4, 1, 1])
    image = nib.Nifti1Image(suv, affine)
    target = nib.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target)
    )
    nib.save(turned, tmp_path / "a.nii.gz")
    found = data.read_suv(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), np.asarray(canonical(suv, affine).dataobj)
    )
    np.testing.assert_allclose(found.affine, canonical(suv, affine).affine, atol=1e-4)
    np.testing.assert_array_equal(data.read_mip(tmp_path / "a.nii.gz"), data.coronal_mip(found))


def test_the_file_is_projected_in_pieces_without_a_seam(tmp_path, suv, monkeypatch):
    for codes in ("RAS", "RSA", "ARS"):
        target = nib.orientations.axcodes2ornt(codes)
        image = nib.Nifti1Image(suv, AFFINE)
        nib.save(
            image.as_reoriented(
                nib.orientations.ornt_transform(nib.orientations.io_orientation(AFFINE), target)
            ),
            tmp_path / "a.nii.gz",
        )
        whole = data.coronal_mip(data.read_suv(tmp_path / "a.nii.gz"))
        for size in (1, 1500, 5000):
            monkeypatch.setattr(petsuv.nifti, "_READS", size)
            np.testing.assert_array_equal(data.read_mip(tmp_path / "a.nii.gz"), whole)


def test_oblique_is_kept_in_the_affine_and_projected_by_the_resampler(tmp_path, suv):
    turn = nib.eulerangles.euler2mat(0.2) * 3
    path = save(tmp_path / "a.nii", suv, nib.affines.from_matvec(turn, (1, 2, 3)))
    image = data.read_suv(path)
    assert not projection.is_axis_aligned(image.affine)
    np.testing.assert_array_equal(data.read_mip(path), data.coronal_mip(image))


def test_a_volume_with_a_fourth_dimension_of_one(tmp_path, suv):
    image = data.read_suv(save(tmp_path / "a.nii.gz", suv[..., None]))
    assert image.shape == suv.shape
    assert data.read_suv(save(tmp_path / "b.nii.gz", suv[..., None, None])).shape == suv.shape


def test_scl_slope_is_honoured(tmp_path, suv):
    for slope, inter in (
        (0.001, 0.0),
        (0.002, -0.3),
        (-0.001, 9.0),
        (0.0, 0.0),
    ):  # 0 means "no scaling"
        stored = (
            np.round((suv - inter) / slope).astype(np.int16)
            if slope
            else np.round(suv).astype(np.int16)
        )
        raw = bytearray(nib.Nifti1Image(stored, AFFINE).to_bytes())
        raw[112:120] = struct.pack("<2f", slope, inter)
        (tmp_path / "a.nii").write_bytes(raw)
        image = data.read_suv(tmp_path / "a.nii")
        np.testing.assert_allclose(
            np.asarray(image.dataobj),
            np.asarray(canonical(suv if slope else np.round(suv)).dataobj),
            atol=2e-3,
        )
        np.testing.assert_array_equal(data.read_mip(tmp_path / "a.nii"), data.coronal_mip(image))


def test_units_in_the_header(tmp_path, suv):
    for unit, scale in (("meter", 1e-3), ("micron", 1e3), ("mm", 1), ("unknown", 1)):
        image = nib.Nifti1Image(suv, np.diag([scale, scale, scale, 1]) @ AFFINE)
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "a.nii")
        np.testing.assert_allclose(
            nib.affines.voxel_sizes(data.read_suv(tmp_path / "a.nii").affine), [4, 4, 3], rtol=1e-5
        )


def test_sform_before_qform_and_neither_is_refused(tmp_path, suv):
    image = nib.Nifti1Image(suv, AFFINE)
    image.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    image.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(
        nib.affines.voxel_sizes(data.read_suv(tmp_path / "a.nii").affine), [4, 4, 3]
    )
    image.set_sform(AFFINE, 0)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(
        nib.affines.voxel_sizes(data.read_suv(tmp_path / "a.nii").affine), [2, 2, 2]
    )
    image.set_qform(np.diag([2.0, 2, 2, 1]), 0)
    nib.save(image, tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "sform_code and qform_code")


def test_nothing_of_the_source_header_is_carried_along(tmp_path, suv):
    image = nib.Nifti1Image(suv, AFFINE)
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = (
        b"DOE^JANE",
        b"DOE",
        b"DOE",
    )
    image.header["intent_name"] = b"DOE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"DOE^JANE 19500101"))
    nib.save(image, tmp_path / "DOE.nii.gz")
    found = data.read_suv(tmp_path / "DOE.nii.gz")
    assert b"DOE" not in found.to_bytes() and found.get_filename() is None


def refused(path, why):
    """Both roads refuse, for the same reason, in one sentence that names no path."""
    with pytest.raises(data.ExamError) as first:
        data.read_suv(path)
    with pytest.raises(data.ExamError) as second:
        data.read_mip(path)
    assert why in first.value.reason, first.value
    assert why in second.value.reason, second.value
    assert str(path) not in str(first.value) and first.value.remedy
    assert isinstance(first.value, ValueError)


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda v: v * 5000, "Bq/ml"),
        (lambda v: np.where(v > 0, v * 20, v) * 20, "Bq/ml"),
        (lambda v: v * 200 - 1000, "CT in Hounsfield"),
        (lambda v: np.where(v == 9, np.nan, v), "not finite"),
        (lambda v: np.where(v == 9, np.inf, v), "not finite"),
        (lambda v: np.where(v == 9, -np.inf, v), "not finite"),
        (lambda v: (v - v.mean()) / v.std(), "below zero"),
        (lambda v: v * 0, "empty"),
        (lambda v: -v, "below zero"),
    ],
)
def test_values_that_are_not_suv(tmp_path, suv, change, why):
    refused(save(tmp_path / "a.nii.gz", change(suv).astype(np.float32)), why)


@pytest.mark.parametrize(
    "change",
    [lambda v: v, lambda v: v * 15, lambda v: v - 0.001, lambda v: np.where(v == 9, 400, v)],
)
def test_values_that_are(tmp_path, suv, change):
    """A hot bladder, resampling noise below zero, a thin slice of a leg."""
    data.read_suv(save(tmp_path / "a.nii", change(suv).astype(np.float32)))


@pytest.mark.parametrize(
    "shape, why",
    [
        ((12, 10), "picture"),
        ((12, 10, 1), "single slice"),
        ((12, 10, 14, 3), "several volumes"),
        ((12, 10, 14, 1, 3), "several volumes"),
        ((1, 10, 14), "single slice"),
    ],
)
def test_shapes_that_are_no_volume(tmp_path, shape, why):
    refused(save(tmp_path / "a.nii.gz", np.ones(shape, np.float32)), why)


def test_geometry_that_is_no_scanners(tmp_path, suv):
    sheared, singular, tiny = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    sheared[0, 1] = 1.0
    singular[2, :3] = 0
    tiny[:3, :3] *= 1e-2
    for affine, why in ((sheared, "sheared"), (singular, "singular"), (tiny, "no PET scanner")):
        image = nib.Nifti1Image(suv, AFFINE)
        image.header["sform_code"], image.header["qform_code"] = 1, 0
        image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = affine[:3]
        raw = bytearray(image.to_bytes())
        raw[280:328] = struct.pack("<12f", *affine[:3].ravel())
        (tmp_path / "a.nii").write_bytes(raw)
        refused(tmp_path / "a.nii", why)


def test_types_that_hold_no_suv(tmp_path, suv):
    refused(save(tmp_path / "a.nii", (suv > 2).astype(np.uint8)), "8-bit")
    refused(save(tmp_path / "a.nii", suv.astype(np.complex64), dtype=np.complex64), "complex")
    colour = np.zeros(suv.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refused(save(tmp_path / "a.nii", colour), "colours")


def test_damaged_files(tmp_path, suv):
    good = save(tmp_path / "good.nii.gz", suv).read_bytes()
    plain = save(tmp_path / "good.nii", suv).read_bytes()
    cases = {
        "cut.nii.gz": (good[:-300], "cut off"),
        "end.nii.gz": (good[:-4], "cut off"),
        "cut.nii": (plain[:-40], "cut off"),
        "flip.nii.gz": (good[:-8] + bytes(4) + good[-4:], "damaged"),  # wrong checksum
        "rot.nii.gz": (good[:40] + bytes(60) + good[100:], ""),
        "empty.nii": (b"", "not a NIfTI"),
        "text.nii": (b"not an image " * 60, "not a NIfTI"),
        "text.nii.gz": (gzip.compress(b"no image" * 90), "not a NIfTI"),
        "head.nii": (plain[:200], "not a NIfTI"),
    }
    for name, (content, why) in cases.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, why)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, suv):
    """Headers that promise what no scanner makes, or more than the file can hold."""
    raw = bytearray(nib.Nifti1Image(suv, AFFINE).to_bytes())
    raw[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    refused(tmp_path / "a.nii.gz", "no PET exam")
    raw[40:56] = struct.pack("<8h", 3, 800, 800, 800, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    refused(tmp_path / "a.nii.gz", "cut off")
    raw[40:56] = struct.pack("<8h", 3, -5, 10, 10, 1, 1, 1, 1)
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    refused(tmp_path / "a.nii", "")


def test_gzip_of_several_members_is_read_whole(tmp_path, suv):
    raw = nib.Nifti1Image(suv, AFFINE).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[:999]) + gzip.compress(raw[999:]))
    np.testing.assert_array_equal(
        np.asarray(data.read_suv(tmp_path / "a.nii.gz").dataobj), np.asarray(canonical(suv).dataobj)
    )


def ct(suv):
    return np.where(suv > 0, 40, -1000).astype(np.int16)


def test_autopet_study_and_patient_folders(tmp_path, suv):
    study = tmp_path / "PETCT_1" / "01-01-2001-NA-PET-12345"
    study.mkdir(parents=True)
    save(study / "SUV.nii.gz", suv)
    save(study / "PET.nii.gz", suv * 4000)
    save(study / "CT.nii.gz", ct(suv))
    save(study / "CTres.nii.gz", ct(suv))
    save(study / "SEG.nii.gz", (suv > 4).astype(np.uint8))
    for path in (study, study.parent, study / "SUV.nii.gz"):
        assert float(np.max(data.read_suv(path).dataobj)) == 9
        assert data.read_mip(path).max() == 9
    refused(study / "PET.nii.gz", "Bq/ml")
    refused(study / "CT.nii.gz", "CT")
    refused(study / "SEG.nii.gz", "segmentation")
    shutil.copytree(study, study.with_name("02-02-2002-NA-PET-54321"))
    refused(study.parent, "2 studies")
    (study / "SUV.nii.gz").unlink()
    refused(study, "Bq/ml")  # PET.nii.gz is tried, and its values tell


def test_nnunet_names(tmp_path, suv):
    save(tmp_path / "fdg_a_0000.nii.gz", ct(suv))
    save(tmp_path / "fdg_a_0001.nii.gz", suv)
    assert float(np.max(data.read_suv(tmp_path).dataobj)) == 9
    assert float(np.max(data.read_suv(tmp_path / "fdg_a_0001.nii.gz").dataobj)) == 9
    refused(tmp_path / "fdg_a_0000.nii.gz", "looks like CT")
    save(tmp_path / "fdg_b_0000.nii.gz", ct(suv))
    save(tmp_path / "fdg_b_0001.nii.gz", suv)
    refused(tmp_path, "2 NIfTI exams")


def test_hecktor_and_plain_folders(tmp_path, suv):
    hecktor, plain = tmp_path / "CHUM-001", tmp_path / "plain"
    hecktor.mkdir()
    plain.mkdir()
    save(hecktor / "CHUM-001__PT.nii.gz", suv)
    save(hecktor / "CHUM-001__CT.nii.gz", ct(suv))
    save(hecktor / "CHUM-001.nii.gz", (suv > 3).astype(np.uint8))
    save(plain / "whatever.nii.gz", suv)
    for folder in (hecktor, plain):
        assert float(np.max(data.read_suv(folder).dataobj)) == 9
    (plain / "whatever.json").write_text("{}")
    assert float(np.max(data.read_suv(plain).dataobj)) == 9
    save(plain / "another.nii.gz", suv)
    refused(plain, "not clear")


def test_a_mask_beside_a_dicom_series_is_not_the_exam(tmp_path, suv):
    petsuv.write_phantom_series(nib.Nifti1Image(suv, AFFINE), tmp_path / "series")
    for name in ("lesion.nii.gz", "CT.nii.gz"):
        save(tmp_path / name, suv * 0.5)
        assert float(np.max(data.read_suv(tmp_path).dataobj)) == pytest.approx(9, rel=1e-3)
        save(tmp_path / "series" / name, suv * 0.5)
        assert float(np.max(data.read_suv(tmp_path / "series").dataobj)) == pytest.approx(
            9, rel=1e-3
        )


@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_damaged_headers_end_in_a_sentence_and_both_roads_agree(tmp_path, suv, cls):
    """A few random bytes of the header, 300 times: an image or an ExamError, nothing else."""
    rng = np.random.default_rng(0)
    raw = cls(suv, AFFINE).to_bytes()
    ends = []
    for _ in range(300):
        content = bytearray(raw)
        for place in rng.integers(0, 560, rng.integers(1, 5)):
            content[place] = rng.choice([0, 1, 128, 255, rng.integers(256)])
        (tmp_path / "a.nii").write_bytes(content)
        found = []
        for road in (lambda p: data.coronal_mip(data.read_suv(p)), data.read_mip):
            try:
                found.append(road(tmp_path / "a.nii"))
            except data.ExamError as error:
                found.append(error.reason)
        np.testing.assert_array_equal(*found)
        ends.append(isinstance(found[0], str))
    assert 30 < sum(ends) < 280


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.nrrd").write_bytes(b"x")
    (tmp_path / "one.dcm").write_bytes(b"x")
    for path, why in (
        (tmp_path / "absent", "no such file"),
        (tmp_path / "empty", "no DICOM"),
        (tmp_path / "a.nrrd", ".nrrd"),
        (tmp_path / "one.dcm", "one file"),
    ):
        refused(path, why)


def test_phantoms_come_through_the_same_door():
    image = data.read_suv("phantom:lung/30017", phantom_spacing_mm=8)
    again = petphantom.make("lung", 30017, 8)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(again.dataobj))
    np.testing.assert_array_equal(
        data.read_mip("phantom:lung/30017", phantom_spacing_mm=8), data.coronal_mip(image)
    )
    for path in ("phantom:lung", "phantom:lung/x", "phantom:bone/3", "phantom:../3"):
        with pytest.raises(data.ExamError, match="phantom"):
            data.read_suv(path)


def test_the_51_real_volumes_are_read_as_they_are():
    files = sorted((SHARED / "real_pet_nifti").glob("*.nii.gz"))
    if not files:
        pytest.skip("the 51 real PET volumes are not here (shared/data/real_pet_nifti)")
    for path in files:
        image, usual = data.read_suv(path), nib.as_closest_canonical(nib.load(path))
        np.testing.assert_array_equal(np.asarray(image.dataobj), usual.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(image.affine, usual.affine, atol=1e-4)
        np.testing.assert_array_equal(data.read_mip(path), data.coronal_mip(usual))
        assert 3 < float(np.max(image.dataobj)) < 60


def test_reading_an_exam_loads_no_training_library(tmp_path, suv):
    import subprocess
    import sys

    path = save(tmp_path / "a.nii.gz", suv)
    code = (
        "import sys; from radiogan_lib import data; data.read_mip(sys.argv[1]); "
        "data.read_suv(sys.argv[1]); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', "
        "'jax', 'pandas'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_lazy_names():
    assert all(getattr(data, name) is not None for name in dir(data))
    assert readers.read_suv is data.read_suv and "coronal_mip" in dir(data)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = data.no_such_name
