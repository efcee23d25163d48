"""The phantom: same seed same voxels, the right grid, class seen only in lesions, honest noise and
resolution."""

import csv
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import petphantom
from petphantom import canvas, cohort
from petphantom.__main__ import main
from petphantom.patient import Patient, patient_seed

ROOT = Path(petphantom.__file__).parents[1]
MANIFEST = ROOT / "data_manifest" / "synthetic.csv"
SPACING = 6.0  # coarse: these tests are about rules, not looks


def suv(class_name, seed, spacing_mm=SPACING):
    return np.asarray(petphantom.make(class_name, seed, spacing_mm).dataobj)


def test_same_seed_same_voxels_even_in_a_fresh_process():
    here = petphantom.checksum("lymphoma", 40007, SPACING)
    code = f"import petphantom; print(petphantom.checksum('lymphoma', 40007, {SPACING}))"
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert there.strip() == here
    assert petphantom.checksum("lymphoma", 40008, SPACING) != here


def test_paper_grid_and_isotropic_grid_share_one_box():
    paper, iso = petphantom.make("normal", 5), petphantom.make("normal", 5, 4.0)
    assert paper.shape == (168, 168, 429)
    assert np.allclose(paper.header.get_zooms(), (4.06, 4.06, 2.0)) and np.allclose(
        iso.header.get_zooms(), 4.0
    )
    for image in (paper, iso):
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.get_data_dtype() == np.float32
        extent = np.array(image.shape) * image.header.get_zooms()
        assert np.all(extent >= np.array([682.08, 682.08, 858]) - 0.01) and np.all(
            extent < np.array([687, 687, 863])
        )
        top = image.affine[2, 3] + (image.shape[2] - 0.5) * image.header.get_zooms()[2]
        assert top == pytest.approx(429.0)
    # the same patient on both grids: equal activity per slab of 20 mm from the top
    slabs = [
        np.asarray(i.dataobj)[:, :, ::-1].sum((0, 1), dtype=float) * np.prod(i.header.get_zooms())
        for i in (paper, iso)
    ]
    a, b = [np.add.reduceat(s, np.arange(0, len(s) - n + 1, n)) for s, n in zip(slabs, (10, 5))]
    n = min(len(a), len(b)) - 1
    assert np.corrcoef(a[:n], b[:n])[0, 1] > 0.995
    assert a[:n].sum() == pytest.approx(b[:n].sum(), rel=0.03)


def test_values_are_suv_in_exact_steps():
    v = suv("oesophagus", 20011)
    assert np.isfinite(v).all() and v.min() >= 0 and 3 < v.max() < 128
    assert np.array_equal(v * 256, np.rint(v * 256))
    assert np.median(v) < 0.05  # most of the box is air


@pytest.mark.parametrize("class_name", petphantom.CLASSES[1:])
def test_class_shows_only_in_its_lesions(class_name):
    """Same seed, other class: every voxel away from a tumour is identical, noise included.

    No shortcut.
    """
    seed = 123
    plain, ill = suv("normal", seed), petphantom.make(class_name, seed, SPACING)
    changed = np.asarray(ill.dataobj) != plain
    tumours = [t for t in petphantom.lesions(class_name, seed) if t["kind"] == "tumour"]
    assert tumours and changed.any()
    points = nib.affines.apply_affine(ill.affine, np.argwhere(changed))
    gap = np.min(
        [
            np.linalg.norm(points - t["centre_mm"], axis=1) - 1.6 * t["diameter_mm"] / 2
            for t in tumours
        ],
        axis=0,
    )
    assert gap.max() < 25, "voxels far from any tumour differ"
    benign = [
        [t for t in petphantom.lesions(c, seed) if t["kind"] == "benign"]
        for c in ("normal", class_name)
    ]
    assert benign[0] == benign[1]


def test_lesions_are_where_the_truth_says():
    hits = total = 0
    for seed in range(30100, 30112):
        image = petphantom.make("lung", seed, 4.0)
        v, inverse = np.asarray(image.dataobj), np.linalg.inv(image.affine)
        for item in petphantom.lesions("lung", seed):
            index = np.rint(nib.affines.apply_affine(inverse, item["centre_mm"])).astype(int)
            in_view = (index > 2).all() and (index < np.array(v.shape) - 3).all()
            if item["site"] == "lung" and item["diameter_mm"] > 18 and in_view:
                near = v[tuple(slice(k - 3, k + 4) for k in index)]
                total += 1
                hits += near.max() > 0.6 * item["suv"]
    assert total >= 6 and hits == total


def test_normal_has_no_tumour_and_the_others_do():
    for index, name in enumerate(petphantom.CLASSES):
        counts = [
            sum(t["kind"] == "tumour" for t in petphantom.lesions(name, 10000 * index + k))
            for k in range(30)
        ]
        assert (max(counts) == 0) == (name == "normal")
        if name != "normal":
            assert np.mean(np.array(counts) > 0) > 0.9


