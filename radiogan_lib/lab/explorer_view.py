"""All frames of a walk as one piece of HTML, of which the browser itself shows the one where the slider stands.

A picture sent by the kernel for every step arrives a tenth of a second late, or more when keys are pressed fast. Here all
frames, words and marks are sent once per walk, stacked on one another, and a style rule uncovers one: a slider tells
assistive technology its value (`aria-valuenow`), and CSS can select by it (`:has`, in browsers since 2023). Nothing is
computed or sent while sliding. Part of `lab.explorer`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import numpy as np

from radiogan_lib.lab import render

TALL = 400  # pixels on the screen of the large frame

STYLE = """<style>
.radiogan-stack{display:grid}.radiogan-stack>*{grid-area:1/1;visibility:hidden}
.radiogan-pictures{display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start}
.radiogan-pictures>div{flex:1 1 180px;max-width:340px;line-height:1.5}.radiogan-pictures figure{margin:0;position:relative}.radiogan-pictures figcaption{font-size:13px;line-height:20px}
.radiogan-pictures figure img,.radiogan-strip img{display:block;image-rendering:pixelated;max-width:none;background:#fff;outline:1px solid #ccc}
.radiogan-probe{position:absolute;width:19px;height:19px;transform:translate(-50%,-50%);
background:linear-gradient(#000,#000) 50%/1px 100% no-repeat,linear-gradient(#000,#000) 50%/100% 1px no-repeat,
linear-gradient(#fff,#fff) 50%/3px 100% no-repeat,linear-gradient(#fff,#fff) 50%/100% 3px no-repeat}
.radiogan-strip{margin:12px 0 4px}.radiogan-mark{height:5px;background:#000;margin-top:3px}
.radiogan-caption{line-height:1.4}.radiogan-unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
"""


def view(
    frames: np.ndarray,
    neighbours: Sequence[np.ndarray | None],
    captions: Sequence[str],
    asides: Sequence[str],
    distances: Sequence[float] | None = None,
    window=(0.0, 7.0),
    probe=None,
) -> str:
    """HTML of a walk: large frame, nearest exam, words and strip, of which one step is seen at a time.

    Args:
        frames: SUV (steps, h, w).
        neighbours: per step the SUV (h, w) of the nearest training exam, or None.
        captions: per step, what is shown, in words (text, not HTML).
        asides: per step, HTML to stand beside the pictures.
        distances: per step, to the nearest exam.
        window: SUV shown as white and as black.
        probe: (row, column) as shares of the picture, 0 to 1, marked by a cross; or None.
    """
    known: dict[int, str] = {}  # the same exam is nearest to many frames
    steps = []
    for k, (frame, near) in enumerate(zip(frames, neighbours, strict=True)):
        pictures = figure(
            picture(frame, window, TALL),
            f"generated, step {k + 1}",
            captions[k],
            probe,
            ' class="radiogan-frame"',
        )
        if near is not None:
            if id(near) not in known:
                known[id(near)] = picture(near, window, TALL)
            pictures += figure(
                known[id(near)],
                f"nearest training exam, distance {distances[k]:.2f}",
                "Nearest training exam",
                probe,
            )
        steps.append(
            f'<div class="radiogan-step-{k}"><div class="radiogan-pictures">{pictures}<div>{asides[k]}</div></div>'
            f'<div class="radiogan-caption">{html.escape(captions[k])}</div></div>'
        )
    marks = "".join(
        f'<div class="radiogan-step-{k} radiogan-mark" style="margin-left:{100 * k / len(frames):.3f}%;'
        f'width:{100 / len(frames) - 0.5:.3f}%"></div>'
        for k in range(len(frames))
    )
    strip = data_uri(render.png(render.strip(frames, window)))
    return (
        f'{STYLE}{uncover(len(frames))}</style><div class="radiogan-stack">{"".join(steps)}</div>'
        f'<div class="radiogan-strip" style="display:inline-block"><img alt="The whole walk, {len(frames)} frames" src="{strip}">'
        f'<div class="radiogan-stack">{marks}</div></div>'
    )


def uncover(steps: int) -> str:
    """Style rules that show what belongs to the slider's step; sliders write their value as “3” or “3.0”."""
    return "".join(
        f'.radiogan-explorer:has([role=slider]:is([aria-valuenow="{k}"],[aria-valuenow="{k}.0"])) .radiogan-step-{k}'
        "{visibility:visible}\n"
        for k in range(steps)
    )


def figure(image: str, title: str, description: str, probe=None, extra: str = "") -> str:
    """One titled picture; `image` holds its `src`, width and height."""
    cross = (
        ""
        if probe is None
        else f'<div class="radiogan-probe" style="top:calc(20px + {probe[0]} * (100% - 20px));left:{100 * probe[1]:g}%"></div>'
    )
    return (
        f"<figure{extra}><figcaption>{html.escape(title)}</figcaption>"
        f'<img {image} decoding="sync" alt="{html.escape(description)}">{cross}</figure>'
    )


def picture(suv: np.ndarray, window, tall: int) -> str:
    """Attributes of an <img>: the SUV picture (h, w) as it is, enlarged by the browser; larger ones are averaged down first."""
    grey = render.grey(suv, window)
    small = render.resized(grey, min(tall, grey.shape[0]))
    return f'src="{data_uri(render.png(small))}" width="{round(tall * suv.shape[1] / suv.shape[0])}" height="{tall}"'


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
