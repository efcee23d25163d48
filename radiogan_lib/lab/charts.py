"""Charts: trainings and what they drew, confusion, sweeps, walks, and the networks themselves.

`class_names` are in label order; `unit` is that of the pixels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from radiogan_lib import paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import INK, arrow, evenly, grid, new, plain, readable, show, words
from radiogan_lib.lab.tables import Table, trained

STYLES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D")
UNTRAINED = "train first (notebooks/03_training.ipynb)."


def curves(history: pd.DataFrame) -> Figure:
    """Losses (top) and shares (bottom) per epoch; a dotted line is what guessing gives.

    Args:
        history: `Run.history`, one row per epoch.

    Raises:
        RadioganError: there is no finished epoch to draw.
    """
    if len(history) == 0:
        raise RadioganError(f"the history holds no finished epoch yet: {UNTRAINED}")
    chance = float(history["chance"].dropna().iloc[-1]) if "chance" in history else 0.5
    fig = new(8, 4.4)
    losses, shares = fig.subplots(2, 1, sharex=True)
    lines = (
        (losses, "d_loss", "discriminator", math.log(2)),
        (losses, "g_loss", "generator", math.log(2)),
        (shares, "d_accuracy", "discriminator accuracy", 0.5),
        (shares, "auxiliary_accuracy", "auxiliary accuracy", chance),
        (shares, "label_agreement", "label agreement", chance),
    )
    ends: dict = {losses: [], shares: []}
    for k, (ax, column, name, level) in enumerate(lines):
        rows = history.dropna(subset=[column]) if column in history else history.head(0)
        if len(rows):
            style = {"color": str(0.2 * (k % 3)), "lw": 1.4, "marker": "o" * (len(rows) == 1)}
            ax.plot(rows["epoch"], rows[column], STYLES[k % len(STYLES)], **style)
            ax.axhline(level, color="0.6", lw=0.9, ls=":", zorder=0)
            ends[ax].append((float(rows[column].iloc[-1]), name))
    x = history["epoch"].to_numpy()
    shares.set(ylim=(0, 1.02), xlabel="epoch", ylabel="share")
    losses.set_ylabel("loss")
    for ax, names in ends.items():
        plain(ax)
        low, high = ax.get_ylim()
        last = -np.inf
        for value, name in sorted(names):  # at its line's right end, pushed apart if they overlap
            last = max(value, last + 0.11 * (high - low))
            style = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(name, (x[-1], last), **style, fontsize=9, color=INK, annotation_clip=False)
    guessing = {"color": "0.4", "va": "bottom"}
    middle = x[len(x) // 2]
    words(losses, middle, math.log(2), "guessing: ln 2", 7.5, **guessing)
    words(shares, middle, 0.5, "guessing, real or generated: 0.5", 7.5, **guessing)
    words(shares, middle, chance, f"guessing the class: {chance:.2g}", 7.5, **guessing)
    return fig


def training_strip(
    samples, epochs: Sequence[int] = (), class_names: Sequence[str] = (), unit: str = "SUV"
) -> Figure:
    """The same latent points (rows) at seven epochs spread evenly, first and last included.

    Args:
        samples: SUV, (epochs, points, h, w).
        epochs: the epoch of each entry of `samples`; default 1, 2, ….
        class_names: of the rows, where the points are one per class.
    """
    samples = np.asarray(samples)
    if samples.ndim != 4 or len(samples) == 0:
        raise RadioganError(f"there are no saved samples of this run to draw: {UNTRAINED}")
    epochs = list(epochs) or list(range(1, len(samples) + 1))
    keep = evenly(len(samples), 7)
    titles = [("epoch " if k == 0 else "") + str(epochs[k]) for k in keep]
    rows = samples[keep].swapaxes(0, 1)
    return grid(rows, [readable(c) for c in class_names], titles, unit=unit)[0]


def failures(trials: Mapping[str, tuple], class_names: Sequence[str]) -> Figure:
    """Trainings that fail beside one that does not: what each draws, its losses, its measures.

    Two noise vectors are drawn, for the first and the last class.

    Args:
        trials: {name: (SUV (noise vectors, classes, h, w), history with d_loss, g_loss,
            label_agreement and diversity)}.
    """
    fig = new(11.5, 1.7 * len(trials) + 0.5)
    axes = fig.subplots(len(trials), 6, width_ratios=[1] * 4 + [3.2] * 2, squeeze=False)
    panels = (
        ({"d_loss": "discriminator's loss", "g_loss": "generator's loss"}, 4.0),
        ({"label_agreement": "label agreement", "diversity": "diversity"}, 1.1),
    )
    for r, (name, (images, history)) in enumerate(trials.items()):
        for c in range(4):
            label = 0 if c < 2 else len(class_names) - 1
            title = readable(class_names[label]) if r == 0 and c % 2 == 0 else ""
            show(axes[r, c], images[c % 2, label], title=title)
        name = name.replace(", ", "\n").replace(" has", "\nhas")
        axes[r, 0].set_ylabel(name, fontsize=8, color=INK)
        for ax, (columns, top) in zip(axes[r, 4:], panels):
            for (column, label), style in zip(columns.items(), STYLES):
                rows = history.dropna(subset=[column])
                y = np.minimum(rows[column], top)
                ax.plot(rows["epoch"], y, style, color=INK, lw=1.4, label=label)
            ax.set(ylim=(0, top), xlim=(0, history["epoch"].max()))
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.tick_params(labelsize=7)
            plain(ax)
        axes[r, 4].axhline(math.log(2), color="0.6", lw=0.9, ls=":")
    for k, place in enumerate(("upper right", "center right")):
        axes[0, 4 + k].legend(frameon=False, fontsize=7.5, loc=place)
        axes[-1, 4 + k].set_xlabel("epoch", fontsize=8)
    return fig


def confusion(report: Mapping, class_names: Sequence[str]) -> Figure:
    """Rows: the class asked for; columns: the class that the classifier finds; shares of a row.

    `report` holds counts (n, n) under `confusion`.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    if "confusion" not in report:
        raise RadioganError("this report holds no confusion matrix under 'confusion'.")
    counts = np.asarray(report["confusion"], dtype=float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    size = max(3.2, 0.75 * len(class_names))
    fig = new(size + 1.5, size + 0.4)
    ax = fig.subplots()
    names, ends = [readable(c) for c in class_names], {"vmin": 0, "vmax": 1}
    shown = ConfusionMatrixDisplay(share, display_labels=names)
    shown.plot(ax=ax, cmap="gray_r", values_format=".0%", colorbar=False, im_kw=ends)
    ax.tick_params(length=0, labelsize=9)
    ax.set_xticks(range(len(share)), names, rotation=35, ha="right")
    ax.set(xlabel="class that the classifier finds", ylabel="class asked for")
    return fig


def sweep(path: Path | str) -> Figure | Table:
    """A panel per measure: training exams on a logarithmic axis, value and interval of every run.

    `path` is the csv that benchmarks/n_sweep.py writes; where there is none, a line says so.
    """
    if not Path(path).exists():
        how = "has not been made yet: python benchmarks/n_sweep.py makes it."
        return Table([], note=f"{paths.shown(path)} {how}")
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"recipe": str})
    panels = {  # measure: (title, what a generator without memory gives)
        "membership_auc": ("membership AUC", 0.5),
        "copy_fraction": ("copy fraction", 0.05),
        "discriminator_auc": ("discriminator's AUC", 0.5),
    }
    fig = new(3.1 * len(panels) + 0.3, 3.0)
    axes = fig.subplots(1, len(panels))
    sizes, recipes = np.unique(table["n_train"]), sorted(table["recipe"].unique())
    for ax, (name, (title, innocent)) in zip(axes, panels.items()):
        ax.axhline(innocent, color="#888888", linewidth=0.8, linestyle="--", zorder=1)
        for k, recipe in enumerate(recipes):
            rows = table[table["recipe"] == recipe].dropna(subset=[name]).sort_values("n_train")
            value, n = rows[name], rows["n_train"]
            # runs of one n stand beside each other, recipe by recipe
            aside = 0.4 * (k - (len(recipes) - 1) / 2)
            runs = rows.groupby("n_train")[name]
            x = n * np.exp(aside + 0.1 * (runs.cumcount() - (runs.transform("size") - 1) / 2))
            spread = [(value - rows[f"{name}_low"]).clip(0), (rows[f"{name}_high"] - value).clip(0)]
            style = {"color": INK, "mfc": "white" if k else INK, "ms": 5, "lw": 1, "capsize": 2}
            ax.errorbar(x, value, spread, fmt=MARKS[k % 4], label=recipe or "one recipe", **style)
            mean = value.groupby(n).mean()
            ax.plot(mean.index * np.exp(aside), mean, color=INK, linewidth=0.8, alpha=0.5)
        ax.set_xscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("training exams", fontsize=9)
        ax.tick_params(labelsize=8)
        plain(ax, title, 10)
    if len(recipes) > 1:
        axes[-1].legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("value, 95 % interval", fontsize=9)
    return fig


