"""Tables that read well in a notebook and as plain text: measures with intervals, layers, sizes, counts."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import pandas as pd

from radiogan_lib.config import RadioganError
from radiogan_lib.evaluation.statistics import title as measure_title
from radiogan_lib.lab.figures import readable

PAPER_COUNTS = {
    "normal": 675,
    "head_neck": 422,
    "oesophagus": 97,
    "lung": 189,
    "lymphoma": 225,
}  # paper §3.1


class Table:
    """Rows of text with a header: HTML in a notebook, aligned columns in a terminal.

    Args:
        rows: of equal length; every cell is shown by `str`, None as an empty cell.
        header: column names, or empty for none.
        note: one sentence below the table.
    """

    def __init__(self, rows: Sequence[Sequence], header: Sequence[str] = (), note: str = ""):
        self.rows = [tuple("" if c is None else str(c) for c in row) for row in rows]
        self.note, self._has_header = note, bool(header)
        self.frame = pd.DataFrame(self.rows, columns=list(map(str, header)) or None)

    def __str__(self) -> str:
        lines = [list(map(str, self.frame.columns))] * self._has_header + self.rows
        width = [max(map(len, column)) for column in zip(*lines)]
        text = ["  ".join(c.ljust(w) for c, w in zip(r, width)).rstrip() for r in lines]
        if self._has_header:
            text.insert(1, "  ".join("-" * w for w in width))
        return "\n".join(text + [self.note] * bool(self.note))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        if not self.rows:
            return note
        return (
            self.frame.to_html(index=False, header=self._has_header, border=0, justify="left")
            + note
        )


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
    """A value with, as a rule, an interval; not a report that holds several of them."""
    if not isinstance(entry, Mapping) or "value" not in entry:
        return False
    return not any(_is_measure(inner) for inner in entry.values())


def _between(entry: Mapping) -> str:
    low, high = entry.get("interval") or (entry.get("low"), entry.get("high"))
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def metric_table(report, title: str = "") -> Table:
    """A report's measures as rows: name, value, 95 % interval, what it means if the report says so.

    Args:
        report: dict of measures as `radiogan_lib.evaluation` returns them: a number, or a dict with `value`, `low` and
            `high`; dicts inside dicts become rows with both names. A pandas DataFrame is shown as it is.
        title: a sentence below the table.

    Raises:
        RadioganError: the report is neither.
    """
    if isinstance(report, pd.DataFrame):
        rows = [[_number(c) for c in row] for row in report.itertuples(index=False)]
        return Table(rows, list(report.columns), title)
    if not isinstance(report, Mapping):
        raise RadioganError(
            "metric_table shows a report of radiogan_lib.evaluation (a dict), not a "
            f"{type(report).__name__}."
        )
    rows = list(_rows(report, ""))
    header = ["measure", "value", "95 % interval", "meaning"]
    while len(header) > 2 and not any(row[len(header) - 1] for row in rows):
        header.pop()  # a column that says nothing is left out
    return Table([row[: len(header)] for row in rows], header, title)


def _rows(report: Mapping, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """A row per measure of a (nested) report; arrays and lists are data for figures, not rows."""
    for name, entry in report.items():
        label = f"{prefix}{measure_title(str(name))}"
        if _is_measure(entry):
            words = next((str(entry[k]) for k in ("meaning", "reading") if entry.get(k)), "")
            yield label, _number(entry["value"]), _between(entry), words
        elif isinstance(entry, Mapping):
            yield from _rows(entry, label + ": ")
        elif isinstance(entry, (Real, str, type(None), np.generic)):
            yield label, _number(entry), "", ""


def controls_table(rows) -> Table:
    """One row per control, walk or recipe: names and words as they are, measures with their interval.

    Args:
        rows: dicts, or a DataFrame; a dict of dicts gives their names as the first column.
    """
    if isinstance(rows, Mapping):
        rows = [{"generator": name, **row} for name, row in rows.items()]
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
    shown = [
        {
            k: _number(v["value"]) + (f" ({_between(v)})" if _between(v) else "")
            if _is_measure(v)
            else _number(v)
            for k, v in row.items()
            if _is_measure(v) or isinstance(v, (Real, str, type(None), np.generic))
        }
        for row in rows
    ]
    header = list(dict.fromkeys(k for row in shown for k in row))
    cells = [[row.get(k, _number(None)) for k in header] for row in shown]
    return Table(cells, [measure_title(h) for h in header])


def layer_table(model) -> Table:
    """Every layer of a Keras model: what it is, the shape it puts out, how many parameters it learns."""
    rows = []
    for layer in model.layers:
        shape = layer.output.shape if hasattr(layer.output, "shape") else layer.output[0].shape
        trained = sum(int(np.prod(v.shape)) for v in layer.trainable_weights)
        rows.append(
            (
                type(layer).__name__,
                " × ".join("batch" if s is None else str(s) for s in shape),
                f"{trained:,}" if trained else "",
            )
        )
    total = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    rows.append(("all", "", f"{total:,}"))
    return Table(rows, ("layer", "output shape", "trained parameters"))


def size_table(cfg, n_classes: int = 5, doublings: Sequence[int] = (3, 4, 5, 6, 7)) -> Table:
    """Canvas and parameters of both networks for each number of doublings, built with the settings of `cfg`."""
    import dataclasses

    from radiogan_lib import gan

    rows = []
    for d in doublings:
        here = dataclasses.replace(cfg, doublings=d)
        counts = [
            sum(int(np.prod(v.shape)) for v in build(here, n_classes).trainable_weights)
            for build in (gan.build_generator, gan.build_discriminator)
        ]
        words = [
            w for w, true in (("this profile", d == cfg.doublings), ("the paper", d == 7)) if true
        ]
        rows.append(
            (
                d,
                f"{here.canvas[0]} × {here.canvas[1]}",
                f"{d} + 1",
                f"{counts[0]:,}",
                f"{counts[1]:,}",
                ", ".join(words),
            )
        )
    return Table(
        rows,
        (
            "doublings",
            "canvas",
            "discriminator layers",
            "generator parameters",
            "discriminator parameters",
            "",
        ),
    )


def class_counts(dataset) -> Table:
    """Exams per class and split, beside the paper's number where the class is one of the paper's."""
    labels = np.asarray(dataset.labels)
    splits = np.asarray(getattr(dataset, "splits", np.full(len(labels), "all")))
    order = [s for s in ("train", "test", "all") if (splits == s).any()]
    rows = []
    for k, name in enumerate(dataset.class_names):
        counts = [int(((labels == k) & (splits == s)).sum()) for s in order]
        rows.append((readable(name), *counts, PAPER_COUNTS.get(name, "")))
    known = sum(PAPER_COUNTS.get(n, 0) for n in dataset.class_names)
    rows.append(("all", *[int((splits == s).sum()) for s in order], known or ""))
    return Table(
        rows,
        (
            "class",
            *[{"train": "training", "test": "held out", "all": "exams"}[s] for s in order],
            "paper",
        ),
    )
