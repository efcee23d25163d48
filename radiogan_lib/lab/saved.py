"""Frames kept from the explorer, each with the recipe that draws it again. Used in notebooks/06_latent_explorer.ipynb."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np

from radiogan_lib import paths
from radiogan_lib.lab import render
from radiogan_lib.lab.latent import KINDS, ExplorerError

KEY = "radiogan_recipe"
FIELDS = {
    "weights": str,
    "class_a": str,
    "class_b": str,
    "seed_a": int,
    "seed_b": int,
    "walk": str,
    "steps": int,
    "truncation": (int, float),
    "step": int,
    "mode": str,
    "window": list,
}


def folder() -> Path:
    """Where the explorer keeps frames by default."""
    return paths.home() / "runs" / "explorer"


def files(where) -> list[str]:
    """Names of the saved frames, newest first; one placeholder where there are none."""
    found = (
        [p for p in Path(where).glob("*") if p.name.endswith((".png", ".nii.gz"))]
        if Path(where).is_dir()
        else []
    )
    return [p.name for p in sorted(found, key=lambda p: (-p.stat().st_mtime, p.name))] or [
        "(none yet)"
    ]


def write(
    where, frame: np.ndarray, recipe: dict, suffix: str, spacing_mm=None, window=(0.0, 7.0)
) -> Path:
    """Write one frame with its recipe inside the file; the same recipe gives the same name.

    Args:
        frame: SUV, (h, w), head up, patient's right first.
        recipe: plain values.
        suffix: "png" (grey, in the window) or "nii.gz" (SUV, one coronal plane in RAS+; `spacing_mm` of its rows and columns).
    """
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False)
    name = (
        f"{recipe['class_a']}-{recipe['seed_a']}_{recipe['class_b']}-{recipe['seed_b']}_step{recipe['step'] + 1:02d}_"
        f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.{suffix}"
    )
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    path = Path(where) / name
    if suffix == "png":
        picture = render.resized(render.grey(frame, window), max(400, frame.shape[0]))
        with paths.atomic(path) as temporary:
            temporary.write_bytes(render.png(picture, text))
        return path
    import nibabel as nib

    dy, dx = spacing_mm or (1.0, 1.0)
    image = nib.Nifti1Image(
        np.ascontiguousarray(frame[::-1, ::-1].T[:, None, :], np.float32),
        np.diag([dx, 1.0, dy, 1.0]),
    )
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"RadioGAN frame, SUV, generated: no patient"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", text.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


def read(where, name) -> dict:
    """The recipe inside a saved frame.

    Raises:
        ExplorerError: no such file, no recipe in it, or one whose values make no sense.
    """
    path = Path(where) / str(name)
    if not path.is_file():
        raise ExplorerError(
            "choose one of the saved frames first."
            if str(name).startswith("(")
            else f"{Path(str(name)).name} is not among the saved frames."
        )
    try:
        if path.name.endswith(".png"):
            from PIL import Image

            with Image.open(path) as im:
                text = im.text[KEY]
        else:
            import nibabel as nib

            text = nib.load(path).header.extensions[0].get_content()
            text = text.decode() if isinstance(text, bytes) else text
        recipe = json.loads(text.rstrip("\0"))
        sound = all(
            isinstance(recipe[k], t) and not isinstance(recipe[k], bool) for k, t in FIELDS.items()
        )
    except Exception:  # noqa: BLE001 - whatever is wrong with a file of unknown origin, the answer is the same
        raise ExplorerError(
            f"{path.name} holds no readable recipe; only frames that the explorer saved can be restored."
        ) from None
    low, high = (recipe["window"] + [0, 0])[:2]
    if not (
        sound
        and recipe["walk"] in KINDS
        and 2 <= recipe["steps"] <= 200
        and 0 <= min(recipe["seed_a"], recipe["seed_b"])
        and recipe["mode"] in ("walk", "edit")
        and 0 <= recipe["step"] < 200
        and low < high
    ):
        raise ExplorerError(
            f"{path.name} holds a recipe whose values make no sense; it was changed by hand or by another program."
        )
    return recipe
