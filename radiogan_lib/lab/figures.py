"""Pictures of exams: rows, grids and sheets of MIPs, always in a stated SUV window. Seen in every notebook.

Every function returns a `matplotlib.figure.Figure` built without pyplot: a notebook shows it once, and the same data
give the same bytes. Dark is high uptake, as on a reading screen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

WINDOW = (
    0.0,
    7.0,
)  # SUV shown from white to black; brighter is clipped in the picture, never in the data
DPI = 100
INK = "#222222"


def new(width: float, height: float) -> Figure:
    """An empty figure, inches, laid out by matplotlib's constrained layout."""
    return Figure(figsize=(round(width, 2), round(height, 2)), dpi=DPI, layout="constrained")


def readable(name: str) -> str:
    """A class name as prose: `head_neck` → `head & neck`, `brown_fat` → `brown fat`."""
    return "head & neck" if name == "head_neck" else str(name).replace("_", " ")


def bare(ax) -> None:
    """No ticks and no frame, but titles and labels stay."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_frame_on(False)


def show(ax, suv: np.ndarray, window: Sequence[float] = WINDOW, title: str = "", spacing_mm=None):
    """Draw one SUV picture (h, w); `spacing_mm` is (row, column) where pixels are not square. Returns the image."""
    aspect = 1.0 if spacing_mm is None else float(spacing_mm[0]) / float(spacing_mm[1])
    im = ax.imshow(np.asarray(suv), cmap="gray_r", vmin=window[0], vmax=window[1], aspect=aspect)
    bare(ax)
    if title:
        ax.set_title(title, fontsize=9, color=INK)
    return im


def scale(fig, im, axes, window: Sequence[float] = WINDOW) -> None:
    """A colour bar that states the window; its arrow says that higher SUV is shown as black too."""
    bar = fig.colorbar(im, ax=axes, shrink=0.6, aspect=25, pad=0.01, extend="max")
    bar.set_ticks([window[0], window[1]], labels=[f"{v:.3g}" for v in window])
    bar.set_label("SUV", fontsize=8, labelpad=-6)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_linewidth(0.5)


def _cell(images: np.ndarray, height: float, spacing_mm=None) -> float:
    """The width in inches of a picture that is `height` inches tall."""
    h, w = np.shape(images)[-2:]
    ratio = w / h if spacing_mm is None else w * spacing_mm[1] / (h * spacing_mm[0])
    return height * ratio


def mip_row(
    images,
    titles: Sequence[str] = (),
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
    height: float = 2.6,
) -> Figure:
    """A row of MIPs in one SUV window.

    Args:
        images: SUV, (n, h, w), or a list of (h, w) that may differ in size.
        titles: one per image, or none.
        window: SUV shown as white and as black.
        spacing_mm: (row, column) pixel size in mm; None = square pixels.
        height: of a picture, inches.
    """
    images = [np.asarray(i) for i in images]
    widths = [_cell(i, height, spacing_mm) for i in images]
    fig = new(sum(widths) + 0.12 * len(images) + 0.7, height + 0.3)
    axes = fig.subplots(1, len(images), squeeze=False, width_ratios=widths)[0]
    for k, (ax, image) in enumerate(zip(axes, images)):
        im = show(ax, image, window, readable(titles[k]) if k < len(titles) else "", spacing_mm)
    scale(fig, im, list(axes), window)
    return fig


def _grid(
    fig,
    suv,
    labels,
    class_names,
    per_class: int,
    window,
    spacing_mm,
    names: bool = True,
    kind: str = "exam",
):
    """One row per class, the first `per_class` of each, in `fig` (a figure or a subfigure)."""
    suv, labels = np.asarray(suv), np.asarray(labels).ravel()
    axes = fig.subplots(len(class_names), per_class, squeeze=False)
    im = None
    for row, name in enumerate(class_names):
        found = np.flatnonzero(labels == row)[:per_class]
        for col, ax in enumerate(axes[row]):
            if col < len(found):
                im = show(ax, suv[found[col]], window, spacing_mm=spacing_mm)
            else:
                bare(ax)
                if col == 0:
                    ax.text(
                        0.5,
                        0.5,
                        f"no {kind}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        transform=ax.transAxes,
                    )
        if names:
            axes[row, 0].set_ylabel(readable(name), fontsize=9, color=INK)
    return axes, im


def mip_grid(
    suv,
    labels,
    class_names: Sequence[str],
    per_class: int = 6,
    title: str = "",
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
) -> Figure:
    """One row per class, the first exams of each: SUV (n, h, w), labels (n,)."""
    height = 1.5 if len(class_names) <= 6 else 1.1
    fig = new(
        per_class * (_cell(suv, height, spacing_mm) + 0.08) + 1.0,
        len(class_names) * (height + 0.08) + 0.3,
    )
    axes, im = _grid(fig, suv, labels, class_names, per_class, window, spacing_mm)
    if title:
        fig.suptitle(title, fontsize=10, color=INK)
    if im is not None:
        scale(fig, im, axes.ravel().tolist(), window)
    return fig


def real_beside_generated(
    real_suv,
    real_labels,
    fake_suv,
    fake_labels,
    class_names: Sequence[str],
    per_class: int = 4,
    window: Sequence[float] = WINDOW,
    spacing_mm=None,
) -> Figure:
    """Real exams on the left, generated ones on the right, one row per class, nothing picked.

    Args:
        real_suv, fake_suv: SUV, (n, h, w); the first `per_class` of each class are drawn.
        real_labels, fake_labels: int, (n,).
        class_names: in label order.
    """
    height = 1.4 if len(class_names) <= 6 else 1.0
    width = per_class * (_cell(real_suv, height, spacing_mm) + 0.08)
    fig = new(2 * width + 1.5, len(class_names) * (height + 0.08) + 0.4)
    left, right = fig.subfigures(1, 2, width_ratios=[width + 0.4, width + 0.7], wspace=0.04)
    left.suptitle("real", fontsize=11, color=INK)
    right.suptitle("generated", fontsize=11, color=INK)
    _grid(left, real_suv, real_labels, class_names, per_class, window, spacing_mm)
    axes, im = _grid(
        right, fake_suv, fake_labels, class_names, per_class, window, spacing_mm, kind="image"
    )
    if im is not None:
        scale(right, im, axes.ravel().tolist(), window)
    return fig


def class_figure(dataset, window: Sequence[float] = WINDOW) -> Figure:
    """Paper Fig. 2: one exam of each class of a `MipDataset`, lettered from A in class order.

    The exam drawn is the class's median one by mean SUV: typical, and the same on every machine.
    """
    images, titles = [], []
    for k, name in enumerate(dataset.class_names):
        found = np.flatnonzero(np.asarray(dataset.labels) == k)
        if len(found):
            mean = dataset.suv[found].mean(axis=(1, 2))
            images.append(dataset.suv[found[np.argsort(mean, kind="stable")[len(found) // 2]]])
            titles.append(
                f"{chr(65 + k)}   {readable(name)}" if len(dataset.class_names) <= 26 else name
            )
    return mip_row(images, titles, window, _spacing(dataset), height=3.2)


def _spacing(dataset):
    """Pixel size (row, column) in mm of a dataset's canvas."""
    (h, w), (fh, fw) = dataset.canvas, dataset.field_of_view_mm
    return fh / h, fw / w


