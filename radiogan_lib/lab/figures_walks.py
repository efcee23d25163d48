"""Pictures of latent walks: the paper's Figs. 4 and 5, each frame's nearest exam, the most suspicious images.

Explained in notebooks/05_memorization.ipynb and notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from radiogan_lib.lab.figures import INK, WINDOW, _cell, new, readable, scale, show

RED = "#c00000"
PER_ROW = 10


def letter(k: int) -> str:
    """Panel letters as in the paper, A to Z; numbers after that."""
    return chr(65 + k) if k < 26 else str(k + 1)


def describe(walk, class_names: Sequence[str]) -> str:
    """A walk in words: where it starts, where it ends, and along what."""
    (a, s), (b, t) = walk.start, walk.end
    if walk.kind == "paper":
        return f"{readable(class_names[a])}: z = [k, 0, …, 0], k = 1 to {len(walk.frames)}"
    if walk.kind == "label":
        return f"{readable(class_names[a])} → {readable(class_names[b])}, seed {s} (only the label moves)"
    return (
        f"{readable(class_names[a])}, seed {s} → {readable(class_names[b])}, seed {t} ({walk.kind})"
    )


def mark(ax, colour: str = RED) -> None:
    """A thick frame around one picture."""
    ax.set_frame_on(True)
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=2.5)


def walk_strip(
    walk,
    class_names: Sequence[str],
    panel_letters: bool = True,
    under: Sequence[str] | Mapping | None = None,
    frame_in_red: int | Mapping | None = None,
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
) -> Figure:
    """A latent walk as a strip of frames with panel letters (paper Figs. 4 and 5).

    Args:
        walk: `evaluation.Walk`; its frames are SUV, (steps, h, w).
        class_names: in label order.
        panel_letters: A, B, C, … above the frames.
        under: one short text per frame, shown below it; or what `evaluation.walk_measures` returned, whose blend
            residuals are then shown, and whose blend frame is marked.
        frame_in_red: index of a frame to mark: a red border, and an arrow for who does not see the red.
        window: SUV shown as white and as black.
        spacing_mm: (row, column) pixel size; None = square.
    """
    frames = np.asarray(walk.frames)
    n = len(frames)
    if isinstance(under, Mapping):  # the measures of `evaluation.walk_measures`, whole
        frame_in_red = under.get("blend_frame") if frame_in_red is None else frame_in_red
        under = [f"{r:.2f}" for r in under["residual_ratio"]]
    if isinstance(frame_in_red, Mapping):
        frame_in_red = frame_in_red.get("index")
    columns = min(n, PER_ROW)
    rows = -(-n // columns)
    height = 1.75
    fig = new(
        columns * (_cell(frames, height, spacing_mm) + 0.08) + 0.7,
        rows * (height + 0.28 + (0.32 if under is not None else 0)) + 0.45,
    )
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for k, ax in enumerate(axes):
        if k >= n:
            ax.set_axis_off()
            continue
        marked = frame_in_red is not None and k == int(frame_in_red)
        im = show(
            ax,
            frames[k],
            window,
            (letter(k) if panel_letters else "") + (" ▼" if marked else ""),
            spacing_mm,
        )
        if under is not None:
            ax.set_xlabel(under[k], fontsize=7, color=INK)
        if marked:
            mark(ax)
    fig.suptitle(describe(walk, class_names), fontsize=10, color=INK)
    scale(fig, im, list(axes), window)
    return fig


def walk_with_neighbours(
    walk,
    neighbours_suv,
    distances,
    class_names: Sequence[str],
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
) -> Figure:
    """Each frame of a walk above its nearest training exam, with their distance.

    Args:
        walk: `evaluation.Walk`.
        neighbours_suv: SUV, (steps, h, w): the training exam nearest to each frame.
        distances: (steps,), in the unit of `evaluation.nearest`.
    """
    frames = np.asarray(walk.frames)
    n, height = len(frames), 1.6
    near = np.asarray(neighbours_suv)
    near = (
        near[:, 0] if near.ndim == 4 else near
    )  # `evaluation.nearest` gives k neighbours: the first is the nearest
    distances = np.asarray(distances, dtype=float).reshape(n, -1)[:, 0]
    keep = np.unique(np.linspace(0, n - 1, min(n, PER_ROW)).round().astype(int))
    fig = new(len(keep) * (_cell(frames, height, spacing_mm) + 0.08) + 1.0, 2 * height + 1.0)
    axes = fig.subplots(2, len(keep), squeeze=False)
    for col, k in enumerate(keep):
        im = show(axes[0, col], frames[k], window, letter(k), spacing_mm)
        show(axes[1, col], near[k], window, "", spacing_mm)
        same = np.all(near[keep[col - 1]] == near[k]) if col else False
        axes[1, col].set_xlabel(
            f"{distances[k]:.3g}" + ("\nsame exam" if same else "\n"), fontsize=7, color=INK
        )
    axes[0, 0].set_ylabel("generated", fontsize=9, color=INK)
    axes[1, 0].set_ylabel("nearest training", fontsize=9, color=INK)
    fig.suptitle(
        describe(walk, class_names) + "; below, the distance to each nearest exam",
        fontsize=10,
        color=INK,
    )
    scale(fig, im, axes.ravel().tolist(), window)
    return fig


def audit(
    generated, train, holdout, n: int = 5, window: Sequence[float] = WINDOW, spacing_mm=None
) -> Figure:
    """The generated images nearest to a training exam, with that exam and the nearest unseen one.

    Args:
        generated, train, holdout: SUV, (·, h, w).
        n: how many of the most suspicious images.
    """
    from radiogan_lib import evaluation

    generated, train, holdout = (
        np.asarray(a, dtype=np.float32) for a in (generated, train, holdout)
    )
    seen, d_seen = (
        np.asarray(a).reshape(len(generated), -1)[:, 0]
        for a in evaluation.nearest(generated, train)
    )
    worst = np.argsort(d_seen, kind="stable")[: min(n, len(generated))]
    unseen, d_unseen = (
        np.asarray(a).reshape(len(worst), -1)[:, 0]
        for a in evaluation.nearest(generated[worst], holdout)
    )
    height = 1.7
    fig = new(
        max(len(worst) * (_cell(generated, height, spacing_mm) + 0.35), 4.5) + 1.2,
        3 * (height + 0.25) + 0.2,
    )
    axes = fig.subplots(3, len(worst), squeeze=False)
    for col, k in enumerate(worst):
        im = show(axes[0, col], generated[k], window, f"image {k}", spacing_mm)
        show(axes[1, col], train[seen[k]], window, f"distance {d_seen[k]:.3g}", spacing_mm)
        show(
            axes[2, col], holdout[unseen[col]], window, f"distance {d_unseen[col]:.3g}", spacing_mm
        )
    for ax, name in zip(axes[:, 0], ("generated", "nearest training", "nearest unseen")):
        ax.set_ylabel(name, fontsize=9, color=INK)
    scale(fig, im, axes.ravel().tolist(), window)
    return fig
