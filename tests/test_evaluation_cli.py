"""python -m radiogan_lib.evaluation on folders and arrays that this project did not make."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import toy_mips
from gan_tools import BLAS_THREADS
from PIL import Image

from radiogan_lib.evaluation import EvaluationError, read_images
from radiogan_lib.evaluation.__main__ import main


@pytest.fixture(scope="module")
def world():
    return toy_mips.split(51, n_train=60, n_holdout=50, n_fresh=60)


def png(folder, images, labels=None):
    for k, image in enumerate(images):
        place = folder if labels is None else folder / f"class{labels[k]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.clip(image * 20, 0, 255))).save(place / f"{k:03d}.png")
    return folder


def test_three_folders_of_png_without_tensorflow(world, tmp_path):
    (t, ty), (p, py), _ = world
    folders = [
        png(tmp_path / n, x, y)
        for n, x, y in (("train", t, ty), ("holdout", p, py), ("generated", t, ty))
    ]
    code = (
        "import sys; from radiogan_lib.evaluation.__main__ import main; s = main(sys.argv[1:]); "
        "sys.exit(s or any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--train",
            folders[0],
            "--holdout",
            folders[1],
            "--generated",
            folders[2],
            "--out",
            tmp_path / "out",
            "--rounds",
            "30",
            "--no-controls",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "memorises training exams" in done.stdout
    assert "training: 60 images, 40 × 24, 0 to 255, classes class0 12" in done.stdout
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (
        metrics["class_names"] == [f"class{k}" for k in range(5)]
        and metrics["verdict"]["word"] == "memorises"
    )


def test_arrays_of_different_sizes(world, tmp_path, capsys):
    (t, _), (p, _), (f, _) = world
    np.save(tmp_path / "t.npy", t)
    np.savez(tmp_path / "p.npz", images=p, labels=np.zeros(len(p), int))
    np.save(tmp_path / "g.npy", np.repeat(np.repeat(f, 3, axis=1), 3, axis=2)[..., None])
    assert (
        main(
            [
                "--train",
                str(tmp_path / "t.npy"),
                "--holdout",
                str(tmp_path / "p.npz"),
                "--generated",
                str(tmp_path / "g.npy"),
                "--out",
                str(tmp_path / "out"),
                "--rounds",
                "30",
                "--no-controls",
            ]
        )
        == 0
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["image_shapes"]["generated"] == [120, 72] and metrics["compared_at"][
        "shape"
    ] == [40, 24]
    assert 0.3 < metrics["memorization"]["membership_auc"]["value"] < 0.7


def test_nifti(tmp_path):
    rng = np.random.default_rng(0)
    nibabel.save(
        nibabel.Nifti1Image(rng.random((6, 9)).astype(np.float32), np.eye(4)),
        tmp_path / "flat.nii.gz",
    )
    found, names = read_images(tmp_path)
    assert found.images.shape == (1, 6, 9) and found.labels is None and names is None
    volume = rng.random((8, 7, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2, 2, 1])), tmp_path / "flat.nii.gz")
    images = read_images(tmp_path)[0].images
    assert images.shape == (1, 9, 8)
    # as in data.coronal_mip: head up, patient's right on the viewer's left
    np.testing.assert_allclose(np.sort(images[0].ravel()), np.sort(volume.max(axis=1).ravel()))


def test_faults_are_one_sentence(tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no picture")
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object))
    for path, word in (
        (tmp_path / "none", "no file or folder"),
        (tmp_path, "holds no images"),
        (tmp_path / "bad", "^x.png: the picture cannot be read"),
        (tmp_path / "objects.npy", "cannot be read"),
    ):
        if path == tmp_path:
            path = tmp_path / "empty"
            path.mkdir()
        with pytest.raises(EvaluationError, match=word):
            read_images(path)
    np.save(tmp_path / "few.npy", np.zeros((3, 8, 8), np.float32))
    few = str(tmp_path / "few.npy")
    assert (
        main(["--train", few, "--holdout", few, "--generated", few, "--out", str(tmp_path / "out")])
        == 1
    )
    assert "at least 10" in capsys.readouterr().err and not (tmp_path / "out").exists()
    np.save(tmp_path / "t.npy", np.random.default_rng(0).random((12, 8, 8)))
    t = str(tmp_path / "t.npy")
    assert (
        main(
            [
                "--train",
                t,
                "--holdout",
                t,
                "--generated",
                t,
                "--use",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 1
    )
    assert "--use needs classes" in capsys.readouterr().err


def written(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        np.save(folder / f"{k:03d}.npy", image)
    return folder


def test_one_array_per_image(tmp_path):
    x = np.random.default_rng(1).random((6, 12, 9)).astype(np.float32)
    colour = np.repeat(x[..., None], 3, axis=3)
    for k, made in enumerate((x, x[..., None], colour, np.moveaxis(colour, 3, 1))):
        found, _ = read_images(written(tmp_path / str(k), made))
        np.testing.assert_allclose(found.images, x, atol=1e-6)
    with pytest.raises(EvaluationError, match="is not one picture"):
        read_images(written(tmp_path / "stacks", np.zeros((3, 5, 12, 9), np.float32)))


def test_one_array_of_all_images(tmp_path):
    x, file = np.random.default_rng(1).random((6, 12, 9)).astype(np.float32), tmp_path / "a.npy"
    colour = np.repeat(x[..., None], 3, axis=3)
    for made in (x, x[..., None], x[:, None], colour, np.moveaxis(colour, 3, 1)):
        np.save(file, made)
        np.testing.assert_allclose(read_images(file)[0].images, x, atol=1e-6)
    for made, word in (
        (x.reshape(6, -1), "shape"),  # flattened images are no picture of 6 rows
        (x + 1j, "complex"),
        (np.zeros((6, 3, 9, 3)), "shape"),  # colours first or last?
        (np.zeros((6, 4, 12, 9)), "shape"),
    ):
        np.save(file, made)
        with pytest.raises(EvaluationError, match=word):
            read_images(file)


def test_sixteen_bits_are_kept(tmp_path):
    x = np.random.default_rng(2).integers(0, 65535, (4, 12, 9)).astype(np.uint16)
    for k, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{k}.tif")
    big = Image.fromarray(x[0].astype(">u2").view(np.uint16).byteswap())
    big.save(tmp_path / "0.tif")
    np.testing.assert_array_equal(read_images(tmp_path)[0].images, x.astype(np.float32))
    Image.fromarray(np.uint8(x[0] >> 8)).save(tmp_path / "9.tif")
    with pytest.raises(EvaluationError, match="different depths"):
        read_images(tmp_path)


def test_pages_and_alpha_are_refused(tmp_path):
    page = Image.fromarray(np.zeros((12, 9), np.uint8))
    (tmp_path / "pages").mkdir()
    page.save(tmp_path / "pages" / "a.tif", save_all=True, append_images=[page, page])
    with pytest.raises(EvaluationError, match="a.tif"):
        read_images(tmp_path / "pages")
    (tmp_path / "alpha").mkdir()
    clear = np.random.default_rng(0).integers(0, 255, (12, 9, 4)).astype(np.uint8)
    Image.fromarray(clear, "RGBA").save(tmp_path / "alpha" / "a.png")
    with pytest.raises(EvaluationError, match="a.png"):
        read_images(tmp_path / "alpha")


def test_folders_that_can_be_read_in_two_ways_are_refused(world, tmp_path):
    x = world[0][0][:3]
    png(tmp_path, x, [0, 1, 1])
    (tmp_path / "__MACOSX").mkdir()
    png(tmp_path / "__MACOSX", x)
    (tmp_path / "empty").mkdir()
    found, names = read_images(tmp_path)
    assert names == ["class0", "class1"] and found.labels.tolist() == [0, 1, 1]
    png(tmp_path, x[:1])
    with pytest.raises(EvaluationError, match="holds images and the subfolder class0"):
        read_images(tmp_path)
    (tmp_path / "000.png").unlink()
    png(tmp_path / "class1" / "more", x)
    with pytest.raises(EvaluationError, match="two folders deep"):
        read_images(tmp_path)


def test_float_labels(tmp_path):
    x = np.random.default_rng(3).random((4, 6, 6))
    np.savez(tmp_path / "a.npz", images=x, labels=np.array([0.0, 1, 1, 2]))
    assert read_images(tmp_path / "a.npz")[0].labels.tolist() == [0, 1, 1, 2]
    for labels in ([0.5, 1, 1, 2], [1e30, 1, 1, 2], [np.nan, 1, 1, 2], [0.0, 1, 1]):
        np.savez(tmp_path / "a.npz", images=x, labels=np.array(labels))
        with pytest.raises(EvaluationError, match="whole number"):
            read_images(tmp_path / "a.npz")


@pytest.mark.parametrize(("option", "word"), [("--rounds=0", "rounds"), ("--seed=-1", "seed")])
def test_senseless_options(world, tmp_path, capsys, option, word):
    np.save(tmp_path / "t.npy", world[0][0])
    t = str(tmp_path / "t.npy")
    assert main(["--train", t, "--holdout", t, "--generated", t, option]) == 1
    assert word in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of memory is read with resource")
def test_memory_stays_bounded_with_many_images(tmp_path, monkeypatch):
    """20,000 training images: one matrix of all distances would take 1.6 GB by itself."""
    for name in BLAS_THREADS:  # as many threads, and as much memory, as a user's call has
        monkeypatch.delenv(name, raising=False)
    rng = np.random.default_rng(0)
    for name, n in (("train", 20_000), ("holdout", 500), ("generated", 500)):
        x = rng.integers(0, 255, (n, 5, 5)).astype(np.uint8)
        np.save(tmp_path / f"{name}.npy", x.repeat(2, axis=1).repeat(2, axis=2))
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from fuzz import "
        "peak_mb; "
        "from radiogan_lib.evaluation.__main__ import main; s = main(sys.argv[1:]); "
        "print('peak', peak_mb()); sys.exit(s)"
    )
    words = [f"--{n}={tmp_path / n}.npy" for n in ("train", "holdout", "generated")]
    words += [f"--out={tmp_path / 'out'}", "--rounds=10", "--no-controls"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    peak = float(done.stdout.rpartition("peak")[2])
    assert peak < 950, f"{peak:.0f} MB"
    notes = json.loads((tmp_path / "out" / "metrics.json").read_text())["memorization"]["notes"]
    assert "5,000 of 20,000 training images were used" in notes