def histogram(dataset, suv_max: float = 30.0, bins: int = 60) -> Figure:
    """How often each SUV occurs, per class, on a logarithmic axis.

    Args:
        dataset: `MipDataset`.
        suv_max: upper end of the axis, where the data are clipped.
    """
    fig = new(8, 3.2)
    ax = fig.subplots()
    edges = np.linspace(0, suv_max, bins + 1)
    styles = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
    for k, name in enumerate(dataset.class_names):
        values = dataset.suv[np.asarray(dataset.labels) == k]
        if values.size:
            share = np.histogram(values, edges)[0] / values.size
            grey = 0.6 * k / max(len(dataset.class_names) - 1, 1)
            ax.step(
                edges[:-1],
                np.where(share > 0, share, np.nan),
                where="post",
                label=readable(name),
                ls=styles[k % len(styles)],
                color=str(grey),
                lw=1.4,
            )
    low = float((dataset.suv < 0.1 * suv_max).mean())
    ax.axvspan(0, 0.1 * suv_max, color="0.93", zorder=0)
    ax.text(
        0.105 * suv_max,
        0.97,
        f"← {low:.0%} of all pixels",
        va="top",
        fontsize=9,
        transform=ax.get_xaxis_transform(),
    )
    ax.set(yscale="log", xlim=(0, suv_max), xlabel="SUV", ylabel="share of pixels")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    return fig
