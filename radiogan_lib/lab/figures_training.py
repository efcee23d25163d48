"""Pictures of a training: its curves, the same latent points over the epochs, a confusion matrix.

Explained in notebooks/03_training.ipynb and notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import INK, WINDOW, _cell, new, readable, scale, show

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
    """Losses (top) and discriminator accuracy (bottom) per epoch.

    Args:
        history: pandas DataFrame with one row per epoch: loss columns end with or contain `loss`, accuracies `acc`.

    Raises:
        RadioganError: there is no finished epoch to draw.
    """
    if len(history) == 0:
        raise RadioganError(
            "the history holds no finished epoch yet: train first (notebooks/03_training.ipynb)."
        )
    numeric = history.select_dtypes("number")
    x = numeric["epoch"].to_numpy() if "epoch" in numeric else np.arange(1, len(history) + 1)
    losses = {
        c: numeric[c].to_numpy(float)
        for c in numeric
        if "loss" in c.lower() and c.lower() != "loss"
    }
    losses = losses or {c: numeric[c].to_numpy(float) for c in numeric if "loss" in c.lower()}
    rates = {c: numeric[c].to_numpy(float) for c in numeric if "acc" in c.lower()}
    fig = new(8, 4.4)
    top, bottom = fig.subplots(2, 1, sharex=True)
    for ax, lines, name in ((top, losses, "loss"), (bottom, rates, "accuracy")):
        for k, (column, y) in enumerate(lines.items()):
            ax.plot(
                x,
                y,
                STYLES[k % len(STYLES)],
                color=str(0.0 + 0.22 * (k % 4)),
                lw=1.4,
                marker="o" if len(x) == 1 else None,
            )
        if name == "accuracy":
            ax.axhline(0.5, color="0.75", lw=0.8, zorder=0)
            ax.set_ylim(0, 1.02)
        ax.set_ylabel(name)
        ax.spines[["top", "right"]].set_visible(False)
        _label_ends(ax, {_words(c): y for c, y in lines.items()}, x)
    bottom.text(x[0], 0.51, "guessing", fontsize=8, color="0.45", va="bottom")
    bottom.set_xlabel("epoch")
    return fig


def _words(column: str) -> str:
    """`generator_loss` → `generator`, `d_loss` → `discriminator`; other names keep their words."""
    words = (
        column.replace("_loss", "").replace("_accuracy", "").replace("_acc", "").replace("_", " ")
    )
    return {"d": "discriminator", "g": "generator", "accuracy": "discriminator"}.get(words, words)


def training_strip(
    samples,
    epochs: Sequence[int] = (),
    class_names: Sequence[str] = (),
    columns: int = 10,
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
) -> Figure:
    """The same latent points over the epochs: one row per point, one column per saved epoch.

    Args:
        samples: SUV, (epochs, points, h, w), or (epochs, vectors, classes, h, w) as `gan.samples_over_epochs` gives them.
        epochs: the epoch of each entry of `samples`; default 1, 2, ….
        class_names: of the rows, where the points are one per class.
        columns: at most this many epochs are drawn, spread evenly, first and last included.
    """
    samples = np.asarray(samples)
    samples = (
        samples[:, 0] if samples.ndim == 5 else samples
    )  # several noise vectors per class: the first of each
    if samples.ndim != 4 or len(samples) == 0:
        raise RadioganError(
            "there are no saved samples of this run to draw: train first (notebooks/03_training.ipynb)."
        )
    epochs = list(epochs) or list(range(1, len(samples) + 1))
    keep = np.unique(
        np.linspace(0, len(samples) - 1, min(columns, len(samples))).round().astype(int)
    )
    rows, height = samples.shape[1], 1.2
    fig = new(
        len(keep) * (_cell(samples, height, spacing_mm) + 0.08) + 1.1, rows * (height + 0.08) + 0.3
    )
    axes = fig.subplots(rows, len(keep), squeeze=False)
    for col, k in enumerate(keep):
        for row in range(rows):
            im = show(
                axes[row, col],
                samples[k, row],
                window,
                (("epoch " if col == 0 else "") + str(epochs[k])) if row == 0 else "",
                spacing_mm,
            )
    for row in range(rows):
        if row < len(class_names):
            axes[row, 0].set_ylabel(readable(class_names[row]), fontsize=9, color=INK)
    scale(fig, im, axes.ravel().tolist(), window)
    return fig


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
