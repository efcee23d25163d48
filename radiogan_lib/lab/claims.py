"""The experiments of docs/claims.md as figures: one model or one per class, memory over time, many walks.

The numbers are the csv files of docs/claims, which benchmarks/claims.py writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from radiogan_lib import paths
from radiogan_lib.lab.figures import INK, new, readable

MARKS = ["o", "s", "^", "D"]
PANELS = {
    "kid": "KID (0 is best)",
    "coverage": "coverage",
    "vendi_ratio": "Vendi ratio",
    "tstr": "TSTR, recall",
    "membership_auc": "membership AUC",
    "copy_fraction": "copy fraction",
}
WALKS = {
    "chord_ratio": "chord ratio",
    "off_chord": "off-chord",
    "fine_detail": "fine detail, middle ÷ ends",
    "lowest_residual": "lowest residual",
}


def claim(experiment: str, folder: Path | str | None = None) -> pd.DataFrame:
    """The table of an experiment, such as "one_or_five".

    Raises:
        MissingArtefact: it has not been run; names the command.
    """
    path = Path(folder or paths.REPO / "docs" / "claims") / f"{experiment}.csv"
    if not path.exists():
        raise paths.MissingArtefact(
            f"{paths.shown(path)} is missing: run python benchmarks/claims.py {experiment}."
        )
    return pd.read_csv(path)


def one_or_five(table: pd.DataFrame, world: str = "phantoms") -> Figure:
    """One model of all classes beside one model per class: a panel per measure, a mark per training.

    Args:
        table: of the experiment `one_or_five`.
        world: "phantoms" or "real".
    """
    table = table[(table["world"] == world) & (table["class"] != "all")]
    classes = list(dict.fromkeys(table["class"]))
    size = table.groupby("class")["exams"].max()
    arms = list(dict.fromkeys(table["arm"]))
    fig = new(9, 5.2)
    for ax, (measure, title) in zip(fig.subplots(2, 3).flat, PANELS.items(), strict=True):
        rows = table[table["measure"] == measure]
        for k, arm in enumerate(arms):
            part = rows[rows["arm"] == arm]
            x = np.array([classes.index(c) for c in part["class"]]) + 0.22 * (
                k - (len(arms) - 1) / 2
            )
            face = INK if k == 0 else "white"
            ax.plot(x, part["value"], MARKS[k], ms=5, mec=INK, mfc=face, label=arm, ls="")
        for floor in {"tstr": "trtr", "kid": "kid_floor"}.keys() & {measure}:
            real = table[table["measure"] == {"tstr": "trtr", "kid": "kid_floor"}[floor]]
            mean = real.groupby("class")["value"].mean().reindex(classes)
            ax.plot(range(len(classes)), mean, "_", ms=22, color="0.6", label="real exams")
        if measure in ("membership_auc", "copy_fraction"):
            ax.axhline(0.5 if measure == "membership_auc" else 0.05, color="0.75", lw=0.8, zorder=0)
        ax.set_title(title, fontsize=10)
        names = [f"{readable(c)}\n{size[c]:.0f}" for c in classes]
        ax.set_xticks(range(len(classes)), names, fontsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    fig.axes[3].legend(fontsize=7, frameon=False)
    fig.supxlabel("class, and how many training exams it has", fontsize=9)
    return fig


def over_time(table: pd.DataFrame, world: str = "phantoms") -> Figure:
    """KID, membership AUC and copy fraction over the steps of a training, a line for every number of exams."""
    table = table[table["world"] == world]
    fig = new(9, 3.0)
    panels = {k: PANELS[k] for k in ("kid", "membership_auc", "copy_fraction")}
    for ax, (measure, title) in zip(fig.subplots(1, 3), panels.items(), strict=True):
        rows = table[table["measure"] == measure]
        for k, (n, part) in enumerate(rows.groupby("exams")):
            mean = part.groupby("steps")["value"].mean()
            grey = str(0.65 * k / max(1, rows["exams"].nunique() - 1))
            ax.plot(mean.index, mean, MARKS[k % 4] + "-", ms=3.5, lw=1.2, color=grey, label=f"{n}")
        ax.set_xscale("log")
        if measure == "kid":
            ax.set_yscale("symlog", linthresh=0.1)
        else:
            ax.axhline(0.5 if measure == "membership_auc" else 0.05, color="0.75", lw=0.8, zorder=0)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("steps", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    fig.axes[1].legend(title="training exams", fontsize=7, title_fontsize=7, frameon=False)
    return fig


def walk_distributions(table: pd.DataFrame) -> Figure:
    """Each measure over all walks of a kind: the median, the middle half, and every walk as a dot.

    The controls stand at the bottom. A measure is of use where the true morph and the cross-fades lie apart; the lowest
    residual, shown for comparison, is of none.
    """
    controls = ["true morph", "cross-fade of the same ends", "cross-fade of held-out exams"]
    kinds = [k for k in ("slerp", "lerp", "label", "paper") if k in set(table["kind"])]
    order = [*kinds, *(c for c in controls if c in set(table["kind"]))]
    fig = new(9, 0.42 * len(order) + 1.1)
    for ax, (measure, title) in zip(fig.subplots(1, len(WALKS), sharey=True), WALKS.items()):
        rows = table[table["measure"] == measure]
        for y, kind in enumerate(order):
            v = np.sort(rows[rows["kind"] == kind]["value"].to_numpy())
            if not len(v):
                continue
            colour = "0.55" if kind in controls else INK
            spread = np.linspace(-0.22, 0.22, len(v))
            ax.plot(v, y + np.random.default_rng(0).permutation(spread), ".", ms=2, color="0.75")
            low, middle, high = np.quantile(v, [0.25, 0.5, 0.75])
            ax.plot([low, high], [y, y], "-", color=colour, lw=3)
            ax.plot(middle, y, "|", color=colour, ms=14, mew=2)
        ax.set_title(title, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    fig.axes[0].set_yticks(range(len(order)), order, fontsize=8)
    fig.axes[0].invert_yaxis()
    return fig
