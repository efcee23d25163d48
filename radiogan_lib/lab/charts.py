"""Charts of a training and of its networks: curves, samples over the epochs, confusion, sweeps, the architecture.

Shown in notebooks/02_networks.ipynb to notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import INK, WINDOW, grid, new, readable, show
from radiogan_lib.lab.tables import Table

STYLES = ["-", "--", ":", "-."]


def _label_ends(ax, series: dict[str, np.ndarray], x) -> None:
    """Write each line's name at its right end, in place of a legend, pushed apart where two would overlap."""
    ends = sorted(
        (float(v[np.isfinite(v)][-1]), name) for name, v in series.items() if np.isfinite(v).any()
    )
    low, high = ax.get_ylim()
    gap, last = (high - low) * 0.11, -np.inf
    for value, name in ends:
        last = max(value, last + gap)
        ax.annotate(
            name,
            (x[-1], last),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )


def curves(history) -> Figure:
    """Losses (top) and shares (bottom) per epoch; a dotted line is what guessing gives.

    Args:
        history: `Run.history`, one row per epoch.

    Raises:
        RadioganError: there is no finished epoch to draw.
    """
    if len(history) == 0:
        raise RadioganError(
            "the history holds no finished epoch yet: train first (notebooks/03_training.ipynb)."
        )
    chance = float(history["chance"].dropna().iloc[-1]) if "chance" in history else 0.5
    shown = {
        "d_loss": (0, "discriminator", math.log(2)),
        "g_loss": (0, "generator", math.log(2)),
        "d_accuracy": (1, "discriminator accuracy", 0.5),
        "auxiliary_accuracy": (1, "auxiliary accuracy", chance),
        "label_agreement": (1, "label agreement", chance),
    }
    fig = new(8, 4.4)
    axes = fig.subplots(2, 1, sharex=True)
    ends: tuple[dict, dict] = ({}, {})
    for k, (column, (panel, words, level)) in enumerate(shown.items()):
        rows = history.dropna(subset=[column]) if column in history else history.head(0)
        if len(rows):
            style = {"color": str(0.2 * (k % 3)), "lw": 1.4, "marker": "o" * (len(rows) == 1)}
            axes[panel].plot(rows["epoch"], rows[column], STYLES[k % len(STYLES)], **style)
            axes[panel].axhline(level, color="0.6", lw=0.9, ls=":", zorder=0)
            ends[panel][words] = rows[column].to_numpy(float)
    x = history["epoch"].to_numpy()
    axes[1].set_ylim(0, 1.02)
    for ax, name, lines in zip(axes, ("loss", "share"), ends):
        ax.set_ylabel(name)
        ax.spines[["top", "right"]].set_visible(False)
        _label_ends(ax, lines, x)
    for ax, level, words in (
        (axes[0], math.log(2), "guessing: ln 2"),
        (axes[1], 0.5, "guessing, real or generated: 0.5"),
        (axes[1], chance, f"guessing the class: {chance:.2g}"),
    ):
        ax.text(x[len(x) // 2], level, words, fontsize=7.5, color="0.4", va="bottom")
    axes[1].set_xlabel("epoch")
    return fig


def training_strip(
    samples, epochs: Sequence[int] = (), class_names: Sequence[str] = (), columns: int = 7
) -> Figure:
    """The same latent points over the epochs: one row per point, one column per saved epoch.

    Args:
        samples: SUV, (epochs, points, h, w).
        epochs: the epoch of each entry of `samples`; default 1, 2, ….
        class_names: of the rows, where the points are one per class.
        columns: at most this many epochs are drawn, spread evenly, first and last included.
    """
    samples = np.asarray(samples)
    if samples.ndim != 4 or len(samples) == 0:
        raise RadioganError(
            "there are no saved samples of this run to draw: train first (notebooks/03_training.ipynb)."
        )
    epochs = list(epochs) or list(range(1, len(samples) + 1))
    last = len(samples) - 1
    keep = np.unique(np.linspace(0, last, min(columns, last + 1)).round().astype(int))
    titles = [("epoch " if k == 0 else "") + str(epochs[k]) for k in keep]
    rows = [[samples[k, r] for k in keep] for r in range(samples.shape[1])]
    return grid(rows, [readable(c) for c in class_names], titles)[0]


def failures(trials: Mapping[str, tuple], class_names: Sequence[str], vectors: int = 2) -> Figure:
    """Trainings that fail beside one that does not: what each draws at its end, its losses and its measures.

    Args:
        trials: {name: (SUV (noise vectors, classes, h, w), history with d_loss, g_loss, label_agreement, diversity)}.
        class_names: in label order.
        vectors: noise vectors that are drawn, for the first and the last class.
    """
    across = 2 * vectors
    fig = new(11.5, 1.7 * len(trials) + 0.5)
    axes = fig.subplots(
        len(trials), across + 2, width_ratios=[1] * across + [3.2] * 2, squeeze=False
    )
    panels = (("d_loss", "g_loss"), ("label_agreement", "diversity"))
    for r, (name, (images, history)) in enumerate(trials.items()):
        for c in range(across):
            label = 0 if c < vectors else len(class_names) - 1
            title = readable(class_names[label]) if r == 0 and c % vectors == 0 else ""
            show(axes[r, c], images[c % vectors, label], WINDOW, title)
        axes[r, 0].set_ylabel(
            name.replace(", ", "\n").replace(" has", "\nhas"), fontsize=8, color=INK
        )
        for ax, columns, top in zip(axes[r, across:], panels, (4.0, 1.1)):
            for column, style in zip(columns, STYLES):
                rows = history.dropna(subset=[column])
                y = np.minimum(rows[column], top)
                ax.plot(rows["epoch"], y, style, color=INK, lw=1.4, label=_words(column))
            ax.set(ylim=(0, top), xlim=(0, history["epoch"].max()))
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.tick_params(labelsize=7)
            ax.spines[["top", "right"]].set_visible(False)
        axes[r, across].axhline(math.log(2), color="0.6", lw=0.9, ls=":")
    for ax in axes[0, across:]:
        ax.legend(
            frameon=False,
            fontsize=7.5,
            loc="upper right" if ax is axes[0, across] else "center right",
        )
    for ax in axes[-1, across:]:
        ax.set_xlabel("epoch", fontsize=8)
    return fig


def _words(column: str) -> str:
    return {"d_loss": "discriminator's loss", "g_loss": "generator's loss"}.get(
        column, column.replace("_", " ")
    )


def confusion(matrix, class_names: Sequence[str]) -> Figure:
    """Rows: the class asked for; columns: the class that the classifier sees; numbers are shares of a row.

    Args:
        matrix: counts, (n, n), or a utility report that holds one under `confusion`.
        class_names: in label order.
    """
    if isinstance(matrix, dict):
        found = matrix.get("confusion", matrix.get("confusion_matrix"))
        if found is None:
            raise RadioganError("this report holds no confusion matrix under 'confusion'.")
        matrix = found
    counts = np.asarray(matrix, dtype=float)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    n = len(class_names)
    size = max(3.2, 0.75 * n)
    fig = new(size + 1.5, size + 0.4)
    ax = fig.subplots()
    ax.imshow(share, cmap="gray_r", vmin=0, vmax=1)
    for r in range(n):
        for c in range(n):
            ax.text(
                c,
                r,
                f"{share[r, c]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if share[r, c] > 0.5 else "black",
            )
    names = [readable(c) for c in class_names]
    ax.set_xticks(range(n), names, rotation=35, ha="right", fontsize=9)
    ax.set_yticks(range(n), names, fontsize=9)
    ax.tick_params(length=0)
    ax.set(xlabel="class seen by the classifier", ylabel="class asked for")
    return fig


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


# Layers that change no shape are written below the box they belong to, by these short names
SHORT = {
    "BatchNormalization": "BatchNorm",
    "LeakyReLU": "LeakyReLU",
    "ReLU": "ReLU",
    "Dropout": "Dropout",
    "SuvImage": "tanh",
    "Activation": "",
    "Fade": "fade in",
}
LONG = {
    "InputLayer": "input",
    "Conv2DTranspose": "transposed conv",
    "Conv2D": "conv",
    "OneChannelConv2D": "conv",
    "Concatenate": "join",
    "Embedding": "embedding",
    "Dense": "dense",
    "Reshape": "reshape",
    "Flatten": "flatten",
    "Add": "add",
    "Projection": "inner product",
}


def _shape(layer) -> tuple:
    output = layer.output[0] if isinstance(layer.output, (list, tuple)) else layer.output
    return tuple(output.shape[1:])


def _parents(layer) -> list:
    """The layers whose outputs this one takes, in this model's graph."""
    nodes = (
        layer._inbound_nodes
    )  # Keras has no public name for the graph that its own plot_model draws
    return [tensor._keras_history.operation for tensor in nodes[0].input_tensors] if nodes else []


def stages(model) -> list[dict]:
    """The model as boxes: each layer that changes a shape or has a kernel, with what follows it folded in.

    Returns:
        One dict per box: `name`, `words` (the folded layers), `shape`, `parameters`, `parents` (box indices), `inputs`
        (names of the model inputs that reach it), `kernel` ((size, stride) or None).
    """
    boxes: list[dict] = []
    home: dict[str, int] = {}
    for layer in model.layers:
        parents = [home[p.name] for p in _parents(layer) if p.name in home]
        kind = type(layer).__name__
        weights = sum(int(np.prod(v.shape)) for v in layer.trainable_weights)
        if kind in SHORT and len(parents) == 1:
            box = boxes[parents[0]]
            box["words"].append(SHORT[kind] or str(getattr(layer, "activation", "")))
            box["parameters"] += weights
            home[layer.name] = parents[0]
            continue
        kernel = None
        if hasattr(layer, "kernel_size"):
            kernel = tuple(
                int(np.ravel(v)[0]) for v in (layer.kernel_size, getattr(layer, "strides", 1))
            )
        inputs = (
            {layer.name}
            if kind == "InputLayer"
            else set().union(*(boxes[p]["inputs"] for p in parents))
        )
        boxes.append(
            {
                "name": LONG.get(kind, kind),
                "words": [],
                "shape": _shape(layer),
                "parameters": weights,
                "parents": parents,
                "inputs": inputs,
                "kernel": kernel,
                "layer": layer.name,
            }
        )
        home[layer.name] = len(boxes) - 1
    return boxes


def _place(boxes: list[dict]) -> None:
    """Column = longest way from an input; lane 1 = reached by the label alone, lane 0 = the way of the image."""
    for box in boxes:
        box["column"] = 1 + max((boxes[p]["column"] for p in box["parents"]), default=-1)
        box["lane"] = 1 if box["inputs"] == {"label"} else 0
    for index in range(len(boxes) - 1, -1, -1):  # a branch waits next to where it is used
        users = [b["column"] for b in boxes if index in b["parents"]]
        if users:
            boxes[index]["column"] = min(users) - 1


def _block(ax, x: float, y: float, shape: tuple, width: float) -> tuple[float, float, float]:
    """Draw one output as a block: its height grows with the rows, its depth with the channels.

    Returns half its width, half its height, and its depth.
    """
    rows, cols, channels = (
        (shape + (1, 1))[:3] if len(shape) == 3 else (1, 1, shape[0] if shape else 1)
    )
    if len(shape) == 3:
        tall = 0.16 + 0.16 * math.log2(rows)
        wide = min(width, 0.6 * (0.16 + 0.16 * math.log2(max(cols, 1))))
        deep = 0.04 * math.log2(channels + 1)
    else:  # a vector: a thin upright bar
        tall, wide, deep = 0.25 + 0.09 * math.log2(channels + 1), 0.10, 0.0
    left, low = x - wide / 2, y - tall / 2
    ax.add_patch(
        Rectangle((left, low), wide, tall, facecolor="0.9", edgecolor=INK, lw=0.8, zorder=3)
    )
    if deep:
        corners = [
            (left, low + tall),
            (left + deep, low + tall + deep),
            (left + wide + deep, low + tall + deep),
            (left + wide + deep, low + deep),
            (left + wide, low),
            (left + wide, low + tall),
        ]
        ax.add_patch(
            Polygon(corners, closed=True, facecolor="0.75", edgecolor=INK, lw=0.8, zorder=2)
        )
    return wide / 2, tall / 2, deep


def architecture(model) -> Figure:
    """Every step of a network with its output shape and its parameter count (paper Fig. 3), drawn from the model itself."""
    boxes = stages(model)
    _place(boxes)
    columns = 1 + max(b["column"] for b in boxes)
    lanes = 1 + max(b["lane"] for b in boxes)
    step = 1.02
    width = max(6.0, columns * 0.98 + 0.3)
    fig = new(width, 1.6 + 1.9 * lanes)
    ax = fig.subplots()
    centre = {0: 2.3 if lanes > 1 else 0.0, 1: 0.0}
    reach = []
    for box in boxes:
        x, y = box["column"] * step, centre[box["lane"]]
        rx, ry, deep = _block(ax, x, y, box["shape"], 0.62)
        name = box["layer"] if box["name"] == "input" else box["name"]
        if box["kernel"]:
            k, s = box["kernel"]
            name += f"\n{k} × {k}" + (f", stride {s}" if s > 1 else "")
        ax.text(x, y + ry + deep + 0.06, name, ha="center", va="bottom", fontsize=7.5, color=INK)
        lines = [" × ".join(map(str, box["shape"])) or "1 number"]
        if box["parameters"]:
            lines.append(f"{box['parameters']:,}")
        lines += box["words"]
        reach.append((x, y, rx, y - ry - 0.12 - 0.16 * len(lines)))
        ax.text(
            x,
            y - ry - 0.08,
            "\n".join(lines),
            ha="center",
            va="top",
            fontsize=7,
            color="0.25",
            linespacing=1.25,
        )
    for k, box in enumerate(boxes):
        for p in box["parents"]:
            (x0, y0, r0, _), (x1, y1, r1, low) = reach[p], reach[k]
            start, end, bend = (x0 + r0 + 0.03, y0), (x1 - r1 - 0.04, y1), "arc3,rad=0"
            if (
                y0 != y1
            ):  # the label's branch: along, then up to below the words of the block that it joins
                end, bend = (x1, low), "angle,angleA=0,angleB=90,rad=4"
            elif box["column"] - boxes[p]["column"] > 1:
                bend = "arc3,rad=-0.35"
            ax.add_patch(
                FancyArrowPatch(
                    start,
                    end,
                    arrowstyle="-|>",
                    mutation_scale=8,
                    lw=0.9,
                    color="0.4",
                    connectionstyle=bend,
                    zorder=1,
                    shrinkA=0,
                    shrinkB=0,
                )
            )
    total = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    ax.set_title(
        f"{model.name}: {total:,} trained parameters (written below each shape)",
        fontsize=10,
        color=INK,
    )
    ax.set(xlim=(-0.6, (columns - 1) * step + 0.6), ylim=(-1.3, centre[0] + 1.55))
    ax.set_axis_off()
    return fig
