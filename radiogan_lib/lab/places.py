"""Where in the body a pixel of a projection lies, in words, and what the body's outline looks like. Part of `lab.explorer`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BANDS = (
    (0.17, "head"),
    (0.25, "neck"),
    (0.50, "chest"),
    (0.73, "abdomen"),
    (0.95, "pelvis"),
    (9.0, "thighs"),
)
# lowest and highest share of the body's height, then of its half width (the patient's right is negative)
ORGANS = (
    ("heart (chest)", 0.35, 0.50, 0.05, 0.60),
    ("liver (abdomen)", 0.44, 0.60, -0.80, -0.15),
    ("bladder (pelvis)", 0.80, 0.99, -0.30, 0.30),
)


class Runs(NamedTuple):
    """An outline, measured: the trunk's width in pixels (0 if there is none), pixels of raised and of lowered arms."""

    trunk: float
    neck: int | None
    raised: dict[str, int]
    lowered: dict[str, int]


def outline(suv: np.ndarray) -> np.ndarray:
    """The body (h, w) bool: what is above a third of the median of all that is not air."""
    tissue = suv[suv > 0.1]
    if not tissue.size:
        return np.zeros(suv.shape, bool)
    return suv > max(0.1, 0.35 * float(np.median(tissue)))


def extent(suv: np.ndarray) -> tuple[int, int]:
    """First and last row of the body; all rows if there is none. A row with a stray pixel is none of the body's."""
    rows = np.flatnonzero(outline(suv).sum(axis=1) > 0.04 * suv.shape[1])
    return (int(rows[0]), int(rows[-1])) if len(rows) else (0, suv.shape[0] - 1)


def _central(row: np.ndarray, middle: float) -> tuple[int, int] | None:
    """First column and column after the last of the stretch that holds the middle, or lies nearest to it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    if not len(edges):
        return None
    pairs = edges.reshape(-1, 2)
    return tuple(pairs[np.argmin([max(a - middle, middle - b + 1, 0) for a, b in pairs])])


def _below_vertex(wide: dict[int, int], shoulders: float) -> int:
    """The row where a head has stopped growing wider from its vertex; the second row where the exam begins at the neck."""
    first = row = min(wide, default=0)
    while (
        row + 1 in wide
        and wide[row] < shoulders
        and max(wide[row + 1], wide.get(row + 2, 0)) >= wide[row]
    ):
        row += 1
    return row if wide.get(row, 0) < shoulders else first + 1


def runs(body: np.ndarray) -> Runs:
    """Trunk, neck and arms of an outline (h, w), from each row's stretch of body about the middle."""
    height, width = body.shape
    none = Runs(0.0, None, {"right": 0, "left": 0}, {"right": 0, "left": 0})
    rows = np.flatnonzero(body.sum(axis=1) > 0.04 * width)
    if not len(rows):
        return none
    top, bottom = rows[0], rows[-1]
    long = bottom - top + 1
    columns = np.flatnonzero(body[top + long // 2 :].any(axis=0))
    if not len(columns):
        return none
    weight = body[top + long // 3 :].sum(axis=0)
    middle = float(np.average(np.arange(width), weights=weight))
    stretch = {r: _central(body[r], middle) for r in range(top, bottom + 1)}
    wide = {r: s[1] - s[0] for r, s in stretch.items() if s}
    trunk = float(
        np.percentile(
            [w for r, w in wide.items() if top + 0.4 * long <= r <= top + 0.85 * long] or [0], 25
        )
    )
    upper = {r: w for r, w in wide.items() if r <= top + 0.4 * long}
    below = _below_vertex(upper, 0.7 * trunk)
    neck = min((r for r in upper if r >= below), key=lambda r: (upper[r], -r), default=None)
    if neck is None or upper[neck] > 0.7 * trunk:
        neck = None
    raised, lowered = {"right": 0, "left": 0}, {"right": 0, "left": 0}
    for r in range(top, bottom + 1):
        far = np.flatnonzero(body[r])
        if neck is not None and r <= neck + 0.03 * height:
            side, into = 0.3 * trunk, raised
        elif r >= top + 0.45 * long:
            side, into = 0.62 * trunk, lowered
        else:
            continue
        into["right"] += int((far < middle - side).sum())  # the viewer's left
        into["left"] += int((far > middle + side).sum())
    return Runs(trunk, neck, raised, lowered)


def body_box(suv: np.ndarray) -> tuple[int, int, float, float]:
    """First and last row of the body, its middle column and half its width, of a picture in SUV.

    Where a neck is seen, the first row is where the vertex lies or would lie: many exams begin below it.
    """
    body = outline(suv)
    if not body.any():
        return 0, suv.shape[0] - 1, suv.shape[1] / 2, suv.shape[1] / 2
    top, bottom = extent(suv)
    found, cols = runs(body), np.flatnonzero(body.any(axis=0))
    if found.neck is None or not found.trunk:
        return top, bottom, (cols[0] + cols[-1]) / 2, max((cols[-1] - cols[0]) / 2, 1)
    weight = body[found.neck :].sum(axis=0)
    middle = float(np.average(np.arange(suv.shape[1]), weights=weight))
    return round(found.neck - 0.21 * (bottom - found.neck) / 0.79), bottom, middle, found.trunk / 2


def region(row: float, col: float, box) -> str:
    """Roughly where a pixel lies, in words: a share of the body's height and width, not anatomy."""
    height, side = _shares(row, col, box)
    band = next(name for limit, name in BANDS if height <= limit)
    if abs(side) > 0.85 and band not in ("head", "neck"):
        return f"{'patient’s right' if side < 0 else 'patient’s left'} arm or side"
    return band + (
        "" if abs(side) < 0.2 else ", patient’s right" if side < 0 else ", patient’s left"
    )


def place(row: float, col: float, box) -> str:
    """As `region`, but by the organ where one usually lies there: what is hot may still be something else."""
    height, side = _shares(row, col, box)
    for name, first, last, right, left in ORGANS:
        if first <= height <= last and right <= side <= left:
            return name
    return region(row, col, box).replace(", patient’s", " on the patient’s")


def _shares(row: float, col: float, box) -> tuple[float, float]:
    top, bottom, middle, half = box
    return (row - top) / max(bottom - top, 1), (col - middle) / half
