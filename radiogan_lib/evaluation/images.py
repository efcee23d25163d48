"""Images from a folder or file, for people who trained another generator: PNG, .npy, .npz, NIfTI.

Used by `python -m radiogan_lib.evaluation`. Nothing is pickled, nothing is trusted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radiogan_lib.evaluation.features import EvaluationError, area_average, check_images

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz", ".nii", ".nii.gz")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")


def _read(path: Path) -> np.ndarray:
    """One file as (n, h, w) float32. Colour becomes luminance; a NIfTI volume becomes its coronal MIP."""
    kind = _suffix(path)
    try:
        if kind in (".npy", ".npz"):
            found = np.load(path, allow_pickle=False)
            if kind == ".npz":
                key = next((k for k in ("images", "suv", "x", "arr_0") if k in found), None)
                if key is None:
                    raise EvaluationError(
                        f"{path.name} holds {', '.join(found)}; name the array `images`."
                    )
                found = found[key]
            found = found[..., 0] if found.ndim == 4 and found.shape[-1] == 1 else found
            return found[None].astype(np.float32) if found.ndim == 2 else found.astype(np.float32)
        if kind in (".nii", ".nii.gz"):
            import nibabel

            image = nibabel.load(path)
            values = np.squeeze(np.asarray(image.dataobj, np.float32))
            if values.ndim == 2:
                return values[None]
            from radiogan_lib.data import coronal_mip

            return np.asarray(
                coronal_mip(nibabel.as_closest_canonical(nibabel.squeeze_image(image))), np.float32
            )[None]
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(
                image.convert("F" if image.mode in ("I", "I;16", "F") else "L"), np.float32
            )[None]
    except EvaluationError:
        raise
    except (
        Exception
    ) as e:  # every reader has its own errors; the user needs the file's name and one reason
        raise EvaluationError(
            f"{path.name} cannot be read as images ({type(e).__name__}: {' '.join(str(e).split())[:120]}); "
            "convert it to PNG, .npy or NIfTI."
        ) from None


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """All images in one array; where sizes differ, all are area-averaged to the median size."""
    shapes = np.array([p.shape[1:] for p in parts])
    if (shapes == shapes[0]).all():
        return np.concatenate(parts)
    shape = tuple(int(v) for v in np.median(shapes, axis=0).round())
    return np.concatenate([area_average(p, shape) for p in parts])


def read_images(
    path, name: str = "given"
) -> tuple[np.ndarray, np.ndarray | None, list[str] | None]:
    """Images, labels and class names from a file or folder.

    Args:
        path: a .npy (n, h, w) or .npz (`images` and perhaps `labels`) file, or a folder of PNG, JPEG, TIFF, .npy or NIfTI
            files; subfolders are classes. Hidden files are passed over; files are taken in sorted order.

    Returns:
        images (n, h, w) float32; labels (n,) int or None; class names or None.

    Raises:
        EvaluationError: nothing there, or a file that cannot be read, by name.
    """
    path = Path(path)
    if path.is_file():
        images, labels = check_images(_read(path), name), None
        if _suffix(path) == ".npz":
            try:
                found = np.load(path, allow_pickle=False)
                labels = found["labels"].astype(np.int64) if "labels" in found else None
            except (ValueError, TypeError) as e:
                raise EvaluationError(
                    f"the labels in {path.name} cannot be read ({type(e).__name__}); give one whole number per image."
                ) from None
        return images, labels, None
    if not path.is_dir():
        raise EvaluationError(
            f"there is no file or folder {path} for the {name} images; correct the path."
        )
    classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    groups = classes or [path]
    parts, labels = [], []
    for c, folder in enumerate(groups):
        for file in sorted(
            p for p in folder.iterdir() if p.is_file() and _suffix(p) and not p.name.startswith(".")
        ):
            parts.append(_read(file))
            labels += [c] * len(parts[-1])
    if not parts:
        raise EvaluationError(
            f"the folder {path} holds no images; it may hold {', '.join(SUFFIXES)}."
        )
    images = check_images(_stack(parts), name)
    return (
        (images, np.array(labels), [c.name for c in classes]) if classes else (images, None, None)
    )
