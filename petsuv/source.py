"""What a path is: a DICOM folder, a NIfTI file, or the study folder of a public data set.

Content decides, names only help: a note says which file of a folder was taken and why.
"""

import contextlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

from petsuv import dicom, nifti
from petsuv.dicom import NOT_DICOM
from petsuv.errors import ExamError
from petsuv.nifti import SUFFIXES, is_nifti
from petsuv.series import Series

# Words in the file names of public data sets: autoPET (SUV, CT, CTres, PET, SEG), HECKTOR (__PT,
# __CT). PET or PT alone may be Bq/ml: it comes after SUV, and its values are checked like any.
_SUV = re.compile(r"(^|[_\W])suv(bw)?([_\W]|$)|suv(bw)?$", re.I)
_PET = re.compile(r"(^|[_\W])(pt|pet)([_\W]|$)", re.I)
_NOT_PET = re.compile(
    r"(^|[_\W])(ct|ctres|ct_?res|seg|segmentation|mask|labels?|gtvp?|mri?|ctv|roi)\d*([_\W]|$)|"
    r"(^|_)dro_mask$",
    re.I,
)
_CHANNEL = re.compile(r"^.+_(\d{4})$")  # nnU-Net: case_0000 is the first channel of a case
_WINDOWS = re.compile(r"^[A-Za-z]:[\\/]|^\\\\|^[^/]+\\")
_DEPTH = 3  # folders below a patient's in which a study may lie: patient/session/pet
_PATH = "Correct the path in the cohort."


@dataclass(frozen=True)
class Source:
    """An exam that was found."""

    kind: str  # "nifti" or "dicom"
    path: Path  # the file, or the folder of slices
    notes: tuple[str, ...] = ()  # why this one was taken
    series: Series | None = None  # the DICOM series, if it has been looked at already


def read(path: str | os.PathLike | Source) -> nib.Nifti1Image:
    """Read one exam as SUV.

    Args:
        path: a folder with a DICOM PET series (other series and files may be there), a .nii or
            .nii.gz (or .hdr + .img), a study folder of autoPET, nnU-Net or HECKTOR, or what
            `locate` found.

    Returns:
        3-D nibabel image: SUVbw in g/ml, float32, RAS+, mm; its header holds nothing of the source.
        `image.extra` has `notes`, and of a DICOM exam the SUV factor with its derivation (`suv`).

    Warns:
        ExamNote: a choice made, a value put right.

    Raises:
        ExamError: the exam cannot be trusted; says why and what to do.
    """
    found = path if isinstance(path, Source) else locate(path)
    if found.kind == "nifti":
        return nifti.read(found.path, found.notes)
    return dicom.read_exam(found.series or found.path, found.notes)


def locate(path: str | os.PathLike) -> Source:
    """Decide what a path is."""
    try:
        path = Path(path).expanduser()
        if path.is_dir():
            return _in_folder(path)
        there, is_link = path.exists(), path.is_symlink()
    except ExamError:
        raise
    except PermissionError:
        raise ExamError("the folder cannot be opened", "Ask for the right to read it.") from None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, ~ of nobody
        said = "there is no such file or folder: no path can be like this"
        raise ExamError(said, _PATH) from None
    if not there and is_link:
        raise ExamError("this is a link that leads nowhere", "Fetch what it points to.")
    if not there:
        windows = ": this is a Windows path" if _WINDOWS.match(str(path)) and os.sep == "/" else ""
        raise ExamError(f"there is no such file or folder{windows}", _PATH)
    if not path.is_file():  # a pipe would be waited for, a device read, for ever
        raise ExamError("this is not a file but a pipe, a socket or a device", _PATH)
    if is_nifti(path):
        channel, stem = _channel_name(path), _stem(path)
        if channel and not _says_pet(channel):
            said = "dataset.json says that this channel is not the PET"
            raise ExamError(said, "Give the file of the PET channel.")
        if not channel and _NOT_PET.search(stem) and not _says_pet(stem):
            raise ExamError("the file's name says CT, MR or segmentation", "Give the PET in SUV.")
        return Source("nifti", path)
    start = nifti.beginning(path)
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] == b"n+2":
        return Source("nifti", path)
    if path.suffix.lower() in (".dcm", ".ima", "") or start[128:132] == b"DICM":
        said = "this is one file; a DICOM exam is a folder of slices"
        raise ExamError(said, "Give the folder that holds the slices.")
    said = f"files of type {path.suffix} are not read: this is {nifti.what_is(start)}"
    raise ExamError(said, "Give .nii, .nii.gz or a DICOM folder.")


