"""The latent explorer: walk between two (class, seed) points by hand, and see at every step the nearest training exam.

All pictures of a walk are made and sent when its ends change; the browser itself uncovers the one where the slider stands
(`explorer_view`), so nothing is computed or sent while sliding. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from radiogan_lib.lab import saved
from radiogan_lib.lab.explorer_controls import NO_DIRECTION, Controls, kernel_loop, wrap
from radiogan_lib.lab.explorer_keep import Keeping
from radiogan_lib.lab.explorer_view import view
from radiogan_lib.lab.explorer_words import AMOUNTS, Words, bars
from radiogan_lib.lab.figures import WINDOW
from radiogan_lib.lab.latent import ExplorerError, Space, evidence


class LatentExplorer(Controls, Words, Keeping, widgets.VBox):
    """Controls, the walk's pictures and words, one of them seen. Use `lab.explorer(…)`.

    Attributes:
        frames: SUV (steps, h, w) of what the slider moves through.
        nearest: indices (steps,) into the training exams, or None.
        recipe: what `save` writes and `restore` reads: everything needed to draw the present frame again.
    """

    def __init__(
        self,
        generator,
        class_names: Sequence[str],
        train=None,
        classifier=None,
        start=(0, 0),
        end=(1, 1),
        steps: int = 10,
        kind: str = "slerp",
        window=WINDOW,
        folder=None,
    ):
        self.space = Space(generator)
        self.class_names = list(class_names)
        if len(self.class_names) != len(self.space.table):
            raise ExplorerError(
                f"the generator knows {len(self.space.table)} classes, but {len(self.class_names)} names were given."
            )
        self.train = train if train is not None and len(train) else None
        self.steps, self.folder = int(steps), saved.folder() if folder is None else folder
        self.judge = (
            classifier.probabilities if hasattr(classifier, "probabilities") else classifier
        )
        if (
            self.judge is None
            and self.train is not None
            and list(self.train.class_names) == self.class_names
        ):
            self.judge = evidence(self.train)
        self._busy, self._later, self._alert, self._notice = False, None, False, False
        self._controls(start, end, kind, window)
        super().__init__(
            [
                widgets.HBox([self.class_a, self.seed_a, self.class_b, self.seed_b], layout=wrap()),
                widgets.HBox([self.kind, self.truncation, self.low, self.high], layout=wrap()),
                widgets.HBox([self.play, self.step, self.number], layout=wrap()),
                self.view,
                self.measures,
                self.caption,
                widgets.HBox(
                    [self.mode, self.direction, self.probe_row, self.probe_col], layout=wrap()
                ),
                widgets.HBox(
                    [self.save_png, self.save_nifti, self.saved_files, self.restore_button],
                    layout=wrap(),
                ),
            ]
        )
        self.add_class("radiogan-explorer")
        self._guard(self._rewalk)()

    # -- what is computed when the ends move -------------------------------------------------------------------------

    def _ends_moved(self) -> None:
        if self.mode.value == "edit":
            self._quietly(lambda: setattr(self.mode, "value", "walk"))
        self._rewalk()

    def _rewalk(self) -> None:
        """Draw the walk between the present ends; the step stays where it is."""
        self.z, self.e = self.space.path(
            self.start, self.end, self.steps, self.kind.value, self.truncation.value
        )
        self._base_steps(self.steps, min(self.step.value, self.steps - 1))
        self._draw()

    def _draw(self) -> None:
        self.frames = self.space.draw(self.z, self.e)
        self.nearest = self.distances = self.probabilities = None
        if self.train is not None:
            self.nearest, self.distances = self._neighbours(self.frames)
        if self.judge is not None:
            self.probabilities = np.asarray(self.judge(self.frames))
        self._repaint()
        self.measures.value = f"<div>{html.escape(self._measures())}</div>"

    def _neighbours(self, frames):
        """Index and distance of each frame's nearest training exam; the bank is pooled once."""
        from radiogan_lib.evaluation.features import nearest_k, pooled, pooled_shape

        if not hasattr(self, "_bank"):
            smaller = min((frames.shape[1:], self.train.suv.shape[1:]), key=lambda s: s[0] * s[1])
            self._bank_shape = pooled_shape(smaller)
            self._bank = pooled(self.train.suv, self._bank_shape)
            within = (
                nearest_k(self._bank[:200], self._bank, exclude_self=True)[0]
                if len(self._bank) > 1
                else np.ones((1, 1))
            )
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
            raise ExplorerError(
                "this generator answers to no direction of z: every noise vector gives one picture."
            )

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

    # -- what happens on every step: the browser has already shown it ------------------------------------------------

    def _stepped(self) -> None:
        """Words for screen readers, and the number box, follow when the slider rests."""
        self._notice = (
            self._alert
        )  # a fault stays until it is mended, "saved" only until the next step
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
        if not self._notice:
            self._say(self.describe(self.step.value))

    def _repaint(self) -> None:
        """Send the walk as it now is: pictures, marks and words of every step in one message."""
        if self.low.value >= self.high.value:
            raise ExplorerError("the window is empty: “Black at SUV” must be above “White at SUV”.")
        steps = range(len(self.frames))
        exams = {} if self.nearest is None else {i: self.train.suv[i] for i in set(self.nearest)}
        self.view.value = view(
            self.frames,
            [None if self.nearest is None else exams[self.nearest[k]] for k in steps],
            [self.describe(k) for k in steps],
            [self._aside(k) for k in steps],
            self.distances,
            self.window,
            self._probe(),
        )
        self._say(self.describe(self.step.value))

    def _aside(self, k: int) -> str:
        """Class evidence and SUV of step `k`, as HTML."""
        evidence = (
            "" if self.probabilities is None else bars(self.class_names, self.probabilities[k])
        )
        return f"{evidence}<div>{html.escape(self._numbers(k))}</div>"


def explorer(
    generator,
    class_names: Sequence[str],
    train=None,
    classifier=None,
    start=(0, 0),
    end=(1, 1),
    steps: int = 10,
    kind: str = "slerp",
    window=WINDOW,
    folder=None,
) -> LatentExplorer:
    """A widget to walk through a generator's latent space by hand.

    Args:
        generator: `run.generator`.
        class_names: of its labels, in order.
        train: `MipDataset` of its training exams: gives the nearest exam, the class evidence and the pixel size. None works too.
        classifier: with `probabilities(suv) -> (n, classes)`, such as `evaluation.train_classifier` returns; default a quick
            linear one fitted to `train`.
        start, end: (class index, seed).
        steps: frames of the walk.
        kind: slerp, lerp, label or paper.
        window: SUV shown as white and as black.
        folder: where frames are saved; default runs/explorer.
    """
    if len(class_names) == 1:
        start, end = (0, start[1]), (0, end[1])
    return LatentExplorer(
        generator, class_names, train, classifier, start, end, steps, kind, window, folder
    )


if __name__ == "__main__":
    from radiogan_lib.lab.export_html import main

    main()
