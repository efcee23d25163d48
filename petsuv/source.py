"""What a path is: a DICOM folder, a NIfTI file, or the study folder of a public data set."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nibabel as nib

from petsuv import dicom, nifti
from petsuv.errors import ExamError
from petsuv.nifti import SUFFIXES, is_nifti

# File names of public data sets, without suffix: autoPET (SUV, CT, CTres, PET, SEG), its nnU-Net form (_0000 CT, _0001
# SUV), HECKTOR (__PT, __CT). PET or PT alone may be Bq/ml: it comes after SUV, and its values are checked like any.
_SUV = re.compile(r"(^|[_\W])suv(bw)?([_\W]|$)|suv(bw)?$", re.I)
_PET = re.compile(r"(^|[_\W])(pt|pet)([_\W]|$)", re.I)
_NOT_PET = re.compile(
    r"(^|[_\W])(ct|ctres|ct_?res|seg|segmentation|mask|labels?|gtvp?|mr|mri|t1|t2|ctv|roi)\d*([_\W]|$)|(^|_)dro_mask$",
    re.I,
)
_NNUNET = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def read(path: str | os.PathLike) -> nib.Nifti1Image:
    """Read one exam as SUV.

    Args:
        path: a folder with a DICOM PET series (other series and files may be there), a .nii or .nii.gz (or .hdr +
            .img), or a study folder of autoPET, nnU-Net or HECKTOR.

    Returns:
        3-D nibabel image: SUVbw in g/ml, float32, RAS+, mm; its header holds nothing of the source.
        `image.extra` of a DICOM exam has the SUV factor with its derivation (`suv`) and `notes`.

    Warns:
        ExamNote: a choice made among series, a value put right.

    Raises:
        ExamError: the exam cannot be trusted; says why and what to do.
    """
    kind, found = locate(path)
    return nifti.read(found) if kind == "nifti" else dicom.read_exam(found)


def locate(path: str | os.PathLike) -> tuple[str, Path]:
    """Decide what a path is: ("nifti", the file) or ("dicom", the folder).

    Raises:
        ExamError: nothing there, an unknown kind of file, or several exams in one folder.
    """
    try:
        path = Path(path).expanduser()
        if path.is_dir():
            file = _pick(path)
            return ("nifti", file) if file else ("dicom", path)
        there = path.exists()
    except ExamError:
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # too long, a NUL in it, ~ of nobody, a folder not to be opened
        refused = isinstance(error, PermissionError)
        raise ExamError(
            "the folder cannot be opened"
            if refused
            else "there is no such file or folder: no path can be like this",
            "Ask for the right to read it." if refused else "Correct the path in the cohort.",
        ) from None
    if not there:
        raise ExamError("there is no such file or folder", "Correct the path in the cohort.")
    if not path.is_file():  # a pipe would be waited for, a device read, for ever
        raise ExamError(
            "this is not a file but a pipe, a socket or a device", "Correct the path in the cohort."
        )
    if not is_nifti(path):
        if path.suffix.lower() in (".dcm", ".ima", ""):
            raise ExamError(
                "this is one file; a DICOM exam is a folder of slices",
                "Give the folder that holds the slices.",
            )
        raise ExamError(
            f"files of type {path.suffix} are not read", "Give .nii, .nii.gz or a DICOM folder."
        )
    stem = _stem(path)
    m = _NNUNET.match(stem)
    if (
        m
        and m["channel"] == "0000"
        and any(path.with_name(f"{m['case']}_0001{s}").exists() for s in SUFFIXES)
    ):
        raise ExamError(
            "_0000 is the CT of an nnU-Net case whose _0001 is the SUV", "Give the _0001 file."
        )
    if _NOT_PET.search(stem) and not _SUV.search(stem) and not _PET.search(stem):
        raise ExamError("the file's name says CT, MR or segmentation", "Give the PET in SUV.")
    return "nifti", path


def _stem(path: Path) -> str:
    name = path.name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _pick(folder: Path) -> Path | None:
    """The SUV file of a study folder, or of the one study folder below; None where there is no NIfTI exam."""
    files = sorted(
        f
        for f in folder.iterdir()
        if f.is_file() and not f.name.startswith(".") and is_nifti(f) and f.suffix.lower() != ".img"
    )
    by_stem = {_stem(f): f for f in files}
    cases = [
        (m["case"], f)
        for s, f in by_stem.items()
        if (m := _NNUNET.match(s)) and m["channel"] == "0001" and f"{m['case']}_0000" in by_stem
    ]
    ranked = (
        [f for _, f in cases],
        [f for s, f in by_stem.items() if s.lower() in ("suv", "suvbw")],
        [f for s, f in by_stem.items() if _SUV.search(s) and not _NOT_PET.search(s)],
        [f for s, f in by_stem.items() if _PET.search(s) and not _NOT_PET.search(s)],
    )
    best = next((found for found in ranked if found), [])
    if len(best) > 1:
        raise ExamError(
            f"the folder holds {len(best)} NIfTI exams",
            "Give each exam its own row with the path of its SUV file.",
        )
    if best:
        return best[0]
    others = [f for s, f in by_stem.items() if not _NOT_PET.search(s)]
    if _may_hold_dicom(folder):
        return (
            None if files else _pick_below(folder)
        )  # NIfTI files without a telling name are masks beside the series
    if len(others) == 1:
        return others[0]
    if files:
        raise ExamError(
            f"which of the folder's {len(files)} NIfTI files is the PET in SUV is not clear from their names",
            "Give the path of the file.",
        )
    return None


def _pick_below(folder: Path) -> Path | None:
    """A patient folder of autoPET holds one folder per study: fine if there is one, otherwise each study is an exam."""
    found = []
    for child in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        names = {_stem(f).lower() for f in child.iterdir() if f.is_file() and is_nifti(f)}
        if names & {"suv", "suvbw"} or any(_SUV.search(n) or _PET.search(n) for n in names):
            found.append(_pick(child))
    if len(found) > 1:
        raise ExamError(f"the folder holds {len(found)} studies", "Give each study its own row.")
    return found[0] if found else None


def _may_hold_dicom(folder: Path) -> bool:
    """Folders, and files named the way scanners and archives name slices: no suffix, .dcm, .ima, or digits only."""
    return any(
        f.is_dir() or f.suffix.lower() in ("", ".dcm", ".ima") or f.suffix[1:].isdigit()
        for f in folder.iterdir()
        if not f.name.startswith(".")
    )