# The experiments of docs/claims.md


def claim(experiment: str, folder: Path | str | None = None) -> pd.DataFrame:
    """The table of an experiment of docs/claims.md, such as "walks".

    Raises:
        MissingArtefact: it has not been run; names the command.
    """
    path = Path(folder or paths.REPO / "docs" / "claims") / f"{experiment}.csv"
    if not path.exists():
        how = f"is missing: run python benchmarks/claims.py {experiment}."
        raise paths.MissingArtefact(f"{paths.shown(path)} {how}")
    return pd.read_csv(path)


# Experiments of docs/claims.md, a title for each measure
PANELS = {
    "kid": "KID (0 is best)",
    "coverage": "coverage",
    "vendi_ratio": "Vendi ratio",
    "tstr": "TSTR, recall",
    "membership_auc": "membership AUC",
    "copy_fraction": "copy fraction",
}
WITHOUT_MEMORY = {"membership_auc": 0.5, "copy_fraction": 0.05}


def one_or_five(table: pd.DataFrame, world: str = "phantoms") -> Figure:
    """One model of all classes beside one per class: a panel per measure, a mark per training.

    `world` is "phantoms" or "real", here and in `over_time`.
    """
    table = table[(table["world"] == world) & (table["class"] != "all")]
    size = table.groupby("class")["exams"].max().sort_values(ascending=False)
    classes, arms = list(size.index), list(dict.fromkeys(table["arm"]))
    fig = new(9, 5.0)
    for ax, (measure, title) in zip(fig.subplots(2, 3).flat, PANELS.items(), strict=True):
        rows = table[table["measure"] == measure]
        for k, arm in enumerate(arms):
            part = rows[rows["arm"] == arm]
            x = np.array([classes.index(c) for c in part["class"]]) + 0.22 * (k - 1)
            face = INK if arm == "one model" else "white"
            ax.plot(x, part["value"], MARKS[k], ms=5, mec=INK, mfc=face, label=arm)
        if measure == "tstr":
            real = table[table["measure"] == "trtr"].groupby("class")["value"].mean()
            ax.plot(range(len(classes)), real.reindex(classes), "_", ms=22, color="0.6")
            title += " (bars: trained on exams)"
        if measure in WITHOUT_MEMORY:
            ax.axhline(WITHOUT_MEMORY[measure], color="0.75", lw=0.8, zorder=0)
        plain(ax, title)
        names = [f"{readable(c).replace('& ', '&' + chr(10))}\n({size[c]:.0f})" for c in classes]
        ax.set_xticks(range(len(classes)), names, fontsize=6)
        if measure not in WITHOUT_MEMORY:
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    style = {"loc": "outside upper center", "ncols": 4, "fontsize": 8, "frameon": False}
    fig.legend(*fig.axes[0].get_legend_handles_labels(), **style)
    fig.supxlabel("class (training exams)", fontsize=9)
    return fig


