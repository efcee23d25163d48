"""The latent explorer: walk between two (class, seed) points by hand, and see at every step the nearest training exam.

All pictures of a walk are made when its ends change; moving along it only picks one, so nothing is computed while
sliding and one `<img>` is redrawn in place. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from radiogan_lib.lab import render, saved
from radiogan_lib.lab.explorer_controls import NO_DIRECTION, Controls, kernel_loop, wrap
from radiogan_lib.lab.explorer_words import AMOUNTS, Words, bars
from radiogan_lib.lab.figures import WINDOW
from radiogan_lib.lab.latent import ExplorerError, Space, evidence


class LatentExplorer(Controls, Words, widgets.VBox):
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
            widgets.HBox([self.class_a, self.seed_a, self.class_b, self.seed_b], layout=wrap()),
            widgets.HBox([self.kind, self.truncation, self.low, self.high], layout=wrap()),
            widgets.HBox([self.play, self.step, self.number], layout=wrap()),
            widgets.HBox([self.image, self.bars], layout=wrap()),
            self.caption, self.measures,
            widgets.HBox([self.mode, self.direction, self.probe_row, self.probe_col], layout=wrap()),
            widgets.HBox([self.save_png, self.save_nifti, self.saved_files, self.restore_button], layout=wrap()),
        ])
        self.add_class("radiogan-explorer")
        self._guard(self._rewalk)()

    # -- what is computed when the ends move -------------------------------------------------------------------------

    def _ends_moved(self) -> None:
        if self.mode.value == "edit":
            self._quietly(lambda: setattr(self.mode, "value", "walk"))
        self._rewalk()

    def _rewalk(self) -> None:
        """Draw the walk between the present ends; the step stays where it is."""
        self.z, self.e = self.space.path(self.start, self.end, self.steps, self.kind.value, self.truncation.value)
        self._base_steps(self.steps, min(self.step.value, self.steps - 1))
        self._draw()

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
        loop = kernel_loop()
        if loop is None:  # nothing to wait for
            self._follow()
            return
        if self._later is not None:
            self._later.cancel()
        self._later = loop.call_later(0.25, self._follow)

    def _follow(self) -> None:
        def follow():
            self.number.value = self.step.value + 1
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
        self.bars.value = ("" if self.probabilities is None else bars(self.class_names, self.probabilities[k])) \
            + f"<div>{html.escape(self._numbers(k))}</div>"

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
