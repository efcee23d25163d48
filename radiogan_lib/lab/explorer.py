"""The latent explorer: walk between two (class, seed) points by hand, and see at every step the nearest training exam.

All pictures of a walk are made when its ends change; moving along it only picks one, so nothing is computed while
sliding and one `<img>` is redrawn in place. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from radiogan_lib.config import RadioganError
from radiogan_lib.lab import render, saved
from radiogan_lib.lab.figures import WINDOW, readable
from radiogan_lib.lab.latent import ExplorerError, Space, body_box, evidence, region

KIND_WORDS = {"slerp": "slerp: on the sphere", "lerp": "lerp: straight line", "label": "label only", "paper": "paper: z = [k, 0, …, 0]"}
AMOUNTS = np.linspace(-3, 3, 13)
SEED_MAX = 2**31 - 1
# -1 and not None: ipywidgets takes None for “nothing chosen”, and may then choose nothing of the next options either
NO_DIRECTION = [("(choose “edit this frame”)", -1)]


class LatentExplorer(widgets.VBox):
    """Controls, one picture, one caption. Use `lab.explorer(…)`.

    Attributes:
        frames: SUV (steps, h, w) of what the slider moves through.
        nearest: indices (steps,) into the training exams, or None.
        recipe: what `save` writes and `restore` reads: everything needed to draw the present frame again.
    """

    def __init__(self, generator, class_names: Sequence[str], train=None, classifier=None, start=(0, 0), end=(1, 1),
                 steps: int = 10, kind: str = "slerp", window=WINDOW, folder=None):
        self.space = Space(generator)
        self.class_names = list(class_names)
        if len(self.class_names) != len(self.space.table):
            raise ExplorerError(f"the generator knows {len(self.space.table)} classes, but {len(self.class_names)} names were given.")
        self.train = train if train is not None and len(train) else None
        self.steps, self.folder = int(steps), saved.folder() if folder is None else folder
        self.judge = classifier.probabilities if hasattr(classifier, "probabilities") else classifier
        if self.judge is None and self.train is not None and list(self.train.class_names) == self.class_names:
            self.judge = evidence(self.train)
        self._busy, self._later = False, None
        self._pictures: dict[tuple, bytes] = {}
        self._controls(start, end, kind, window)
        super().__init__([
            widgets.HBox([self.class_a, self.seed_a, self.class_b, self.seed_b], layout=_wrap()),
            widgets.HBox([self.kind, self.truncation, self.low, self.high], layout=_wrap()),
            widgets.HBox([self.play, self.step, self.number], layout=_wrap()),
            widgets.HBox([self.image, self.bars], layout=_wrap()),
            self.caption, self.measures,
            widgets.HBox([self.mode, self.direction, self.probe_row, self.probe_col], layout=_wrap()),
            widgets.HBox([self.save_png, self.save_nifti, self.saved_files, self.restore_button], layout=_wrap()),
        ])
        self.add_class("radiogan-explorer")
        self._guard(self._rewalk)()

    # -- controls ---------------------------------------------------------------------------------------------------

    def _controls(self, start, end, kind, window) -> None:
        def box(kind_of, **k):
            wide = k.pop("wide", "190px")
            return kind_of(style={"description_width": "100px"}, layout=widgets.Layout(width=wide), **k)

        classes = [(readable(c), k) for k, c in enumerate(self.class_names)]
        number, real = widgets.BoundedIntText, widgets.BoundedFloatText
        self.class_a = box(widgets.Dropdown, options=classes, value=int(start[0]), description="Class A", wide="230px")
        self.class_b = box(widgets.Dropdown, options=classes, value=int(end[0]), description="Class B", wide="230px")
        self.seed_a = box(number, value=int(start[1]), min=0, max=SEED_MAX, description="Seed A")
        self.seed_b = box(number, value=int(end[1]), min=0, max=SEED_MAX, description="Seed B")
        self.kind = box(widgets.Dropdown, options=[(w, k) for k, w in KIND_WORDS.items()], value=kind, description="Walk", wide="290px")
        self.truncation = box(real, value=1.0, min=0.1, max=2.0, step=0.1, description="Truncation")
        self.low = box(real, value=window[0], min=0, max=100, step=0.5, description="White at SUV")
        self.high = box(real, value=window[1], min=0.1, max=100, step=0.5, description="Black at SUV")
        self.step = widgets.IntSlider(value=0, min=0, max=self.steps - 1, description="Step", continuous_update=True, readout=False,
                                      tooltip="Step of the walk; the arrow keys move it", layout=widgets.Layout(width="300px"))
        self.number = box(number, value=1, min=1, max=self.steps, description="Step number", wide="170px")
        self.play = widgets.Play(value=0, min=0, max=self.steps - 1, interval=400, repeat=True, tooltip="Play the walk")
        self.mode = box(widgets.Dropdown, options=[("walk from A to B", "walk"), ("edit this frame", "edit")], value="walk",
                        description="Slider moves", wide="270px")
        self.direction = box(widgets.Dropdown, options=NO_DIRECTION, description="Direction", wide="420px")
        self.probe_row = box(number, value=0, min=0, max=100, description="Probe down %", wide="190px")
        self.probe_col = box(number, value=0, min=0, max=100, description="Probe right %", wide="190px")
        self.save_png = widgets.Button(description="Save PNG", tooltip="Save this frame as a picture with its recipe")
        self.save_nifti = widgets.Button(description="Save NIfTI", tooltip="Save this frame's SUV as NIfTI with its recipe")
        self.saved_files = box(widgets.Dropdown, options=saved.files(self.folder), description="Saved frames", wide="420px")
        self.restore_button = widgets.Button(description="Restore", tooltip="Set all controls to those of the saved frame")
        self.image = widgets.Image(format="png")
        self.caption, self.measures, self.bars = (widgets.HTML() for _ in range(3))
        widgets.jsdlink((self.play, "value"), (self.step, "value"))  # one way: a slide then sends one message, not two

        for w in (self.class_a, self.class_b, self.seed_a, self.seed_b, self.kind, self.truncation):
            w.observe(self._guard(self._ends_moved), "value")
        for w in (self.low, self.high, self.probe_row, self.probe_col):
            w.observe(self._guard(self._repaint), "value")
        self.step.observe(self._guard(self._stepped), "value")
        self.number.observe(self._guard(lambda: setattr(self.step, "value", self.number.value - 1)), "value")
        self.mode.observe(self._guard(self._switch), "value")
        self.direction.observe(self._guard(self._edit), "value")
        self.save_png.on_click(self._guard(lambda: self.save("png")))
        self.save_nifti.on_click(self._guard(lambda: self.save("nii.gz")))
        self.restore_button.on_click(self._guard(lambda: self.restore(self.saved_files.value)))

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
        """Text for the caption; screen readers announce it."""
        role = "alert" if alert else "status"
        self.caption.value = f'<div role="{role}" aria-live="polite" class="radiogan-caption">' \
                             f"{'<b>Not possible:</b> ' if alert else ''}{html.escape(text)}</div>"

    # -- what is computed when the ends move -------------------------------------------------------------------------

    def _ends_moved(self) -> None:
        if self.mode.value == "edit":
            self._quietly(lambda: setattr(self.mode, "value", "walk"))
        self._rewalk()

    def _quietly(self, act) -> None:
        """Set controls without each of them answering."""
        self._busy = True
        try:
            act()
        finally:
            self._busy = False

    def _rewalk(self) -> None:
        """Draw the walk between the present ends; the step stays where it is."""
        self.z, self.e = self.space.path(self.start, self.end, self.steps, self.kind.value, self.truncation.value)
        self._base_steps(self.steps, min(self.step.value, self.steps - 1))
        self._draw()

    def _base_steps(self, n: int, value: int) -> None:
        def set_all():
            for w in (self.step, self.play):
                w.max, w.value = n - 1, value
            self.number.max, self.number.value = n, value + 1
        self._quietly(set_all)

    def _draw(self) -> None:
        self.frames = self.space.draw(self.z, self.e)
        self.nearest = self.distances = self.probabilities = None
        if self.train is not None:
            self.nearest, self.distances = self._neighbours(self.frames)
        if self.judge is not None:
            self.probabilities = np.asarray(self.judge(self.frames))
        self._strip_of = None
        self._repaint()
        self.measures.value = f"<div>{html.escape(self._measures())}</div>"

    def _neighbours(self, frames):
        """Index and distance of each frame's nearest training exam; the bank is pooled once."""
        from radiogan_lib.evaluation.distances import nearest_k
        from radiogan_lib.evaluation.features import pooled, pooled_shape

        if not hasattr(self, "_bank"):
            smaller = min((frames.shape[1:], self.train.suv.shape[1:]), key=lambda s: s[0] * s[1])
            self._bank_shape = pooled_shape(smaller)
            self._bank = pooled(self.train.suv, self._bank_shape)
            within = nearest_k(self._bank[:200], self._bank, exclude_self=True)[0] if len(self._bank) > 1 else np.ones((1, 1))
            self._usual = max(float(np.median(within)), 1e-9)
        d, i = nearest_k(pooled(frames, self._bank_shape), self._bank)
        return i[:, 0], d[:, 0]

    def _switch(self) -> None:
        """Between walking and editing; editing starts from the frame that is shown."""
        self.play.playing = False  # the slider is about to mean something else
        if self.mode.value == "walk":
            self._quietly(lambda: setattr(self.direction, "options", NO_DIRECTION))
            self._rewalk()
            return
        k = self.step.value
        self._origin, self._origin_step = (self.z[k].copy(), self.e[k].copy()), k
        label = int(np.argmin(((self.space.table - self.e[k]) ** 2).sum(axis=1)))
        self._found = self.space.directions(label)
        if not self._found:
            raise ExplorerError("this generator answers to no direction of z: every noise vector gives one picture.")
        def offer():
            self.direction.options = [(d.name, k) for k, d in enumerate(self._found)]
            self.direction.value = 0
        self._quietly(offer)
        self._edit()

    def _edit(self) -> None:
        if self.mode.value != "edit" or self.direction.value == -1:
            return
        z, e = self._origin
        self.z = z + AMOUNTS[:, None].astype(np.float32) * self._found[self.direction.value].vector
        self.e = np.tile(e, (len(AMOUNTS), 1))
        self._base_steps(len(AMOUNTS), len(AMOUNTS) // 2)
        self._draw()

    # -- what happens on every step: no model call --------------------------------------------------------------------

    def _stepped(self) -> None:
        self._paint()
        # The number box follows when the slider rests: each message on the way would delay the next picture
        loop = _kernel_loop()
        if loop is None:  # nothing to wait for
            self._follow()
            return
        if self._later is not None:
            self._later.cancel()
        self._later = loop.call_later(0.25, self._follow)

    def _follow(self) -> None:
        def follow():
            self.number.value = self.step.value + 1
            if not self.play.playing:  # while it plays, it is ahead
                self.play.value = self.step.value
        self._quietly(follow)

    def _repaint(self) -> None:
        if self.low.value >= self.high.value:
            raise ExplorerError("the window is empty: “Black at SUV” must be above “White at SUV”.")
        self._pictures.clear()
        self._strip_of = render.strip(self.frames, self.window)
        self._paint()

    def _paint(self) -> None:
        k = self.step.value
        if k not in self._pictures:
            near = None if self.nearest is None else self.train.suv[self.nearest[k]]
            words = (f"generated, step {k + 1}", "" if near is None else f"nearest training exam, distance {self.distances[k]:.2f}")
            self._pictures[k] = render.png(render.panel(self.frames[k], near, self._strip_of, k, len(self.frames), self.window, words,
                                                        self._probe()))
        self.image.value = self._pictures[k]
        self._say(self.describe(k))  # not also the image's tooltip: ipywidgets 8.1.9 draws an error for an Image that has one
        self.bars.value = ("" if self.probabilities is None else _bars(self.class_names, self.probabilities[k])) \
            + f"<div>{html.escape(self._numbers(k))}</div>"

    # -- words --------------------------------------------------------------------------------------------------------

    @property
    def window(self) -> tuple[float, float]:
        return self.low.value, self.high.value

    @property
    def start(self) -> tuple[int, int]:
        return int(self.class_a.value), int(self.seed_a.value)

    @property
    def end(self) -> tuple[int, int]:
        return int(self.class_b.value), int(self.seed_b.value)

    def _probe(self):
        row, col = self.probe_row.value, self.probe_col.value
        return (row / 100, col / 100) if row and col else None

    def describe(self, k: int) -> str:
        """What the picture shows at step `k`, in words."""
        a, b = (readable(self.class_names[c]) for c in (self.start[0], self.end[0]))
        if self.mode.value == "edit":
            amount = AMOUNTS[k]
            text = f"Edited: {self._found[self.direction.value].name}, amount {amount:+.1f} (step {k + 1} of {len(AMOUNTS)})"
        elif self.kind.value == "paper":
            text = f"{a}, z = [{k + 1}, 0, …, 0], step {k + 1} of {self.steps}"
        else:
            seeds = f"seed {self.start[1]}" if self.kind.value == "label" else f"seeds {self.start[1]} and {self.end[1]}"
            text = f"{a} → {b}, step {k + 1} of {self.steps}, {seeds}, {self.kind.value}"
        if self.nearest is not None:
            ratio = self.distances[k] / self._usual
            kin = readable(self.train.class_names[int(self.train.labels[self.nearest[k]])])
            verdict = ("almost a copy of it" if ratio < 0.25 else "closer to it than two training exams usually are" if ratio < 0.8
                       else "as far from it as two training exams usually are" if ratio < 1.3 else "unlike any training exam")
            text += f". Nearest training exam: number {int(self.nearest[k]) + 1} ({kin}), distance {self.distances[k]:.2f}: {verdict}"
        if self.probabilities is not None:
            best = int(np.argmax(self.probabilities[k]))
            text += f". The classifier sees {readable(self.class_names[best])} ({self.probabilities[k][best]:.0%})"
        return text + "."

    def _numbers(self, k: int) -> str:
        """SUV of the frame in words, and under the probe."""
        frame = self.frames[k]
        box = body_box(frame)
        row, col = np.unravel_index(int(frame.argmax()), frame.shape)
        inside = frame[frame > 0.2]
        text = f"Highest SUV {frame.max():.1f} ({region(row, col, box)}); mean inside the body {inside.mean() if inside.size else 0:.2f}."
        probe = self._probe()
        if probe is not None:
            def at(picture):
                return picture[round(probe[0] * (picture.shape[0] - 1)), round(probe[1] * (picture.shape[1] - 1))]
            text += f" Under the probe: SUV {at(frame):.2f}"
            text += "." if self.nearest is None else f", in the nearest exam {at(self.train.suv[self.nearest[k]]):.2f}."
        return text

    def _measures(self) -> str:
        """The whole walk in words: even or jumping, morph or cross-fade, how often the nearest exam changes."""
        from radiogan_lib.evaluation.walks import shape_of

        m = shape_of(self.frames.reshape(len(self.frames), -1))
        text = f"Largest step: {m['largest_step']:.0%} of the way ({m['even_step']:.0%} would be even)."
        if m["chord_ratio"] is not None and self.mode.value == "walk":
            fade = m["off_chord"] < 0.05
            text += (" The frames lie on the straight line between the ends: a cross-fade, not a change of anatomy." if fade else
                     f" The way is {m['chord_ratio']:.1f} times the straight cross-fade, up to {m['off_chord']:.0%} off it.")
        if self.nearest is not None:
            n = int((np.diff(self.nearest) != 0).sum())
            text += f" The nearest training exam changes {n} time{'' if n == 1 else 's'} on the way."
        return text

    # -- keeping ------------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> dict:
        """Everything needed to draw the present frame again with the same weights."""
        out = {"weights": self.space.weights_hash, "class_a": self.class_names[self.start[0]], "seed_a": self.start[1],
               "class_b": self.class_names[self.end[0]], "seed_b": self.end[1], "walk": self.kind.value, "steps": self.steps,
               "truncation": float(self.truncation.value), "step": int(self.step.value), "mode": self.mode.value,
               "window": list(self.window)}
        if self.mode.value == "edit":
            out |= {"from_step": self._origin_step, "direction": int(self.direction.value)}
        return out

    def save(self, suffix: str = "png"):
        """Write the present frame as `png` (as shown) or `nii.gz` (SUV), with its recipe inside; returns the path."""
        from radiogan_lib import paths
        spacing = None
        if self.train is not None:
            spacing = [mm / n for mm, n in zip(self.train.field_of_view_mm, self.frames.shape[1:])]
        path = saved.write(self.folder, self.frames[self.step.value], self.recipe, suffix, spacing, self.window)
        self.saved_files.options = saved.files(self.folder)
        self.saved_files.value = path.name
        self._say(f"Saved {paths.shown(path)}. {self.describe(self.step.value)}")
        return path

    def restore(self, name) -> None:
        """Set all controls from a saved frame (its file name, or a path).

        Raises:
            ExplorerError: no recipe in the file, or a class that this generator does not know.
        """
        recipe = saved.read(self.folder, name)
        for key in ("class_a", "class_b"):
            if recipe[key] not in self.class_names:
                raise ExplorerError(f"{name} was made with the class {recipe[key]!r}, which this generator does not know.")

        def set_all():
            self.mode.value = "walk"
            self.class_a.value, self.class_b.value = (self.class_names.index(recipe[k]) for k in ("class_a", "class_b"))
            self.seed_a.value, self.seed_b.value = recipe["seed_a"], recipe["seed_b"]
            self.kind.value, self.truncation.value = recipe["walk"], recipe["truncation"]
            self.steps = int(recipe["steps"])
            self.low.value, self.high.value = recipe["window"]
        self._quietly(set_all)
        self._base_steps(self.steps, min(recipe.get("from_step", recipe["step"]), self.steps - 1))
        self._rewalk()
        if recipe["mode"] == "edit":
            self.mode.value = "edit"
            self.direction.value = recipe["direction"]
            self.step.value = recipe["step"]
        if recipe["weights"] != self.space.weights_hash:
            self._say("Careful: this frame was made with other weights, so the picture is another. " + self.describe(self.step.value))


def _kernel_loop():
    """The loop of the kernel that shows the widget; None in a script, even where something else keeps a loop running."""
    from IPython import get_ipython
    try:
        return asyncio.get_running_loop() if getattr(get_ipython(), "kernel", None) else None
    except RuntimeError:
        return None


def _wrap():
    return widgets.Layout(flex_flow="row wrap", align_items="center")


def _bars(names, shares) -> str:
    """Class evidence as a small table: the name, the share in words and as a grey bar."""
    rows = "".join(
        f'<tr><td style="padding-right:8px">{html.escape(readable(n))}</td><td style="text-align:right;padding-right:8px">{p:.0%}</td>'
        f'<td style="width:110px"><div style="height:10px;width:{100 * p:.0f}px;background:#555"></div></td></tr>'
        for n, p in zip(names, shares))
    return f'<table aria-label="Class evidence"><caption style="text-align:left">What a classifier sees</caption>{rows}</table>'


def explorer(generator, class_names: Sequence[str], train=None, classifier=None, start=(0, 0), end=(1, 1), steps: int = 10,
             kind: str = "slerp", window=WINDOW, folder=None) -> LatentExplorer:
    """A widget to walk through a generator's latent space by hand.

    Args:
        generator: `run.generator`.
        class_names: of its labels, in order.
        train: `MipDataset` of its training exams: gives the nearest exam, the class evidence and the pixel size. None works too.
        classifier: with `probabilities(suv) -> (n, classes)`, such as `evaluation.train_judge` returns; default a quick
            linear one fitted to `train`.
        start, end: (class index, seed).
        steps: frames of the walk.
        kind: slerp, lerp, label or paper.
        window: SUV shown as white and as black.
        folder: where frames are saved; default runs/explorer.
    """
    if len(class_names) == 1:
        start, end = (0, start[1]), (0, end[1])
    return LatentExplorer(generator, class_names, train, classifier, start, end, steps, kind, window, folder)


if __name__ == "__main__":
    from radiogan_lib.lab.export_html import main
    main()
