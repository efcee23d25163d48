"""From SUV to the explorer's one picture, as PNG bytes: large frame, nearest exam, strip. No widget, no matplotlib.

A new matplotlib figure costs some ten times what Pillow needs, and a slider must answer at once.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

LARGE, STRIP, GAP, HEAD = 400, 110, 12, 22  # pixels


@lru_cache(maxsize=4)
def _font(size: int):
    return ImageFont.load_default(size)


def grey(suv: np.ndarray, window=(0.0, 7.0)) -> np.ndarray:
    """SUV (h, w) to uint8 grey, dark = high uptake: white at the window's lower end, black at its upper end."""
    low, high = float(window[0]), float(window[1])
    scaled = (np.asarray(suv, np.float32) - low) / max(high - low, 1e-6)
    return (255 - 255 * np.clip(np.nan_to_num(scaled), 0, 1) + 0.5).astype(np.uint8)


def resized(picture: np.ndarray, height: int) -> Image.Image:
    """uint8 (h, w) to a Pillow image of that height: enlarged by whole pixels first, so that pixels stay honest."""
    im = Image.fromarray(picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    if height > picture.shape[0]:
        return im.resize((width, height), Image.Resampling.NEAREST)
    return im.resize((width, height), Image.Resampling.BOX)


def png(im: Image.Image, recipe: str = "") -> bytes:
    """PNG bytes; `recipe` is kept inside the file as text."""
    info = PngImagePlugin.PngInfo()
    if recipe:
        info.add_itxt("radiogan_recipe", recipe)
    buffer = io.BytesIO()
    im.save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


def strip(frames: np.ndarray, window=(0.0, 7.0), height: int = STRIP, gap: int = 3) -> Image.Image:
    """All frames side by side; a long walk is drawn smaller, so that the strip keeps its width."""
    height = max(36, min(height, round(height * 12 / max(len(frames), 12))))
    cells = [resized(grey(f, window), height) for f in frames]
    out = Image.new("L", (sum(c.width + gap for c in cells) - gap, height), 255)
    x = 0
    for c in cells:
        out.paste(c, (x, 0))
        x += c.width + gap
    return out


def panel(frame, neighbour, strip_image: Image.Image, step: int, steps: int, window=(0.0, 7.0), words=("generated", ""),
          probe=None, height: int = LARGE) -> Image.Image:
    """The explorer's picture: the large frame, beside it the nearest exam, below the strip with the step marked.

    Args:
        frame: SUV, (h, w).
        neighbour: SUV, (h, w) of the nearest training exam, or None.
        strip_image: from `strip`.
        step, steps: which frame of the strip is the large one.
        words: what to write above the two pictures.
        probe: (row, column) as shares of the picture, 0 to 1, marked by a cross; or None.
    """
    pictures = [resized(grey(p, window), height) for p in (frame, neighbour) if p is not None]
    width = max(sum(p.width for p in pictures) + GAP * (len(pictures) + 1), strip_image.width + 2 * GAP)
    out = Image.new("L", (width, HEAD + height + GAP + strip_image.height + 10), 255)
    pen = ImageDraw.Draw(out)
    x = (width - sum(p.width for p in pictures) - GAP * (len(pictures) - 1)) // 2
    for p, text in zip(pictures, words, strict=False):
        out.paste(p, (x, HEAD))
        pen.text((x, 3), text, fill=40, font=_font(13))
        pen.rectangle((x - 1, HEAD - 1, x + p.width, HEAD + height), outline=200)
        if probe is not None:
            cy, cx = HEAD + probe[0] * (height - 1), x + probe[1] * (p.width - 1)
            for shade, thick in ((255, 3), (0, 1)):  # a black line with a white edge is seen on any grey
                pen.line((cx - 9, cy, cx + 9, cy), fill=shade, width=thick)
                pen.line((cx, cy - 9, cx, cy + 9), fill=shade, width=thick)
        x += p.width + GAP
    top, left = HEAD + height + GAP, (width - strip_image.width) // 2
    out.paste(strip_image, (left, top))
    cell = strip_image.width / max(steps, 1)
    pen.rectangle((left + step * cell, top + strip_image.height + 3, left + (step + 1) * cell - 4, top + strip_image.height + 8), fill=0)
    return out
