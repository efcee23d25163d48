"""Seeded FDG-PET-like exams in three dimensions, for teaching and for tests.

One exam is a *patient* (patient.py: habitus, pose, organs) painted as activity (body.py, organs.py)
with the *lesions* of one class (disease.py), then scanned (canvas.py): Poisson-like noise and a
resolution of 5 to 7 mm. Only the lesions depend on the class: the same seed gives the same body in
every class. This is no simulation of physics, and nothing here is a patient.

The same seed gives the same voxels for ever; `VERSION` goes up if a volume ever changes.
"""

from petphantom.exam import (
    CLASSES,
    GRID,
    VERSION,
    VOXEL_MM,
    PhantomError,
    checksum,
    grid,
    lesions,
    make,
    morph,
    parse,
    write,
)

__all__ = [
    "CLASSES",
    "GRID",
    "VERSION",
    "VOXEL_MM",
    "PhantomError",
    "checksum",
    "grid",
    "lesions",
    "make",
    "morph",
    "parse",
    "write",
]
