"""The turning MIP: an animation that starts in front, and that publishing keeps whole."""

import base64
import io
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from radiogan_lib import lab, paths

sys.path.insert(0, str(paths.REPO / "notebooks"))
import publish  # noqa: E402


@pytest.fixture(scope="module")
def exam():
    """A body with one hot spot on the patient's left and in front."""
    suv = np.zeros((40, 40, 60), np.float32)
    suv[8:32, 12:28, :] = 1
    suv[10:13, 24:27, 30:33] = 9  # RAS+: low x is the patient's left
    return nib.Nifti1Image(suv, np.diag([8.0, 8, 8, 1]))


def frames(png: bytes) -> list[np.ndarray]:
    picture = Image.open(io.BytesIO(png))
    out = []
    for k in range(picture.n_frames):
        picture.seek(k)
        out.append(np.asarray(picture.convert("L")))
    return out


def test_it_turns_from_the_front_once_round(exam):
    turning = lab.rotating_mip(exam, n_angles=8)
    seen = frames(turning.png)
    assert len(seen) == turning.views == 8 and Image.open(io.BytesIO(turning.png)).info["loop"] == 0
    scale = 60 / seen[0].shape[0]  # columns of a picture that is 60 pixels tall
    middle = scale * seen[0].shape[1] / 2
    column = [scale * np.median(np.nonzero(f == f.min())[1]) for f in seen]
    assert all(f.min() == 0 for f in seen)  # the spot is seen from every side
    assert (
        abs((column[0] - middle) + (column[4] - middle)) < 2.5 < abs(column[0] - middle)
    )  # half a turn is the mirror image
    assert len(np.unique(np.round(column))) > 3


def test_a_notebook_gets_the_animation_and_words(exam):
    bundle = lab.rotating_mip(exam, n_angles=4)._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).n_frames == 4
    assert "4 views" in bundle["text/plain"] and "0x" not in bundle["text/plain"]


def packed(*pictures) -> str:
    out = io.BytesIO()
    more = (
        {"save_all": True, "append_images": pictures[1:], "duration": 100}
        if len(pictures) > 1
        else {}
    )
    pictures[0].save(out, "PNG", **more)
    return base64.b64encode(out.getvalue()).decode()


def test_publishing_keeps_an_animation_and_packs_a_still_picture():
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)
    pictures = [Image.fromarray(f) for f in noise]
    moving, still = packed(*pictures), packed(pictures[0])
    assert len(frames(base64.b64decode(publish.slim(moving)))) == 3
    assert len(publish.slim(still)) < len(still)
