"""Images of another generator from a folder or file: pictures, .npy, .npz, NIfTI.

Used by `python -m radiogan_lib.evaluation`. Nothing is pickled, and what is ambiguous is refused
rather than guessed.
"""

from pathlib import Path

import numpy as np

from petsuv.errors import ExamError
from radiogan_lib.data import pictures
from radiogan_lib.evaluation.features import EvaluationError, ImageSet, area_average, check_images

VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*pictures.SUFFIXES, ".npz", *VOLUMES)
ARRAYS = (".npy", ".npz")
IMAGES = ("images", "suv", "x", "arr_0")  # what the images of an .npz file may be called
IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")


def read_images(path, name: str = "given") -> tuple[ImageSet, list[str] | None]:
    """Images, labels and class names from a file or folder.

    Args:
        path: a .npy (n, h, w) or .npz (`images`, perhaps `labels`) file; or a folder with one image
            per file, either directly in it or in one layer of subfolders, which are the classes.
            Hidden files and what archives leave behind are passed over.

    Returns:
        `ImageSet`, float32, and class names (None without subfolders).

    Raises:
        EvaluationError: nothing there, a file that cannot be read, or a folder that can be read in
            two ways.
    """
    path = Path(path)
    if path.is_file():
        return _stack_file(path, name), None
    if not path.is_dir():
        fault = f"there is no file or folder {path} for the {name} images"
        raise EvaluationError(f"{fault}; correct the path.")
    files, folders = _listing(path)
    groups = {folder.name: _listing(folder) for folder in folders}
    if deeper := [f"{n}/{d[0].name}" for n, (_, d) in groups.items() if d]:
        fault = f"{path.name}/{deeper[0]} lies two folders deep"
        raise EvaluationError(f"{fault}; give a folder whose subfolders are the classes.")
    if files and groups:
        fault = f"the folder {path} holds images and the subfolder {folders[0].name}"
        raise EvaluationError(f"{fault}; put all images into class folders, or none.")
    if not files and not groups:
        kinds = ", ".join(SUFFIXES)
        raise EvaluationError(f"the folder {path} holds no images; it may hold {kinds}.")
    members = [inside for inside, _ in groups.values()] or [files]
    images = sum(members, [])
    if len(images) == 1 and images[0].suffix.lower() in ARRAYS:
        return _stack_file(images[0], name), None
    labels = np.repeat(np.arange(len(members)), list(map(len, members))) if groups else None
    return ImageSet(check_images(_stack(images), name), labels), list(groups) or None


def described(given: ImageSet, name: str, names: list[str] | None) -> str:
    """One line about a set: how many images of which size, their range and classes."""
    h, w = given.images.shape[1:]
    low, high = given.images.min(), given.images.max()
    text = f"{name}: {len(given)} images, {h} × {w}, {low:.4g} to {high:.4g}"
    if given.labels is not None:
        classes, counts = np.unique(given.labels, return_counts=True)
        first = zip(classes[:8], counts, strict=False)
        each = [f"{names[c] if names else c} {n}" for c, n in first] + ["…"] * (len(classes) > 8)
        text += f", classes {', '.join(each)}"
    return text


def _suffix(path: Path) -> str:
    return next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files, and folders that hold any; hidden files and archive leavings are left out."""
    found = sorted(p for p in folder.iterdir() if p.name[0] != "." and p.name not in IGNORED)
    files = [p for p in found if p.is_file() and _suffix(p)]
    return files, [p for p in found if p.is_dir() and any(_listing(p))]


def _failed(path: Path, e: Exception) -> EvaluationError:
    """Every reader has its own errors; the user needs the file's name, one reason and a remedy."""
    if isinstance(e, ExamError):
        return EvaluationError(f"{path.name}: {e}")
    reason = f"{type(e).__name__}: {' '.join(str(e).split())[:120]}"
    remedy = "save it as plain numbers or a grey picture."
    return EvaluationError(f"{path.name} cannot be read ({reason}); {remedy}")


