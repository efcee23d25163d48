"""The refusal of an exam, and the note about one that was read.

Neither carries a name, a date, an identifier or a path of the source: both end up in logs and in
rejects.csv. Tags are named, free text from a header is not repeated.
"""

import warnings
from collections.abc import Sequence

_LEAVE = "Leave this exam out, or export it again from its source."


class ExamError(ValueError):
    """An exam that cannot be trusted.

    Attributes:
        reason: what is wrong, with the DICOM tag or NIfTI header field.
        remedy: what to do next.
        no_pet, projection: the folder holds no DICOM PET at all, or captures instead of slices.
    """

    def __init__(self, reason: str, remedy: str = _LEAVE, *, no_pet=False, projection=False):
        self.reason, self.remedy = reason.strip().rstrip("."), remedy.strip()
        self.no_pet, self.projection = no_pet, projection
        super().__init__(self.reason, self.remedy)  # both, so that it travels between processes

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


class ExamNote(UserWarning):
    """About an exam that was read: a choice made, or a value put right."""


def tell(notes: Sequence[str]) -> None:
    """Every note as a warning."""
    for note in notes:
        warnings.warn(note, ExamNote, stacklevel=4)