def test_some_lesions_are_faint_and_normals_have_benign_foci():
    exams = [
        [t["suv"] for t in petphantom.lesions("lung", seed) if t["kind"] == "tumour"]
        for seed in range(30000, 30300)
    ]
    peaks, every = np.array([max(exam) for exam in exams]), np.concatenate(exams)
    assert (
        0.01 < np.mean(peaks < 5) < 0.2 and 8 < np.median(peaks) < 20
    )  # whole exams that are easy to miss
    assert 0.05 < np.mean(every < 4) < 0.3  # and faint lesions beside bright ones
    benign = [len(petphantom.lesions("normal", s)) for s in range(150)]
    assert 0.4 < np.mean(np.array(benign) > 0) < 0.95


def _scan(activity, step, **settings):
    """What the scanner of a given noise and resolution makes of a block of activity; SUV."""
    patient = Patient(3)
    patient.__dict__.update(settings)
    block = canvas.Canvas(
        *[(np.arange(n) - n / 2) * d for n, d in zip(activity.shape, step, strict=True)]
    )
    block.v[...] = activity
    return canvas.scan(block, patient) / 256


def test_smoothing_is_scipys_gaussian():
    v = np.random.default_rng(0).random((21, 17, 30), np.float32)
    ours = canvas.smooth(v.copy(), (0.63, 0.8, 1.27))
    theirs = ndimage.gaussian_filter(v, (0.63, 0.8, 1.27), mode="constant", truncate=2.6)
    assert np.allclose(ours, theirs, atol=1e-6)


def test_scanner_resolution_is_the_patients():
    for fwhm in (5.0, 7.0):
        point = np.zeros((41, 41, 41), np.float32)
        point[20, 20, 20] = 100.0
        line = _scan(point, (1.0, 1.0, 1.0), noise=0.0, resolution_mm=fwhm)
        for axis in range(3):
            profile = line.sum(tuple(a for a in range(3) if a != axis))
            second = np.sqrt((profile * (np.arange(41) - 20) ** 2).sum() / profile.sum())
            assert 2.3548 * second == pytest.approx(fwhm, rel=0.12)
    assert all(5 <= Patient(s).resolution_mm <= 7 for s in range(50))


def test_noise_is_poisson_like_and_the_same_on_any_grid():
    cov = {}
    for step in ((4.0, 4.0, 4.0), (4.06, 4.06, 2.0)):
        for activity in (0.5, 2.0, 8.0):
            v = _scan(
                np.full((60, 40, 90), activity, np.float32),
                step,
                noise=0.12,
                resolution_mm=6.5,
                liver=2.0,
            )
            middle = v[25:35, 8:-8, 35:55]
            assert middle.mean() == pytest.approx(activity, rel=0.05)
            cov[step[2], activity] = middle.std() / middle.mean()
    for z in (4.0, 2.0):  # variance proportional to activity: COV falls with its square root
        assert cov[z, 0.5] / cov[z, 8.0] == pytest.approx(4, rel=0.15)
        assert cov[z, 2.0] == pytest.approx(0.12 * 1.2, rel=0.25)
    assert cov[4.0, 2.0] == pytest.approx(cov[2.0, 2.0], rel=0.2)


def test_patients_differ_and_a_second_exam_is_the_same_body():
    crowd = [Patient(s) for s in range(0, 400, 2)]
    assert np.std([p.bmi for p in crowd]) > 2.5 and np.std([p.height_mm for p in crowd]) > 50
    assert 0.4 < np.mean([p.arms_up for p in crowd]) < 0.8
    hearts = np.array([p.myocardium / p.blood for p in crowd])
    assert 0.2 < np.mean(hearts < 1.6) < 0.6 and np.mean(hearts > 4) > 0.15
    first, second = Patient(80), Patient(81)
    assert first.person == second.person == 80
    assert first.height_mm == second.height_mm and first.organ == second.organ
    assert first.bladder != second.bladder and first.fov_start_mm != second.fov_start_mm
    assert len({patient_seed(s) for s in range(4000)}) == 3900