def _arrays(path: Path) -> dict:
    """What a .npy or .npz file holds, by name; arrays of an .npz are read when asked for."""
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as e:
        raise _failed(path, e) from None
    return {"images": found} if isinstance(found, np.ndarray) else found


def _array(path: Path, *names: str) -> np.ndarray:
    """The array of a .npy file, or the first of an .npz file with one of these names."""
    found = _arrays(path)
    chosen = next((k for k in names if k in found), None)
    if chosen is None:
        raise EvaluationError(f"{path.name} holds {', '.join(found)}; name the array `{names[0]}`.")
    try:
        return found[chosen]
    except Exception as e:
        fault = f"the {names[0]} in {path.name} cannot be read ({type(e).__name__})"
        raise EvaluationError(f"{fault}; save plain numbers.") from None


def _stack_file(path: Path, name: str) -> ImageSet:
    """All images of one .npy or .npz file; any other file is one image."""
    if _suffix(path) not in ARRAYS:
        return ImageSet(check_images(_stack([path]), name))
    values = _array(path, *IMAGES)
    labels = _array(path, "labels") if "labels" in _arrays(path) else None
    grey = np.array([0.299, 0.587, 0.114], np.float32)
    if values.ndim == 4 and (values.shape[1] == 3) != (values.shape[-1] == 3):  # colours
        values = np.moveaxis(values, 1, -1) @ grey if values.shape[1] == 3 else values @ grey
    if values.ndim == 4 and values.shape[1] == 1 and values.shape[-1] != 1:
        values = values[:, 0]
    if values.dtype.kind == "c":
        raise EvaluationError(f"{path.name} holds complex numbers; give their magnitude.")
    if values.ndim != 3 and (values.ndim != 4 or values.shape[-1] != 1):
        raise EvaluationError(f"{path.name} has shape {values.shape}; give (n, rows, columns).")
    images = check_images(values, name)
    if labels is not None:
        number = labels.dtype.kind in "iuf" and labels.shape == (len(images),)
        if not number or not np.all((labels == np.rint(labels)) & (np.abs(labels) < 2.0**53)):
            fault = f"the labels in {path.name} have shape {labels.shape} and type {labels.dtype}"
            remedy = f"give one whole number for each of the {len(images)} images."
            raise EvaluationError(f"{fault}; {remedy}")
        labels = labels.astype(np.int64)
    return ImageSet(images, labels)


def _read(path: Path) -> tuple[np.ndarray, float | None]:
    """One file as (h, w) float32, a volume as its MIP, and its whitest value (None for numbers)."""
    kind = _suffix(path)
    if kind == ".npz":
        values = _array(path, *IMAGES)
        if values.ndim != 2:
            fault = f"{path.name} has shape {values.shape}"
            raise EvaluationError(f"{fault}; give one image (rows, columns) per file.")
        return values.astype(np.float32), None
    if kind in VOLUMES:
        import nibabel

        image = nibabel.squeeze_image(nibabel.load(path))
        if image.ndim == 2:
            return np.asarray(image.dataobj, np.float32), None
        from radiogan_lib.data import coronal_mip

        return np.asarray(coronal_mip(nibabel.as_closest_canonical(image)), np.float32), None
    found = pictures.read(path, colour=True)
    return found.values.astype(np.float32), found.white


def _stack(files: list[Path]) -> np.ndarray:
    """One image per file in one array, area-averaged to the median size where sizes differ."""
    parts, whites = [], {}
    for path in files:
        try:
            values, white = _read(path)
        except EvaluationError:
            raise
        except Exception as e:
            raise _failed(path, e) from None
        whites.setdefault(white, path.name)
        parts.append(values)
    if len(whites) > 1:
        kinds = [f"{n} ({'numbers' if w is None else f'0 to {w}'})" for w, n in whites.items()]
        fault = f"the images are of different depths: {', '.join(kinds)}"
        raise EvaluationError(f"{fault}; save all in one.")
    shapes = np.array([p.shape for p in parts])
    if (shapes == shapes[0]).all():
        return np.stack(parts)
    shape = tuple(int(v) for v in np.median(shapes, axis=0).round())
    return np.concatenate([area_average(p[None], shape) for p in parts])
