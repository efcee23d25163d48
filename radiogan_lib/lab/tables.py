"""Tables that read well in a notebook and as plain text: measures with intervals, sizes, counts."""

import dataclasses
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import pandas as pd

from radiogan_lib.config import RadioganError
from radiogan_lib.evaluation.statistics import title as measure_title
from radiogan_lib.lab.figures import readable

# exams per class, paper §3.1
PAPER_COUNTS = {"normal": 675, "head_neck": 422, "oesophagus": 97, "lung": 189, "lymphoma": 225}
CELL = (Real, str, type(None), np.generic)  # what a table shows besides measures


class Table:
    """Rows of text with a header: HTML in a notebook, aligned columns in a terminal.

    Args:
        rows: of equal length; every cell is shown by `str`, None as an empty cell.
        header: column names, or empty for none.
        note: one sentence below the table.
    """

    def __init__(self, rows: Sequence[Sequence], header: Sequence[str] = (), note: str = ""):
        self.rows = [tuple("" if c is None else str(c) for c in row) for row in rows]
        self.header, self.note = tuple(map(str, header)), note

    def __str__(self) -> str:
        lines = [self.header] * bool(self.header) + self.rows
        width = [max(map(len, column)) for column in zip(*lines)]
        text = ["  ".join(c.ljust(w) for c, w in zip(r, width)).rstrip() for r in lines]
        if self.header:
            text.insert(1, "  ".join("-" * w for w in width))
        return "\n".join(text + [self.note] * bool(self.note))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        if not self.rows:
            return note
        frame = pd.DataFrame(self.rows, columns=self.header or None)
        shown = frame.to_html(index=False, header=bool(self.header), border=0, justify="left")
        return shown + note


def _number(value) -> str:
    """Three significant digits, or the value in words."""
    if value is None:
        return "not measured"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.3g}" if np.isfinite(value) else "not defined"
    return str(value)


def _is_measure(entry) -> bool:
    return isinstance(entry, Mapping) and "value" in entry


def _between(entry: Mapping) -> str:
    low, high = entry.get("low"), entry.get("high")
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def metric_table(report: Mapping) -> Table:
    """A report's measures as rows: name, value, 95 % interval.

    Args:
        report: of `radiogan_lib.evaluation`; dicts inside dicts become rows with both names.

    Raises:
        RadioganError: the report is no dict.
    """
    if not isinstance(report, Mapping):
        kind = type(report).__name__
        raise RadioganError(f"metric_table shows a report of evaluation (a dict), not a {kind}.")
    rows = list(_rows(report, ""))
    columns = 3 if any(row[2] for row in rows) else 2
    header = ("measure", "value", "95 % interval")[:columns]
    return Table([row[:columns] for row in rows], header)


def _rows(report: Mapping, prefix: str) -> Iterator[tuple[str, str, str]]:
    """A row per measure of a (nested) report; arrays and lists are data for figures, not rows."""
    for name, entry in report.items():
        label = f"{prefix}{measure_title(str(name))}"
        if _is_measure(entry):
            yield label, _number(entry["value"]), _between(entry)
        elif isinstance(entry, Mapping):
            yield from _rows(entry, label + ": ")
        elif isinstance(entry, CELL):
            yield label, _number(entry), ""


def controls_table(rows: Sequence[Mapping]) -> Table:
    """One row per control, walk or recipe: names and words as they are, measures with interval."""

    def cell(value) -> str:
        if not _is_measure(value):
            return _number(value)
        between = _between(value)
        return _number(value["value"]) + (f" ({between})" if between else "")

    shown = [{k: v for k, v in r.items() if _is_measure(v) or isinstance(v, CELL)} for r in rows]
    header = list(dict.fromkeys(k for row in shown for k in row))
    cells = [[cell(row.get(k)) for k in header] for row in shown]
    return Table(cells, [measure_title(h) for h in header])


def trained(model) -> int:
    """How many parameters of a Keras model or layer are trained."""
    return sum(math.prod(v.shape) for v in model.trainable_weights)


def size_table(cfg, n_classes: int = 5, doublings: Sequence[int] = (3, 4, 5, 6, 7)) -> Table:
    """Canvas and parameters of both networks for each number of doublings, else as in `cfg`."""
    from radiogan_lib import gan

    rows = []
    for d in doublings:
        here = dataclasses.replace(cfg, doublings=d)
        models = gan.build_generator(here, n_classes), gan.build_discriminator(here, n_classes)
        counts = [f"{trained(model):,}" for model in models]
        words = ["this profile"] * (d == cfg.doublings) + ["the paper"] * (d == 7)
        canvas = f"{here.canvas[0]} × {here.canvas[1]}"
        rows.append((d, canvas, f"{d} + 1", *counts, ", ".join(words)))
    header = ["doublings", "canvas", "discriminator layers"]
    header += ["generator parameters", "discriminator parameters", ""]
    return Table(rows, header)


def class_counts(dataset) -> Table:
    """Exams per class and split, beside the paper's number of that class."""
    classes, splits = dataset.labels, np.asarray(dataset.splits)
    names = {"train": "training", "test": "held out"}
    kept = [s for s in names if (splits == s).any()]
    rows = []
    for k, name in enumerate(dataset.class_names):
        counts = [int(((classes == k) & (splits == s)).sum()) for s in kept]
        rows.append((readable(name), *counts, PAPER_COUNTS.get(name, "")))
    known = sum(PAPER_COUNTS.get(n, 0) for n in dataset.class_names)
    rows.append(("all", *[int((splits == s).sum()) for s in kept], known or ""))
    return Table(rows, ("class", *[names[s] for s in kept], "paper"))
