"""What a reader sees to differ between two pictures of a body, in words.

Every word is measured: the body's outline, its place in the picture, its arms, its hot places and its whole uptake are
compared between a low and a high picture. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.lab.places import body_box, outline, place, runs


def what_changes(low: np.ndarray, high: np.ndarray, words: int = 2) -> str:
    """What a reader sees from `low` to `high`, both SUV (h, w): the `words` most striking of all that is measured.

    An organ's name says where something lies, not what it is: a lesion beside the heart is told as the heart.
    """
    low, high = (np.maximum(np.nan_to_num(np.asarray(p, np.float32)), 0) for p in (low, high))
    rows = shift(low, high)
    head, margin = (0, round(0.13 * low.shape[0])) if rows else (_head(low, high), 0)
    seen = [
        *_place_in_picture(low, high, rows),
        *_width(low, high),
        *_arms(low, high),
        *_everywhere(low, high),
        *_spots(*aligned(low, high, rows), head=head, margin=margin),
    ]
    striking = sorted((s for s in seen if s[0] >= 1), key=lambda s: -s[0])[:words]
    if striking:
        return ", ".join(text for _, text in striking)
    change = high - low
    row, col = np.unravel_index(int(np.abs(change).argmax()), change.shape)
    return f"slightly {'more' if change[row, col] > 0 else 'less'} at the {place(row, col, body_box((low + high) / 2))}"


def shift(low: np.ndarray, high: np.ndarray) -> int:
    """By how many rows the whole body lies lower in `high`: 0 unless its upper and its lower half tell the same."""
    height = low.shape[0]
    reach = height // 5
    small, large = np.sqrt(np.minimum(low, 6)), np.sqrt(np.minimum(high, 6))

    def misfit(d: int, part: slice) -> float:
        rows = np.arange(height)[part]
        rows = rows[(rows + d >= 0) & (rows + d < height)]
        return (
            float(((large[rows + d] - small[rows]) ** 2).mean())
            if len(rows) > height // 5
            else np.inf
        )

    halves = (slice(0, height // 2), slice(height // 2, height))
    best = [
        min(range(-reach, reach + 1), key=lambda d: (misfit(d, part), abs(d))) for part in halves
    ]
    whole = min(range(-reach, reach + 1), key=lambda d: (misfit(d, slice(None)), abs(d)))
    return (
        whole
        if all(b * whole > 0 and abs(b - whole) <= max(2, abs(whole) // 2) for b in best)
        else 0
    )


def aligned(low: np.ndarray, high: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures, cut to the rows that they share after `high` has been moved up by `rows`."""
    height = low.shape[0]
    return (
        (low[: height - rows], high[rows:]) if rows >= 0 else (low[-rows:], high[: height + rows])
    )


# -- observations: (how striking, words); 1 is what a reader would just notice -----------------------------------------


def _place_in_picture(low, high, rows):
    if rows:
        yield (
            abs(rows) / (0.012 * low.shape[0]),
            f"body {'lower' if rows > 0 else 'higher'} in the picture",
        )


def _width(low, high):
    before, after = (runs(outline(p)).trunk for p in (low, high))
    if before and after:
        yield (
            abs(np.log(after / before)) / np.log(1.08),
            "wider body" if after > before else "narrower body",
        )


def _arms(low, high):
    """Raised arms are seen beside the head, lowered ones beside the trunk; each side is looked at by itself."""
    before, after = runs(outline(low)), runs(outline(high))
    size = 0.009 * low.size  # pixels: about a quarter of an arm
    told = {}
    for side in ("right", "left"):
        up = (after.raised[side] - before.raised[side]) / size
        down = (after.lowered[side] - before.lowered[side]) / size
        if max(abs(up), abs(down)) < 1:
            continue
        if up > 0 and up >= abs(down) or down < -abs(up) and up > 0.5:
            word = "raised"
        elif down > 0 and down >= abs(up) or up < -abs(down) and down > 0.5:
            word = "lowered"
        else:
            word = "out of view"
        told[side] = (abs(up) + abs(down), word)
    if len(told) == 2 and told["left"][1] == told["right"][1]:
        yield sum(v for v, _ in told.values()), f"arms {told['left'][1]}"
    else:
        for side, (value, word) in told.items():
            yield value, f"patient’s {side} arm {word}"


