"""From SUV to the explorer's pictures, as PNG bytes: grey frames, and the strip of a whole walk. No widget, no matplotlib.

A new matplotlib figure costs some ten times what Pillow needs, and a slider must answer at once.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, PngImagePlugin

STRIP = 110  # pixels of height


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
