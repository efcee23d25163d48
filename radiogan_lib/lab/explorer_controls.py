"""The explorer's controls: made, named, and wired to what answers them. Part of `lab.explorer`."""

from __future__ import annotations

import asyncio
import html

import ipywidgets as widgets

from radiogan_lib.config import RadioganError
from radiogan_lib.lab import saved
from radiogan_lib.lab.figures import readable
from radiogan_lib.lab.latent import KIND_WORDS

SEED_MAX = 2**31 - 1
# -1 and not None: ipywidgets takes None for “nothing chosen”, and may then choose nothing of the next options either
NO_DIRECTION = [("(choose “edit this frame”)", -1)]


class Controls:
    """The half of the explorer that a reader touches; the other half answers (`LatentExplorer`)."""

    def _controls(self, start, end, kind, window) -> None:
        def box(kind_of, **k):
            wide = k.pop("wide", "190px")
            return kind_of(
                style={"description_width": "100px"}, layout=widgets.Layout(width=wide), **k
            )

        classes = [(readable(c), k) for k, c in enumerate(self.class_names)]
        number, real = widgets.BoundedIntText, widgets.BoundedFloatText
        self.class_a = box(
            widgets.Dropdown,
            options=classes,
            value=int(start[0]),
            description="Class A",
            wide="230px",
        )
        self.class_b = box(
            widgets.Dropdown,
            options=classes,
            value=int(end[0]),
            description="Class B",
            wide="230px",
        )
        self.seed_a = box(number, value=int(start[1]), min=0, max=SEED_MAX, description="Seed A")
        self.seed_b = box(number, value=int(end[1]), min=0, max=SEED_MAX, description="Seed B")
        self.kind = box(
            widgets.Dropdown,
            options=[(w, k) for k, w in KIND_WORDS.items()],
            value=kind,
            description="Walk",
            wide="290px",
        )
        self.truncation = box(real, value=1.0, min=0.1, max=2.0, step=0.1, description="Truncation")
        self.low = box(real, value=window[0], min=0, max=100, step=0.5, description="White at SUV")
        self.high = box(
            real, value=window[1], min=0.1, max=100, step=0.5, description="Black at SUV"
        )
        self.step = widgets.IntSlider(
            value=0,
            min=0,
            max=self.steps - 1,
            description="Step",
            continuous_update=False,
            readout=False,
            tooltip="Step of the walk; the arrow keys move it",
            layout=widgets.Layout(width="300px"),
        )
        self.number = box(
            number, value=1, min=1, max=self.steps, description="Step number", wide="170px"
        )
        self.play = widgets.Play(
            value=0, min=0, max=self.steps - 1, interval=400, repeat=True, tooltip="Play the walk"
        )
        self.mode = box(
            widgets.Dropdown,
            options=[("walk from A to B", "walk"), ("edit this frame", "edit")],
            value="walk",
            description="Slider moves",
            wide="270px",
        )
        self.direction = box(
            widgets.Dropdown, options=NO_DIRECTION, description="Direction", wide="420px"
        )
        self.probe_row = box(
            number, value=0, min=0, max=100, description="Probe down %", wide="190px"
        )
        self.probe_col = box(
            number, value=0, min=0, max=100, description="Probe right %", wide="190px"
        )
        self.save_png = widgets.Button(
            description="Save PNG", tooltip="Save this frame as a picture with its recipe"
        )
        self.save_nifti = widgets.Button(
            description="Save NIfTI", tooltip="Save this frame's SUV as NIfTI with its recipe"
        )
        self.saved_files = box(
            widgets.Dropdown,
            options=saved.files(self.folder),
            description="Saved frames",
            wide="420px",
        )
        self.restore_button = widgets.Button(
            description="Restore", tooltip="Set all controls to those of the saved frame"
        )
        self.view, self.caption, self.measures = (widgets.HTML() for _ in range(3))
        widgets.jsdlink(
            (self.play, "value"), (self.step, "value")
        )  # one way: a slide then sends one message, not two

        for w in (self.class_a, self.class_b, self.seed_a, self.seed_b, self.kind, self.truncation):
            w.observe(self._guard(self._ends_moved), "value")
        for w in (self.low, self.high, self.probe_row, self.probe_col):
            w.observe(self._guard(self._repaint), "value")
        self.step.observe(self._guard(self._stepped), "value")
        self.number.observe(
            self._guard(lambda: setattr(self.step, "value", self.number.value - 1)), "value"
        )
        self.play.observe(self._guard(self._take_up), "playing")
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

    def _say(self, text: str, alert: bool = False, seen: bool = False) -> None:
        """Text that screen readers announce; the eye finds it too if it is a fault, or is to be `seen`.

        What each step shows stands as text below its picture; this is for whoever hears and does not see it.
        """
        self._alert, self._notice = alert, alert or seen
        role, kind = ("alert", "note") if alert else ("status", "note" if seen else "unseen")
        self.caption.value = (
            f'<div role="{role}" aria-live="polite" class="radiogan-{kind}">'
            f"{'<b>Not possible:</b> ' if alert else ''}{html.escape(text)}</div>"
        )

    def _take_up(self) -> None:
        """Play starts where the slider stands. Only now: a player that followed every slide would push a fast hand back."""
        if self.play.playing:
            self._quietly(lambda: setattr(self.play, "value", self.step.value))

    def _quietly(self, act) -> None:
        """Set controls without each of them answering."""
        self._busy = True
        try:
            act()
        finally:
            self._busy = False

    def _base_steps(self, n: int, value: int) -> None:
        def set_all():
            for w in (self.step, self.play):
                w.max, w.value = n - 1, value
            self.number.max, self.number.value = n, value + 1

        self._quietly(set_all)


def kernel_loop():
    """The loop of the kernel that shows the widget; None in a script, even where something else keeps a loop running."""
    from IPython import get_ipython

    try:
        return asyncio.get_running_loop() if getattr(get_ipython(), "kernel", None) else None
    except RuntimeError:
        return None


def wrap():
    return widgets.Layout(flex_flow="row wrap", align_items="center")
