"""Memorisation as the training set shrinks: one panel per measure, every run a point with its interval.

Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from radiogan_lib import paths
from radiogan_lib.lab.figures import INK, new
from radiogan_lib.lab.tables import Table

# measure: (title, what a generator without memory gives)
MEASURES = {
    "membership_auc": ("membership AUC", 0.5),
    "copy_fraction": ("copy fraction", 0.05),
    "discriminator_auc": ("discriminator's AUC", 0.5),
}
MARKS = ("o", "s", "^", "D", "v")


def sweep(table, measures: Mapping | None = None) -> Figure | Table:
    """A panel per measure: training exams on a logarithmic axis, value and 95 % interval of every run.

    Args:
        table: of `evaluation.sweep_table`, or the path of the csv that benchmarks/n_sweep.py writes.
        measures: {column: (title, value without memory)}; default `MEASURES`.

    Returns:
        a figure, or, where that csv has not been made yet, a line that says how to make it.
    """
    import pandas as pd

    from radiogan_lib.evaluation import sweep_points

    if isinstance(table, (str, Path)):
        if not Path(table).exists():
            return Table(
                [],
                note=f"{paths.shown(table)} has not been made yet: python benchmarks/n_sweep.py makes it.",
            )
        table = pd.read_csv(table, keep_default_na=False, na_values=[""], dtype={"recipe": str})
    measures = dict(measures or MEASURES)
    fig = new(3.1 * len(measures) + 0.3, 3.0)
    axes = fig.subplots(1, len(measures), squeeze=False)[0]
    sizes = np.unique(table["n_train"])
    for ax, (name, (title, innocent)) in zip(axes, measures.items()):
        ax.axhline(innocent, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
        points = sweep_points(table, name)
        for k, (recipe, p) in enumerate(points.items()):
            aside = 0.4 * (
                k - (len(points) - 1) / 2
            )  # runs of one n stand beside each other, recipe by recipe
            side = p["n"] * np.exp(aside + 0.1 * _beside(p["n"]))
            ax.errorbar(
                side,
                p["value"],
                [np.maximum(p["value"] - p["low"], 0), np.maximum(p["high"] - p["value"], 0)],
                fmt=MARKS[k % len(MARKS)],
                color=INK,
                markerfacecolor=INK if k == 0 else "white",
                markersize=5,
                linewidth=1,
                capsize=2,
                label=recipe or "one recipe",
            )
            middle = [np.mean(p["value"][p["n"] == n]) for n in np.unique(p["n"])]
            ax.plot(np.unique(p["n"]) * np.exp(aside), middle, color=INK, linewidth=0.8, alpha=0.5)
        ax.set_xscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title, fontsize=10, color=INK)
        ax.set_xlabel("training exams", fontsize=9)
        ax.tick_params(labelsize=8)
        for spine in ("top", "right"):
            ax.spines[spine].set_visible(False)
    if table["recipe"].nunique() > 1:
        axes[-1].legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("value, 95 % interval", fontsize=9)
    return fig


def _beside(n: np.ndarray) -> np.ndarray:
    """0 for the first run of each n, then +1, −1, +2, …: steps aside for points that share an n."""
    seen: dict = {}
    out = np.empty(len(n))
    for i, value in enumerate(n):
        k = seen.get(value, 0)
        seen[value] = k + 1
        out[i] = (k + 1) // 2 * (1 if k % 2 else -1)
    return out