def over_time(table: pd.DataFrame, world: str = "phantoms") -> Figure:
    """KID and memory over the steps of a training: a line for every number of exams."""
    table = table[table["world"] == world]
    fig = new(9, 2.8)
    for ax, measure in zip(fig.subplots(1, 3), ("kid", "membership_auc", "copy_fraction")):
        rows = table[table["measure"] == measure]
        for k, (n, part) in enumerate(rows.groupby("exams")):
            mean = part.groupby("steps")["value"].mean()
            shade = str(0.65 * k / max(1, rows["exams"].nunique() - 1))
            ax.plot(mean.index, mean, MARKS[k % 4] + "-", ms=3.5, lw=1.2, color=shade, label=f"{n}")
        ax.set_xscale("log")
        if measure == "kid":
            ax.set_yscale("symlog", linthresh=0.1)
            ax.set_ylim(bottom=0)
        else:
            ax.axhline(WITHOUT_MEMORY[measure], color="0.75", lw=0.8, zorder=0)
        plain(ax, PANELS[measure])
        ax.set_xlabel("steps", fontsize=9)
    fig.axes[1].legend(title="training exams", fontsize=7, title_fontsize=7, frameon=False)
    return fig


def walk_distributions(table: pd.DataFrame) -> Figure:
    """Each measure over all walks of a kind: the median, the middle half, and every walk as a dot.

    The controls stand at the bottom. A measure is of use where the true morph and the cross-fades
    lie apart; the lowest residual, shown for comparison, is of none.
    """
    controls = ["true morph", "cross-fade of the same ends", "cross-fade of held-out exams"]
    order = ["slerp", "lerp", "label", "paper", *controls]
    order = [kind for kind in order if kind in set(table["kind"])]
    panels = {
        "chord_ratio": "chord ratio",
        "off_chord": "off-chord",
        "fine_detail": "fine detail, middle ÷ ends",
        "lowest_residual": "lowest residual",
    }
    fig = new(9, 0.42 * len(order) + 1.1)
    axes = fig.subplots(1, len(panels), sharey=True)
    for ax, (measure, title) in zip(axes, panels.items()):
        rows = table[table["measure"] == measure]
        for y, kind in enumerate(order):
            v = np.sort(rows[rows["kind"] == kind]["value"].to_numpy())
            if not len(v):
                continue
            colour = "0.55" if kind in controls else INK
            spread = np.random.default_rng(0).permutation(np.linspace(-0.22, 0.22, len(v)))
            ax.plot(v, y + spread, ".", ms=2, color="0.75")
            low, middle, high = np.quantile(v, [0.25, 0.5, 0.75])
            ax.plot([low, high], [y, y], "-", color=colour, lw=3)
            ax.plot(middle, y, "|", color=colour, ms=14, mew=2)
        plain(ax, title)
    axes[0].set_yticks(range(len(order)), order, fontsize=8)
    axes[0].invert_yaxis()
    return fig


