"""Progress that suits its reader: a bar in JupyterLab or a terminal, a few plain lines in a headless run."""

from __future__ import annotations

import os
import sys
import time


class Progress:
    """Counts finished work. `with Progress(total, "preparing exams") as p: p.update(1)`.

    Headless (RADIOGAN_HEADLESS=1, as the batch runner sets it, or output that is no terminal) it prints at most
    `lines` lines that start with `… `, which the batch runner passes on; elsewhere it is a tqdm bar.
    """

    def __init__(self, total: int, label: str, lines: int = 10):
        self.total, self.label, self.lines, self.done, self.note = (
            max(int(total), 1),
            label,
            lines,
            0,
            "",
        )
        self.started = self.said_at = time.monotonic()
        kernel = "ipykernel" in sys.modules
        self.headless = os.environ.get("RADIOGAN_HEADLESS") == "1" or not (
            kernel or sys.stderr.isatty()
        )
        self.bar = None
        if not self.headless:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.total, desc=label, leave=False)

    def update(self, n: int = 1, note: str = "") -> None:
        """`n` more are done; `note` is a short text to show beside the count."""
        before, self.done, self.note = self.done, self.done + n, note or self.note
        if self.bar is not None:
            self.bar.set_postfix_str(self.note, refresh=False)
            self.bar.update(n)
        # a line at every tenth, but not in the first seconds: short work stays silent
        elif (
            self.done * self.lines // self.total > before * self.lines // self.total
            and self.done < self.total
        ):
            if time.monotonic() - self.said_at > 2:
                self.said_at = time.monotonic()
                left = (self.said_at - self.started) / self.done * (self.total - self.done)
                print(
                    f"… {self.label}: {self.done} of {self.total}, about {left:.0f} s left{'; ' if self.note else ''}{self.note}",
                    flush=True,
                )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()
