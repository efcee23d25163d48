"""What the explorer says: which frame, how near to which exam, which SUV, how the whole walk goes. Part of `lab.explorer`."""

from __future__ import annotations

import html

import numpy as np

from radiogan_lib.lab.figures import readable
from radiogan_lib.lab.latent import body_box, region

AMOUNTS = np.linspace(-3, 3, 13)  # of a direction, in standard deviations of z


class Words:
    """The explorer's state, in words. Nothing here changes a control."""

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
            seeds = (
                f"seed {self.start[1]}"
                if self.kind.value == "label"
                else f"seeds {self.start[1]} and {self.end[1]}"
            )
            text = f"{a} → {b}, step {k + 1} of {self.steps}, {seeds}, {self.kind.value}"
        if self.nearest is not None:
            ratio = self.distances[k] / self._usual
            kin = readable(self.train.class_names[int(self.train.labels[self.nearest[k]])])
            verdict = (
                "almost a copy of it"
                if ratio < 0.25
                else "closer to it than two training exams usually are"
                if ratio < 0.8
                else "as far from it as two training exams usually are"
                if ratio < 1.3
                else "unlike any training exam"
            )
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
                return picture[
                    round(probe[0] * (picture.shape[0] - 1)),
                    round(probe[1] * (picture.shape[1] - 1)),
                ]

            text += f" Under the probe: SUV {at(frame):.2f}"
            text += (
                "."
                if self.nearest is None
                else f", in the nearest exam {at(self.train.suv[self.nearest[k]]):.2f}."
            )
        return text

    def _measures(self) -> str:
        """The whole walk in words: even or jumping, morph or cross-fade, how often the nearest exam changes."""
        from radiogan_lib.evaluation.walks import shape_of

        m = shape_of(self.frames.reshape(len(self.frames), -1))
        text = f"Largest step: {m['largest_step']:.0%} of the way ({m['even_step']:.0%} would be even)."
        if m["chord_ratio"] is not None and self.mode.value == "walk":
            fade = m["off_chord"] < 0.05
            text += (
                " The frames lie on the straight line between the ends: a cross-fade, not a change of anatomy."
                if fade
                else f" The way is {m['chord_ratio']:.1f} times the straight cross-fade, up to {m['off_chord']:.0%} off it."
            )
        if self.nearest is not None:
            n = int((np.diff(self.nearest) != 0).sum())
            text += (
                f" The nearest training exam changes {n} time{'' if n == 1 else 's'} on the way."
            )
        return text


def bars(names, shares) -> str:
    """Class evidence as a small table: the name, the share in words and as a grey bar."""
    rows = "".join(
        f'<tr><td style="padding-right:8px">{html.escape(readable(n))}</td><td style="text-align:right;padding-right:8px">{p:.0%}</td>'
        f'<td style="width:110px"><div style="height:10px;width:{100 * p:.0f}px;background:#555"></div></td></tr>'
        for n, p in zip(names, shares)
    )
    return f'<table aria-label="Class evidence"><caption style="text-align:left">What a classifier sees</caption>{rows}</table>'
