"""Contact sheets for the report page, as PNG bytes: mosaics of images, nothing else."""

from __future__ import annotations

import io

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.features import area_average, common, pooled_shape

GAP = 3  # pixels between images


def window_of(images: np.ndarray) -> tuple[float, float]:
    """Intensities shown as the two ends of grey: 0 (or the 1st percentile, if negative) to the 99th percentile."""
    low, high = np.quantile(images[:: max(1, len(images) // 200)], [0.01, 0.99])
    return min(0.0, float(low)), max(float(high), float(low) + 1e-6)


def mosaic(
    rows: list[np.ndarray], window: tuple[float, float], invert: bool = True, side: int = 160
) -> bytes:
    """Rows of images (k, h, w), possibly of different sizes, as one PNG; all are brought to one height."""
    h, w = rows[0].shape[1:]
    scale = max(1, side // h) if h < side else None
    shape = (h * scale, w * scale) if scale else pooled_shape((h, w), side)
    tall, wide = shape
    columns = max(len(r) for r in rows)
    sheet = np.full((len(rows) * (tall + GAP) - GAP, columns * (wide + GAP) - GAP), 255, np.uint8)
    for r, row in enumerate(rows):
        grey = np.clip((area_average(row, shape) - window[0]) / (window[1] - window[0]), 0, 1)
        grey = np.uint8(np.rint(255 * (1 - grey if invert else grey)))
        for c, image in enumerate(grey):
            y, x = r * (tall + GAP), c * (wide + GAP)
            sheet[y : y + tall, x : x + wide] = image
    return _png(sheet)


def _png(sheet: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "PNG", optimize=True)
    return out.getvalue()


def pictures(
    images, labels, class_names, memorization: dict, invert: bool = True
) -> dict[str, bytes]:
    """The report's sheets: real beside generated, the nearest-exam audit, and the images most like a blend."""
    train, holdout, generated = images
    window = window_of(train)
    sheets = {}
    if labels[0] is None:
        sheets["samples"] = mosaic([holdout[:8], generated[:8]], window, invert)
    else:
        rows = []
        for c in np.unique(labels[2]):
            rows.append(
                np.concatenate(
                    [
                        x[y == c][:4]
                        if x.shape[1:] == generated.shape[1:]
                        else area_average(x[y == c][:4], generated.shape[1:])
                        for x, y in ((holdout, labels[1]), (generated, labels[2]))
                    ]
                )
            )
        sheets["samples"] = mosaic(rows, window, invert)
    worst = [
        a["generated"] for a in memorization.get("audit", []) if a["generated"] < len(generated)
    ]
    if worst:
        t, p, q = common(train, holdout, generated[worst])
        near = [distances.nearest_k(q, bank)[1][:, 0] for bank in (t, p)]
        sheets["audit"] = mosaic(
            [generated[worst], train[near[0]], holdout[near[1]]], window, invert
        )
    blends = [b for b in memorization.get("blend_examples", []) if b["generated"] < len(generated)]
    if blends:
        first, second = ([b[k] for b in blends] for k in ("first", "second"))
        sheets["blends"] = mosaic(
            [generated[[b["generated"] for b in blends]], train[first], train[second]],
            window,
            invert,
        )
    return sheets