# The networks

# Layers that change no shape are written below the box they belong to, by these names
SHORT = {"BatchNormalization": "BatchNorm", "SuvImage": "tanh"}
SHORT |= {name: name for name in ("LeakyReLU", "ReLU", "Dropout")}
LONG = {
    "Conv2DTranspose": "transposed conv",
    "Conv2D": "conv",
    "Concatenate": "join",
    "BatchSpread": "batch spread",
}


def stages(model) -> list[dict]:
    """The model as boxes: each layer that changes a shape, with what follows it folded in.

    Returns:
        One dict per box: `name`, `kernel` ((size, stride) or None), `shape`, `words` (the folded
        layers), `parameters`, `parents` (box indices), `column` and `lane`, its place: the column
        is the longest way from an input; in lane 1 lies what only the label reaches.
    """
    boxes: list[dict] = []
    home: dict[str, int] = {}
    for layer in model.layers:
        # Keras has no public name for the graph that its own plot_model draws
        nodes = layer._inbound_nodes
        before = [t._keras_history.operation for t in nodes[0].input_tensors] if nodes else []
        parents = [home[p.name] for p in before if p.name in home]
        kind = type(layer).__name__
        if kind in SHORT and len(parents) == 1:
            home[layer.name] = parents[0]
            boxes[parents[0]]["words"].append(SHORT[kind])
            boxes[parents[0]]["parameters"] += trained(layer)
            continue
        kernel = (layer.kernel_size[0], layer.strides[0]) if hasattr(layer, "kernel_size") else None
        lanes = [boxes[p]["lane"] for p in parents] or [int(layer.name == "label")]
        home[layer.name] = len(boxes)
        box = {
            "name": LONG.get(kind, layer.name if kind == "InputLayer" else kind.lower()),
            "kernel": kernel,
            "shape": tuple(layer.output.shape[1:]),
            "words": [],
            "parameters": trained(layer),
            "parents": parents,
            "column": 1 + max((boxes[p]["column"] for p in parents), default=-1),
            "lane": min(lanes),
        }
        boxes.append(box)
    for index in range(len(boxes) - 1, -1, -1):  # a branch waits next to where it is used
        users = [b["column"] for b in boxes if index in b["parents"]]
        boxes[index]["column"] = min(users, default=boxes[index]["column"] + 1) - 1
    return boxes