def _everywhere(low, high):
    """Soft tissue as a whole: the median inside the body, which no hot organ moves."""
    before, after = (
        float(np.median(p[outline(p)])) if outline(p).any() else 0.0 for p in (low, high)
    )
    if before > 0 and after > 0:
        yield (
            abs(np.log(after / before)) / np.log(1.25),
            f"{'more' if after > before else 'less'} uptake in all tissue",
        )


def _head(low, high):
    """Rows by which the head lies lower in `high`, 0 unless moving it explains most of what changes there."""
    height, width = low.shape
    rows, middle = np.arange(round(0.22 * height)), slice(round(0.3 * width), round(0.7 * width))
    a, b = (np.sqrt(np.minimum(p[:, middle], 9)) for p in (low, high))

    def misfit(d: int) -> float:
        here = rows[(rows + d >= 0)]
        return (
            float(((b[here + d] - a[here]) ** 2).mean()) if len(here) > len(rows) // 2 else np.inf
        )

    best = min(range(-len(rows) // 2, len(rows) // 2 + 1), key=lambda d: (misfit(d), abs(d)))
    return best if abs(best) >= 0.02 * height and misfit(best) < 0.5 * misfit(0) else 0


def _spots(low, high, head: int, margin: int):
    """The strongest gains and losses of uptake inside the body; a gain beside a loss of its size is one spot that moved.

    Args:
        head: rows by which the head has moved: what changes there is told by that.
        margin: rows at the bottom that are left out, because what is there has left the other picture.
    """
    from scipy import ndimage

    if head:
        yield abs(head) / (0.025 * low.shape[0]), f"head {'lower' if head > 0 else 'higher'}"
    blur = max(low.shape) / 60
    a, b = (ndimage.gaussian_filter(np.sqrt(p), blur) for p in (low, high))
    inside = ndimage.binary_erosion(outline(low) & outline(high), iterations=max(1, round(blur)))
    change, box = np.where(inside, b - a, 0), body_box((low + high) / 2)
    change[low.shape[0] - margin :] = 0
    if head:
        change[: max(0, round(box[0] + 0.25 * (box[1] - box[0])))] = 0
    y, x = np.indices(low.shape)
    near, notice = 0.13 * low.shape[0], 0.35  # 0.35 in the root of SUV: from SUV 2 to 3.1

    def far_from(at):
        return np.hypot(y - at[0], x - at[1]) > near

    for _ in range(3):
        at = np.unravel_index(int(np.abs(change).argmax()), change.shape)
        size = float(change[at])
        if abs(size) < notice:
            return
        around = np.where(far_from(at), 0, -np.sign(size) * change)
        other = np.unravel_index(int(around.argmax()), change.shape)
        if around[other] > 0.45 * abs(size):
            start, end = (other, at) if size > 0 else (at, other)
            down, right = int(end[0]) - int(start[0]), int(end[1]) - int(start[1])
            across = f"further to the patient’s {'left' if right > 0 else 'right'}"
            way = ("lower" if down > 0 else "higher") if abs(down) >= abs(right) else across
            yield abs(size) / notice, f"{spot(place(*start, box))} {way}"
            change = np.where(far_from(other), change, 0)
        else:
            cold, hot = (a, b) if size > 0 else (b, a)
            around = np.where(far_from(at), 0, hot)
            as_hot = (
                around.max() < 1.12 * np.where(far_from(at), 0, cold).max()
            )  # no hotter than before, and yet a change: its size
            word = (
                ("larger " if size > 0 else "smaller ")
                if as_hot
                else ("hotter " if size > 0 else "cooler ")
            )
            if as_hot:  # it grew at its rim; it lies at its middle
                middle = np.argwhere(around > 0.7 * around.max()).mean(axis=0)
                change, at = np.where(far_from(at), change, 0), (middle[0], middle[1])
            name = place(*at, box)
            yield abs(size) / notice, word + (spot(name) if as_hot else name)
        change = np.where(far_from(at), change, 0)


def spot(name: str) -> str:
    """An organ goes by its name, a region holds a hot spot."""
    return name if "(" in name else f"hot spot in the {name}"
