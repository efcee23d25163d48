"""The latent explorer for JupyterLab and Voilà: walk between two (class, seed) points.

All pictures of a walk are made and sent when its ends change; the browser uncovers the one where
the slider stands (templates/walk.html.j2), so nothing is computed or sent while sliding.
`lab.page` is the same without a kernel.
"""

import functools
import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
import jinja2
import numpy as np
from PIL import Image

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import WINDOW, grey, png, readable, uri
from radiogan_lib.lab.latent import FAR, KIND_WORDS, NEARNESS, ExplorerError, Space, unit_word

SEED_MAX = 2**31 - 1
TALL = 400  # pixels on the screen of the large frame
STRIP = 110  # pixels of height of the whole walk


class LatentExplorer(widgets.VBox):
    """Controls, and the pictures and words of a walk, of which one step is shown.

    Args:
        generator: `run.generator`.
        class_names: of its labels, in order.
        train: `MipDataset` of its training exams, for the nearest exam; may be None.
        start, end: (class index, seed).
        steps: frames of the walk.
        kind: slerp, lerp, label or paper.
        window: SUV shown as white and as black.

    Attributes:
        frames: SUV (steps, h, w) of what the slider moves through.
        nearest, distances: (steps,), index of and distance to a frame's nearest training exam.

    Raises:
        ExplorerError: the number of names is not the generator's number of classes.
    """

    def __init__(
        self,
        generator,
        class_names: Sequence[str],
        train=None,
        start=(0, 0),
        end=(1, 1),
        steps: int = 10,
        kind: str = "slerp",
        window=WINDOW,
    ):
        self.space, self.class_names = Space(generator), list(class_names)
        known, given = len(self.space.table), len(self.class_names)
        if given != known:
            fault = f"the generator knows {known} classes, but {given} names were given."
            raise ExplorerError(fault)
        self.train = train if train is not None and len(train) else None
        self.unit = unit_word(getattr(train, "unit", "SUV"))
        self.steps, self.folder = int(steps), paths.home() / "runs" / "explorer"
        self._busy, self._alert = False, False
        rows = self._controls()
        for (c, seed), (choice, number) in zip((start, end), (rows[0][:2], rows[0][2:])):
            choice.value, number.value = min(int(c), known - 1), int(seed)
        self.kind.value, (self.white.value, self.black.value) = kind, window
        self._connect(rows)
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        super().__init__([*(widgets.HBox(r, layout=wrap) for r in rows), self.view, self.caption])
        self.add_class("radiogan-explorer")
        self._guard(self._redraw)()

    def _controls(self) -> list[tuple]:
        """Make the controls; returns them row by row."""

        def named(kind, description, width="190px", **k):
            layout = widgets.Layout(width=width)
            style = {"description_width": "100px"}
            return kind(description=description, layout=layout, style=style, **k)

        choice, number, real = widgets.Dropdown, widgets.BoundedIntText, widgets.BoundedFloatText
        classes = [(readable(c), k) for k, c in enumerate(self.class_names)]
        kinds = [(words, k) for k, words in KIND_WORDS.items()]
        directions = [("none", 0), ("1 (strongest)", 1), *((str(k), k) for k in range(2, 6))]
        last = self.steps - 1
        self.class_a = named(choice, "Class A", "230px", options=classes)
        self.class_b = named(choice, "Class B", "230px", options=classes)
        self.seed_a = named(number, "Seed A", min=0, max=SEED_MAX)
        self.seed_b = named(number, "Seed B", min=0, max=SEED_MAX)
        self.kind = named(choice, "Walk", "290px", options=kinds)
        self.truncation = named(real, "Truncation", value=1.0, min=0, max=1.5, step=0.1)
        self.direction = named(choice, "Direction", options=directions)
        self.amount = named(real, "Amount", value=2.0, min=-3, max=3, step=0.5)
        self.white = named(real, f"White at {self.unit}", min=0, max=100, step=0.5)
        self.black = named(real, f"Black at {self.unit}", min=0, max=100, step=0.5)
        self.save_button = widgets.Button(description="Save picture")
        slider = {"max": last, "continuous_update": False, "readout": False}
        self.step = widgets.IntSlider(description="Step", **slider)
        self.number = named(number, "Step number", "170px", min=1, max=self.steps, value=1)
        self.play = widgets.Play(max=last, interval=400, repeat=True, tooltip="Play the walk")
        self.view, self.caption = widgets.HTML(), widgets.HTML()
        return [
            (self.class_a, self.seed_a, self.class_b, self.seed_b),
            (self.kind, self.truncation, self.direction, self.amount),
            (self.white, self.black, self.save_button),
            (self.play, self.step, self.number),
        ]

    def _connect(self, rows) -> None:
        for control in (*rows[0], *rows[1]):
            control.observe(self._guard(self._redraw), "value")
        for control in (self.white, self.black):
            control.observe(self._guard(self._repaint), "value")
        self.step.observe(self._guard(self._stepped), "value")
        jump = self._guard(lambda: setattr(self.step, "value", self.number.value - 1))
        self.number.observe(jump, "value")
        # one way: a player that followed every slide would push a fast hand back
        widgets.jsdlink((self.play, "value"), (self.step, "value"))
        self.play.observe(self._guard(self._take_up), "playing")
        self.save_button.on_click(self._guard(self.save))

    @property
    def window(self) -> tuple[float, float]:
        """SUV shown as white and as black."""
        return self.white.value, self.black.value

    # What is computed when a control moves

    def _redraw(self) -> None:
        """Draw the walk between the present ends; the step stays where it is."""
        start = self.class_a.value, self.seed_a.value
        end = self.class_b.value, self.seed_b.value
        walk = self.steps, self.kind.value, self.truncation.value
        self.z, self.e = self.space.path(start, end, *walk)
        if number := self.direction.value:
            found = self.space.directions(start[0])
            if len(found) < number:
                raise ExplorerError(f"this generator answers to {len(found)} directions of z.")
            self.z = self.z + np.float32(self.amount.value) * found[number - 1]
        self.frames = self.space.draw(self.z, self.e)
        self.nearest = self.distances = None
        if self.train is not None:
            self.nearest, self.distances = self._neighbours()
        self._repaint()

    def _neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Index and distance of each frame's nearest training exam; the exams are pooled once."""
        from radiogan_lib.evaluation.features import common_shape, nearest_k, pooled

        if not hasattr(self, "_bank"):
            self._shape = common_shape(self.frames.shape[1:], self.train.suv.shape[1:])
            self._bank = pooled(self.train.suv, self._shape)
            # the second nearest: the nearest is the exam itself
            within = nearest_k(self._bank[:200], self._bank, 2)[0][:, -1]
            self._usual = max(float(np.median(within)), 1e-9)
        distances, indices = nearest_k(pooled(self.frames, self._shape), self._bank)
        return indices[:, 0], distances[:, 0]

    def _repaint(self) -> None:
        """Send the walk as it now is: pictures and words of every step in one message."""
        if self.white.value >= self.black.value:
            raise ExplorerError("the window is empty: “Black at” must be above “White at”.")
        greys = [grey(frame, self.window) for frame in self.frames]
        steps = [{"words": self.describe(k), "frame": _framed(g)} for k, g in enumerate(greys)]
        if self.nearest is not None:
            exams = {i: _framed(grey(self.train.suv[i], self.window)) for i in set(self.nearest)}
            for step, i, distance in zip(steps, self.nearest, self.distances, strict=True):
                step.update(near=exams[i], distance=distance)
        rows, cols = greys[0].shape
        size = {"height": TALL, "width": round(TALL * cols / rows)}
        self.view.value = _template().render(steps=steps, strip=_strip(greys), **size)
        self._say(self.describe(self.step.value))

    def describe(self, k: int) -> str:
        """What the picture shows at step `k`, in words."""
        kind = self.kind.value
        a, b = (readable(self.class_names[c.value]) for c in (self.class_a, self.class_b))
        if kind == "paper":
            who = f"{a}, z = [{k + 1}, 0, …, 0], step {k + 1} of {self.steps}"
        else:
            seeds = f"seeds {self.seed_a.value} and {self.seed_b.value}"
            seeds = f"seed {self.seed_a.value}" if kind == "label" else seeds
            who = f"{a} → {b}, step {k + 1} of {self.steps}, {seeds}"
        text = f"Generated: {who} ({KIND_WORDS[kind]})."
        text += f" Highest {self.unit} {self.frames[k].max():.1f}."
        if self.direction.value:
            text += f" Moved {self.amount.value:.1f} along direction {self.direction.value}."
        if self.nearest is not None:
            exam, distance = int(self.nearest[k]), self.distances[k]
            name = readable(self.train.class_names[int(self.train.labels[exam])])
            ratio = distance / self._usual
            words = next((words for limit, words in NEARNESS if ratio < limit), FAR)
            text += f" Nearest training exam: number {exam + 1} ({name}),"
            text += f" distance {distance:.2f}: {words}."
        return text

    def save(self) -> Path:
        """Write the present frame as PNG below runs/explorer, with its words; returns the path."""
        k = self.step.value
        words = self.describe(k)
        ends = (self.class_a, self.seed_a), (self.class_b, self.seed_b)
        name = "_".join(f"{self.class_names[c.value]}-{s.value}" for c, s in ends)
        name = f"{name}_step{k + 1:02d}.png"
        path = self.folder / "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        picture = Image.fromarray(grey(self.frames[k], self.window))
        scale = -(-TALL // picture.height)
        picture = picture.resize((scale * picture.width, scale * picture.height), 0)
        with paths.atomic(path) as temporary:
            note = f"{words} Generated image, no real patient. Not for clinical use."
            temporary.write_bytes(png(picture, note))
        self._say(f"Saved {paths.shown(path)}. {words}")
        return path

    # What happens on every step: the browser has already shown it

    def _stepped(self) -> None:
        """Words for screen readers, and the number box, follow the slider."""
        self._quietly(self.number, self.step.value + 1)
        if not self._alert:  # a fault stays until it is mended
            self._say(self.describe(self.step.value))

    def _take_up(self) -> None:
        """Play starts where the slider stands."""
        if self.play.playing:
            self._quietly(self.play, self.step.value)

    def _quietly(self, control, value) -> None:
        """Set a control without an answer to it."""
        self._busy = True
        try:
            control.value = value
        finally:
            self._busy = False

    def _guard(self, act):
        """A callback that shows a fault in the caption: JupyterLab would hide it in a log."""

        def safely(*_):
            if self._busy:
                return
            try:
                act()
            except RadioganError as e:
                self._say(str(e), alert=True)
            except Exception as e:  # noqa: BLE001 - a widget has nowhere else to put it
                self._say(f"{type(e).__name__}: {e}", alert=True)

        return safely

    def _say(self, text: str, alert: bool = False) -> None:
        """Text that screen readers announce; only a fault is shown, each step shows its own."""
        self._alert = alert
        role, look = ("alert", "note") if alert else ("status", "unseen")
        bold = "<b>Not possible:</b> " if alert else ""
        block = f'<div role="{role}" aria-live="polite" class="radiogan-{look}">'
        self.caption.value = f"{block}{bold}{html.escape(text)}</div>"


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    return environment.get_template("walk.html.j2")


def _framed(picture: np.ndarray) -> str:
    """A grey picture for an <img>; one larger than the screen shows is averaged down."""
    image = Image.fromarray(picture)
    if image.height > TALL:
        image = image.resize((round(image.width * TALL / image.height), TALL), Image.Resampling.BOX)
    return uri(image)


def _strip(greys: list[np.ndarray]) -> str:
    """All frames side by side; a long walk is drawn smaller, so that the strip keeps its width."""
    height = max(36, min(STRIP, STRIP * 12 // max(len(greys), 12)))
    width = max(1, round(greys[0].shape[1] * height / greys[0].shape[0]))
    small = [np.asarray(Image.fromarray(g).resize((width, height))) for g in greys]
    apart = [np.pad(s, ((0, 0), (0, 3)), constant_values=255) for s in small]
    return uri(np.concatenate(apart, axis=1)[:, :-3])


explorer = LatentExplorer
