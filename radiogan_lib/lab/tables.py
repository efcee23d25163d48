"""Tables that read well in a notebook and as plain text: measures with intervals, layers, sizes, counts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from numbers import Number

import numpy as np

from radiogan_lib.config import RadioganError
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
        rows: of equal length; every cell is shown by `str`.
        header: column names, or empty for none.
        note: one sentence below the table.
    """

    def __init__(self, rows: Sequence[Sequence], header: Sequence[str] = (), note: str = ""):
        self.rows = [tuple("" if c is None else str(c) for c in row) for row in rows]
        self.header, self.note = tuple(map(str, header)), note

    def __str__(self) -> str:
        lines = ([self.header] if self.header else []) + self.rows
        if not lines:
            return self.note
        width = [max(len(r[k]) for r in lines if k < len(r)) for k in range(max(map(len, lines)))]
        text = ["  ".join(c.ljust(w) for c, w in zip(r, width)).rstrip() for r in lines]
        if self.header:
            text.insert(1, "  ".join("-" * w for w in width))
        return "\n".join(text + ([self.note] if self.note else []))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells, tag):
            return (
                "<tr>"
                + "".join(f"<{tag} style='text-align:left'>{html.escape(c)}</{tag}>" for c in cells)
                + "</tr>"
            )

        head = f"<thead>{line(self.header, 'th')}</thead>" if self.header else ""
        body = "".join(line(r, "td") for r in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<table>{head}<tbody>{body}</tbody></table>{note}"


def _number(value) -> str:
    """Three significant digits, or the value in words."""
    if value is None:
        return "not measured"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, Number):
        value = float(value)
        return f"{value:.3g}" if np.isfinite(value) else "not defined"
    return str(value)


def _interval(entry: Mapping):
    """(low, high) of a measure, whatever of the usual names its report uses; None where there is none."""
    for key in ("interval", "ci", "ci95", "range"):
        pair = entry.get(key)
        if isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2:
            return pair
    if entry.get("low") is not None and entry.get("high") is not None:
        return entry["low"], entry["high"]
    return None


def _is_measure(entry) -> bool:
    return (
        isinstance(entry, Mapping)
        and any(k in entry for k in ("value", "estimate", "mean"))
        and not any(isinstance(v, Mapping) and "value" in v for v in entry.values())
    )


def metric_table(report, title: str = "") -> Table:
    """A report's measures as rows: name, value, 95 % interval, what it means if the report says so.

    Args:
        report: dict of measures as `radiogan_lib.evaluation` returns them: a number, or a dict with `value` (or
            `estimate`, `mean`) and an interval; dicts inside dicts become rows with both names. A pandas DataFrame is
            shown as it is.
        title: a sentence below the table.
    """
    if hasattr(report, "columns") and hasattr(report, "itertuples"):
        return Table(
            [[_number(c) for c in row] for row in report.itertuples(index=False)],
            list(report.columns),
            title,
        )
    if (
        isinstance(report, Sequence)
        and not isinstance(report, str)
        and all(isinstance(r, Mapping) for r in report)
    ):
        header = list(dict.fromkeys(k for row in report for k in row))
        return Table(
            [[_number(row.get(k)) for k in header] for row in report],
            [h.replace("_", " ") for h in header],
            title,
        )
    if not isinstance(report, Mapping):
        raise RadioganError(
            "metric_table shows a report of radiogan_lib.evaluation (a dict), not a "
            + type(report).__name__
            + "."
        )
    rows: list[tuple[str, ...]] = []
    _rows(report, "", rows)
    header = ["measure", "value", "95 % interval", "meaning"]
    for column in (3, 2):  # a column that says nothing is left out
        if not any(len(r) > column and r[column] for r in rows):
            rows = [r[:column] for r in rows]
            header = header[:column]
        else:
            break
    return Table(rows, header, title)


def _rows(report: Mapping, prefix: str, rows: list) -> None:
    """Append a row per measure of a (nested) report."""
    for name, entry in report.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if _is_measure(entry):
            value = next(entry[k] for k in ("value", "estimate", "mean") if k in entry)
            pair = _interval(entry)
            between = f"{_number(pair[0])} to {_number(pair[1])}" if pair is not None else ""
            words = next(
                (str(entry[k]) for k in ("meaning", "help", "reading", "note") if entry.get(k)), ""
            )
            rows.append((label, _number(value), between, words))
        elif isinstance(entry, Mapping):
            _rows(entry, label + ": ", rows)
        elif isinstance(entry, (Number, str, bool, type(None), np.generic)):
            rows.append((label, _number(entry), "", ""))
        # arrays and lists are data for figures, not rows


def controls_table(controls) -> Table:
    """Which known generator each test named: one row per control, with the measures and the finding."""
    if isinstance(controls, Mapping):
        controls = [
            {"generator": name, **(row if isinstance(row, Mapping) else {"finding": row})}
            for name, row in controls.items()
        ]
    flat = []
    for row in controls.to_dict("records") if hasattr(controls, "to_dict") else controls:
        out = {}
        for key, entry in row.items():
            if _is_measure(entry):
                pair = _interval(entry)
                out[key] = _number(
                    next(entry[k] for k in ("value", "estimate", "mean") if k in entry)
                ) + (f" ({_number(pair[0])} to {_number(pair[1])})" if pair is not None else "")
            elif isinstance(entry, (Number, str, bool, type(None), np.generic)):
                out[key] = entry
        flat.append(out)
    return metric_table(flat)


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