def _in_folder(folder: Path) -> Source:
    """The exam of a folder: its DICOM PET series, else its NIfTI file, else a study below."""
    here = [f for f in sorted(folder.iterdir()) if not f.name.startswith(".")]
    files = [f for f in here if _is_exam_file(f)]
    refused: ExamError | None = None
    if any(map(_may_hold_dicom, here)):
        try:
            series = dicom.read_series(folder)
        except ExamError as error:
            refused = error
        else:
            beside = f"{len(files)} NIfTI files beside the DICOM PET series were passed over"
            return Source("dicom", folder, (beside,) if files else (), series)
    no_pet = refused is None or refused.no_pet
    if files and no_pet:
        return _pick(files)
    if named := [f for f in files if _SUV.search(_stem(f)) and not _NOT_PET.search(_stem(f))]:
        found = _pick(named)
        note = "the DICOM PET series beside the NIfTI file in SUV cannot be used"
        return Source("nifti", found.path, (*found.notes, f"{note}: {refused.reason}"))
    below = _below(folder, _DEPTH) if no_pet else []
    if len(below) > 1:
        raise ExamError(f"the folder holds {len(below)} studies", "Give each study its own row.")
    if below:
        return below[0]
    said = "the folder holds no DICOM slices and no NIfTI file"
    raise refused or ExamError(said, "Give the folder of one exam.")


def _is_exam_file(path: Path) -> bool:
    return path.is_file() and is_nifti(path) and path.suffix.lower() != ".img"


def _below(folder: Path, depth: int) -> list[Source]:
    """The studies in the folders below whose NIfTI files say SUV or PET by name."""
    found = []
    for child in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        stems = [_stem(f) for f in child.iterdir() if f.is_file() and is_nifti(f)]
        if any(_says_pet(stem) and not _NOT_PET.search(stem) for stem in stems):
            found.append(_pick(sorted(f for f in child.iterdir() if _is_exam_file(f))))
        elif depth > 1:
            found += _below(child, depth - 1)
    return found


def _pick(files: list[Path]) -> Source:
    """The PET in SUV among the NIfTI files of a folder: by dataset.json, by name, by values."""
    channels = {f: _channel_name(f) for f in files}
    usable = [f for f in files if channels[f] or not _NOT_PET.search(_stem(f))]
    called = [f for f in files if channels[f] and _says_pet(channels[f])]
    ranks = (
        (called, "that dataset.json calls PET"),
        ([f for f in usable if _stem(f).lower() in ("suv", "suvbw")], "that is called SUV"),
        ([f for f in usable if _SUV.search(_stem(f))], "whose name says SUV"),
        ([f for f in usable if _PET.search(_stem(f))], "whose name says PET"),
        ([f for f in usable if not channels[f]], "whose values can be SUV"),
    )
    best, why = next(((found, why) for found, why in ranks if found), ([], ""))
    if 1 < len(best) <= 4 and (able := [f for f in best if _can_be_suv(f)]):
        best, why = able, "whose values can be SUV"
    if len(best) > 1:
        said = f"the folder holds {len(best)} NIfTI exams, and which is meant is not clear from"
        remedy = "Give each exam its own row with the path of its SUV file."
        raise ExamError(f"{said} names and values", remedy)
    if not best:
        said = f"none of the folder's {len(files)} NIfTI files is the PET in SUV by its name"
        raise ExamError(said, "Give the path of the file.")
    note = f"of {len(files)} NIfTI files in the folder the one {why} was taken"
    return Source("nifti", best[0], (note,) if len(files) > 1 else ())


def _can_be_suv(path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nifti.read(path)
        return True
    except ExamError:
        return False


def _channel_name(path: Path) -> str:
    """What nnU-Net's dataset.json beside or above a file calls its channel; empty if nothing."""
    match = _CHANNEL.match(_stem(path))
    for folder in (path.parent, path.parent.parent) if match else ():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            said = json.loads((folder / "dataset.json").read_bytes()[: 1 << 24])
            names = said.get("channel_names") or said.get("modality") or {}
            return str(names.get(str(int(match[1])), ""))
    return ""


def _says_pet(name: str) -> bool:
    return bool(_SUV.search(name) or _PET.search(name))


def _stem(path: Path) -> str:
    """The name without the suffixes of NIfTI."""
    found = (path.name[: -len(s)] for s in SUFFIXES if path.name.lower().endswith(s))
    return next(found, path.stem)


def _may_hold_dicom(path: Path) -> bool:
    """A folder, a link, an archive, or a file whose suffix is not that of another format."""
    if path.is_dir() or path.is_symlink() or path.name.lower().endswith((".zip", ".tar", ".tgz")):
        return True
    suffix = path.suffix.lower()
    return not is_nifti(path) and (suffix == ".gz" or suffix not in NOT_DICOM)