def _block(ax, x: float, y: float, shape: tuple) -> tuple[float, float, float]:
    """Draw one output, as high as it has rows; returns half its width, half its height, depth."""
    if len(shape) == 3:
        rows, columns, channels = shape
        tall = 0.16 + 0.16 * math.log2(rows)
        wide = 0.6 * (0.16 + 0.16 * math.log2(columns))
        wide, deep = min(0.62, wide), 0.04 * math.log2(channels + 1)
    else:  # a vector: a thin upright bar
        tall, wide, deep = 0.25 + 0.09 * math.log2(math.prod(shape) + 1), 0.10, 0.0
    left, low = x - wide / 2, y - tall / 2
    right, top = left + wide, low + tall
    edge = {"edgecolor": INK, "lw": 0.8}
    ax.add_patch(Rectangle((left, low), wide, tall, facecolor="0.9", zorder=3, **edge))
    if deep:
        near = [(left, top), (right, top), (right, low)]
        far = [(x + deep, y + deep) for x, y in near]
        corners = [near[0], *far, near[2], near[1]]
        ax.add_patch(Polygon(corners, facecolor="0.75", zorder=2, **edge))
    return wide / 2, tall / 2, deep


def architecture(model) -> Figure:
    """Each step of a network with its output shape and parameter count (paper Fig. 3)."""
    boxes, step = stages(model), 1.02
    columns, lanes = (1 + max(b[k] for b in boxes) for k in ("column", "lane"))
    height = 2.3 if lanes > 1 else 0.0  # of the image's lane above the label's
    fig = new(max(6.0, columns * 0.98 + 0.3), 1.6 + 1.9 * lanes)
    ax = fig.subplots()
    reach = []
    for box in boxes:
        x, y = box["column"] * step, 0.0 if box["lane"] else height
        rx, ry, deep = _block(ax, x, y, box["shape"])
        name, lines = box["name"], [" × ".join(map(str, box["shape"])) or "1 number"]
        if box["kernel"]:
            k, s = box["kernel"]
            name += f"\n{k} × {k}" + (f", stride {s}" if s > 1 else "")
        words(ax, x, y + ry + deep + 0.06, name, 7.5, ha="center", va="bottom", color=INK)
        lines += [f"{box['parameters']:,}"] * bool(box["parameters"]) + box["words"]
        text = "\n".join(lines)
        words(ax, x, y - ry - 0.08, text, 7, ha="center", va="top", linespacing=1.25)
        reach.append((x, y, rx, y - ry - 0.12 - 0.16 * len(lines)))
    for (x1, y1, r1, low), box in zip(reach, boxes):
        for p in box["parents"]:
            x0, y0, r0, _ = reach[p]
            end, bend = (x1 - r1 - 0.04, y1), "arc3,rad=0"
            if y0 != y1:  # the label's branch: along, then up to below the words of its block
                end, bend = (x1, low), "angle,angleA=0,angleB=90,rad=4"
            elif box["column"] - boxes[p]["column"] > 1:
                bend = "arc3,rad=-0.35"
            arrow(ax, (x0 + r0 + 0.03, y0), end, "0.4", lw=0.9, zorder=1, connectionstyle=bend)
    title = f"{model.name}: {trained(model):,} trained parameters (written below each shape)"
    ax.set_title(title, fontsize=10, color=INK)
    ax.set(xlim=(-0.6, (columns - 1) * step + 0.6), ylim=(-1.3, height + 1.55))
    ax.set_axis_off()
    return fig
