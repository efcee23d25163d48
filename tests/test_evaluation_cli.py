"""python -m radiogan_lib.evaluation on folders and arrays that this project did not make."""

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import toy_mips
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
    assert 0.8 < metrics["memorization"]["nearest_ratio"]["value"] < 1.2


def test_nifti(tmp_path):
    rng = np.random.default_rng(0)
    nibabel.save(
        nibabel.Nifti1Image(rng.random((6, 9)).astype(np.float32), np.eye(4)),
        tmp_path / "flat.nii.gz",
    )
    images, labels, names = read_images(tmp_path)
    assert images.shape == (1, 6, 9) and labels is None and names is None
    volume = rng.random((8, 7, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2, 2, 1])), tmp_path / "flat.nii.gz")
    images, _, _ = read_images(tmp_path)
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
        (tmp_path / "bad", "x.png cannot be read"),
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
