"""A turning MIP for a notebook: one animated PNG, which JupyterLab, a browser and GitHub's view of a notebook all play.

Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from radiogan_lib.lab import render
from radiogan_lib.lab.figures import WINDOW

GREYS = 16  # levels: enough for a small moving picture, and a third of the bytes of 256


@dataclass(frozen=True)
class Turning:
    """A picture that turns. A notebook shows it by itself.

    Attributes:
        png: bytes of an animated PNG; a program that knows no animation shows its first frame, the view from the front.
        views: how many frames a turn has.
        words: what is seen, for where no picture is.
    """

    png: bytes
    views: int
    words: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self.words, "image/png": base64.b64encode(self.png).decode()}


def rotating_mip(
    image,
    n_angles: int = 24,
    height: int = 180,
    window: Sequence[float] = WINDOW,
    turn_seconds: float = 4.0,
) -> Turning:
    """One exam's MIP, turning about the body's long axis.

    Args:
        image: nibabel image, SUV.
        n_angles: views per turn.
        height: pixels of the picture.
        window: SUV shown as white and as black.
        turn_seconds: how long a turn takes.
    """
    from radiogan_lib.data import rotating_mips

    views = rotating_mips(image, n_angles, spacing_mm=4.0)
    seen = np.flatnonzero((views > 0.1).any(axis=(0, 1)))  # no white margins beside the widest view
    if len(seen):
        views = views[:, :, seen[0] : seen[-1] + 1]
    step = 255 / (GREYS - 1)
    pictures = []
    for view in views:
        small = np.asarray(render.resized(render.grey(view, window), height), np.float32)
        pictures.append(Image.fromarray((np.round(small / step) * step).astype(np.uint8)))
    packed = io.BytesIO()
    # blend 0: each frame replaces the one before, wholly
    pictures[0].save(
        packed,
        "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=1000 * turn_seconds / n_angles,
        loop=0,
        blend=0,
        optimize=True,
    )
    return Turning(
        packed.getvalue(),
        n_angles,
        f"A MIP that turns about the body's long axis: {n_angles} views, the first from the front.",
    )