def test_written_nifti_is_lossless(tmp_path):
    for name in ("exam.nii.gz", "exam.nii"):
        path = petphantom.write(tmp_path / name, "head_neck", 10004, SPACING)
        back = nib.load(path)
        made = petphantom.make("head_neck", 10004, SPACING)
        assert np.array_equal(back.get_fdata(dtype=np.float32), made.get_fdata(dtype=np.float32))
        assert np.array_equal(back.affine, made.affine) and back.header.get_xyzt_units()[0] == "mm"
    assert (
        petphantom.write(tmp_path / "again.nii.gz", "head_neck", 10004, SPACING).read_bytes()
        == (tmp_path / "exam.nii.gz").read_bytes()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.nii.gz", "exam.nii", "exam.nii.gz"]


@pytest.mark.parametrize(
    "path", ["phantom:liver/3", "phantom:lung", "phantom:lung/-1", "lung/3", "phantom:lung/x"]
)
def test_bad_names_are_refused_in_a_sentence(path):
    with pytest.raises(petphantom.PhantomError) as error:
        petphantom.parse(path)
    assert str(error.value).rstrip().endswith(".")


def test_bad_sizes_and_seeds_are_refused():
    for arguments in (
        ("lung", 3, 0.2),
        ("lung", 3, 50),
        ("lung", -1, 4),
        ("lung", 1.5, 4),
        ("lung", True, 4),
        ("Lung", 1, 4),
    ):
        with pytest.raises(petphantom.PhantomError):
            petphantom.make(*arguments)
    assert petphantom.parse("phantom:lung/30017") == ("lung", 30017)
    assert petphantom.grid(0) == petphantom.grid(None) == ((168, 168, 429), (4.06, 4.06, 2.0))


@pytest.fixture(scope="module")
def manifest():
    with open(MANIFEST, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_manifest_is_what_the_command_writes(manifest):
    made = [{k: str(v) for k, v in row.items()} for row in cohort.rows()]
    assert [{k: row[k] for k in made[0]} for row in manifest] == made


def test_manifest_counts_classes_and_splits(manifest):
    assert list(dict.fromkeys(row["class"] for row in manifest)) == list(petphantom.CLASSES)
    for name, (train, test) in cohort.COUNTS.items():
        splits = [row["split"] for row in manifest if row["class"] == name]
        assert (splits.count("train"), splits.count("test")) == (train, test)
        assert 0.05 < np.mean([s == "test" for s in splits[:60]]) < 0.5  # any first part is mixed
    assert (
        len({row["exam_id"] for row in manifest})
        == len({row["path"] for row in manifest})
        == len(manifest)
        == 2222
    )
    sides = {}
    for row in manifest:
        sides.setdefault(row["patient_id"], []).append(row["split"])
        assert petphantom.parse(row["path"]) == (row["class"], int(row["seed"]))
    assert all(len(set(s)) == 1 for s in sides.values()), (
        "a patient sits on both sides of the split"
    )
    assert 0.01 < sum(len(s) > 1 for s in sides.values()) / len(sides) < 0.06


def test_nuisances_do_not_tell_the_class(manifest):
    people = {
        name: [Patient(int(r["seed"])) for r in manifest if r["class"] == name]
        for name in petphantom.CLASSES
    }
    for read in (
        lambda p: p.arms_up,
        lambda p: p.bmi,
        lambda p: p.fov_start_mm,
        lambda p: p.sex == "F",
        lambda p: p.myocardium > 4,
        lambda p: p.liver,
        lambda p: p.bowel,
        lambda p: p.noise,
        lambda p: p.bladder_fill,
        lambda p: p.height_mm,
    ):
        values = {name: np.array([float(read(p)) for p in group]) for name, group in people.items()}
        pooled = np.concatenate(list(values.values()))
        for name, v in values.items():
            assert abs(v.mean() - pooled.mean()) < 4 * pooled.std() / np.sqrt(len(v)), name


def test_manifest_checksums(manifest):
    if "sha256" not in manifest[0]:
        pytest.fail(
            "data_manifest/synthetic.csv lacks sha256: run `python -m petphantom --manifest`"
        )
    for row in manifest[:5] + manifest[700::500]:
        assert petphantom.checksum(row["class"], int(row["seed"])) == row["sha256"], row["exam_id"]


def test_the_final_exams_share_no_seed_and_no_patient_with_the_cohort(manifest):
    listed = cohort.final_rows()
    patients = {row["patient_id"] for row in listed}
    assert len(patients) == len(listed) == 5 * cohort.FINAL_COUNT
    assert not patients & {row["patient_id"] for row in manifest}
    assert all(petphantom.parse(row["path"]) == (row["class"], row["seed"]) for row in listed)


def test_a_morph_starts_at_its_first_exam_and_moves_evenly():
    ends = ("lung", 30017), ("lymphoma", 40003)
    frames = [
        np.asarray(petphantom.morph(*ends, share, 8.0).dataobj) for share in np.linspace(0, 1, 7)
    ]
    assert np.array_equal(frames[0], suv(*ends[0], 8.0))
    mips = np.stack([f.max(axis=1) for f in frames])
    steps = np.sqrt(((mips[1:] - mips[:-1]) ** 2).mean(axis=(1, 2)))
    whole = np.sqrt(((mips[-1] - mips[0]) ** 2).mean())
    assert steps.max() < 0.4 * steps.sum()  # no jump; even steps would be 0.17
    assert steps.sum() > 1.5 * whole  # and no straight line, as a blend of the two would be
    with pytest.raises(petphantom.PhantomError, match="share = 1.5"):
        petphantom.morph(*ends, 1.5)


def test_the_command_writes_nifti_and_says_what_is_in_it(tmp_path, capsys):
    main(["lung/30017", "--out", str(tmp_path / "exam.nii.gz"), "--spacing-mm", "12"])
    assert "tumour  lung" in capsys.readouterr().out
    made = petphantom.make("lung", 30017, 12.0)
    written = nib.load(tmp_path / "exam.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(written, np.asarray(made.dataobj))
    with pytest.raises(SystemExit):
        main(["liver/1"])
    assert "no phantom class" in capsys.readouterr().err


def test_it_needs_no_other_package_of_the_repository():
    code = (
        "import sys, petphantom, petphantom.cohort; sys.exit(any(m in sys.modules for m in "
        "('radiogan_lib', 'petsuv')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
