"""Pictures of exams: rows, grids and sheets of MIPs, always in a stated SUV window. Seen in every notebook.

Every function returns a `matplotlib.figure.Figure` built without pyplot: a notebook shows it once, and the same data
give the same bytes. Dark is high uptake, as on a reading screen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

WINDOW = (0.0, 7.0)  # SUV shown from white to black; brighter is clipped in the picture, never in the data
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
    bar.set_ticks([window[0], window[1]])
    bar.set_label("SUV", fontsize=8, labelpad=-6)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_linewidth(0.5)


def _cell(images: np.ndarray, height: float, spacing_mm=None) -> float:
    """The width in inches of a picture that is `height` inches tall."""
    h, w = np.shape(images)[-2:]
    ratio = w / h if spacing_mm is None else w * spacing_mm[1] / (h * spacing_mm[0])
    return height * ratio


def mip_row(images, titles: Sequence[str] = (), window: Sequence[float] = WINDOW, spacing_mm=None,
            height: float = 2.6) -> Figure:
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


def _grid(fig, suv, labels, class_names, per_class: int, window, spacing_mm, names: bool = True, kind: str = "exam"):
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
                    ax.text(0.5, 0.5, f"no {kind}", ha="center", va="center", fontsize=8, transform=ax.transAxes)
        if names:
            axes[row, 0].set_ylabel(readable(name), fontsize=9, color=INK)
    return axes, im


def mip_grid(suv, labels, class_names: Sequence[str], per_class: int = 6, title: str = "",
             window: Sequence[float] = WINDOW, spacing_mm=None) -> Figure:
    """One row per class, the first exams of each: SUV (n, h, w), labels (n,)."""
    height = 1.5 if len(class_names) <= 6 else 1.1
    fig = new(per_class * (_cell(suv, height, spacing_mm) + 0.08) + 1.0, len(class_names) * (height + 0.08) + 0.3)
    axes, im = _grid(fig, suv, labels, class_names, per_class, window, spacing_mm)
    if title:
        fig.suptitle(title, fontsize=10, color=INK)
    if im is not None:
        scale(fig, im, axes.ravel().tolist(), window)
    return fig


def real_beside_generated(real_suv, real_labels, fake_suv, fake_labels, class_names: Sequence[str],
                          per_class: int = 4, window: Sequence[float] = WINDOW, spacing_mm=None) -> Figure:
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
    axes, im = _grid(right, fake_suv, fake_labels, class_names, per_class, window, spacing_mm, kind="image")
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
            titles.append(f"{chr(65 + k)}   {readable(name)}" if len(dataset.class_names) <= 26 else name)
    return mip_row(images, titles, window, _spacing(dataset), height=3.2)


def _spacing(dataset):
    """Pixel size (row, column) in mm of a dataset's canvas."""
    (h, w), (fh, fw) = dataset.canvas, dataset.field_of_view_mm
    return fh / h, fw / w


def contact_sheet(dataset, per_class: int = 12, window: Sequence[float] = WINDOW) -> Figure:
    """A few exams of each class side by side, spread evenly over the cohort, to catch the odd one out."""
    labels = np.asarray(dataset.labels)
    keep = []
    for k in range(len(dataset.class_names)):
        found = np.flatnonzero(labels == k)
        keep += list(found[np.linspace(0, len(found) - 1, min(per_class, len(found))).astype(int)]) if len(found) else []
    height, n = 1.05, len(dataset.class_names)
    per_class = max(1, min(per_class, int(np.bincount(labels, minlength=1).max()) if len(labels) else 1))
    fig = new(per_class * (_cell(dataset.suv, height, _spacing(dataset)) + 0.06) + 1.0, n * (height + 0.06) + 0.1)
    axes, im = _grid(fig, dataset.suv[keep], labels[keep], dataset.class_names, per_class, window, _spacing(dataset))
    if im is not None:
        scale(fig, im, axes.ravel().tolist(), window)
    return fig


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
            ax.step(edges[:-1], np.where(share > 0, share, np.nan), where="post", label=readable(name),
                    ls=styles[k % len(styles)], color=str(grey), lw=1.4)
    low = float((dataset.suv < 0.1 * suv_max).mean())
    ax.axvspan(0, 0.1 * suv_max, color="0.93", zorder=0)
    ax.text(0.105 * suv_max, 0.97, f"← {low:.0%} of all pixels", va="top", fontsize=9, transform=ax.get_xaxis_transform())
    ax.set(yscale="log", xlim=(0, suv_max), xlabel="SUV", ylabel="share of pixels")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    return fig


def rotating_row(image, n_angles: int = 6, spacing_mm: float = 4.0, window: Sequence[float] = WINDOW) -> Figure:
    """One exam's MIP from several directions, turning about the body's long axis.

    Args:
        image: nibabel image, SUV, RAS+.
        n_angles: directions, evenly over half a turn: the other half shows the mirror images.
        spacing_mm: pixel size of the pictures.
    """
    views = turned(image, np.arange(n_angles) * 180.0 / n_angles, spacing_mm)
    titles = [f"{a:.0f}°" for a in np.arange(n_angles) * 180.0 / n_angles]
    titles[0] = "from the front"
    return mip_row(views, titles, window, height=3.0)


def turned(image, angles_deg, spacing_mm: float = 4.0) -> np.ndarray:
    """MIPs (n, rows, cols) in SUV of an RAS+ image, turned about its long axis by `angles_deg`."""
    from scipy import ndimage

    volume = np.asarray(image.dataobj, dtype=np.float32)  # (x, y, z), RAS+
    step = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(0))  # voxel size, mm
    volume = np.nan_to_num(ndimage.zoom(volume, step / spacing_mm, order=1))
    volume[volume < 0] = 0
    views = []
    for angle in angles_deg:
        turn = ndimage.rotate(volume, -float(angle), axes=(0, 1), order=1, reshape=False) if angle else volume
        # RAS+: x grows to the patient's right, z upwards; the viewer faces the patient, so the right is on the left
        views.append(turn.max(axis=1)[::-1, ::-1].T)
    return np.stack(views)


def suv_steps(suv_volume, mip: np.ndarray, cfg, window: Sequence[float] = WINDOW) -> Figure:
    """From a volume to the GAN's canvas: one coronal slice, the MIP at 2 mm, the canvas, each to scale.

    Args:
        suv_volume: nibabel image, SUV, RAS+.
        mip: SUV, (rows, cols) at 2 mm, from `data.coronal_mip`.
        cfg: gives the canvas and its field of view.
    """
    from radiogan_lib.data.dataset import fit_to_canvas

    volume = np.asarray(suv_volume.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(suv_volume.affine)[:3, :3] ** 2).sum(0))
    middle = int(np.argmax(volume.clip(0, 3).sum(axis=(0, 2))))  # the coronal slice through most of the body
    coronal = volume[::-1, middle, ::-1].T  # head up, patient's right on the left
    canvas = fit_to_canvas(mip, cfg.canvas, cfg.field_of_view_mm)
    fh, fw = cfg.field_of_view_mm
    tall = [coronal.shape[0] * step[2], mip.shape[0] * 2.0, fh]
    wide = [coronal.shape[1] * step[0], mip.shape[1] * 2.0, fw]
    mm = 4.2 / max(tall)  # inches per mm: all three to one scale
    fig = new(sum(wide) * mm + 1.6, 4.2 + 0.7)
    axes = fig.subplots(1, 3, width_ratios=wide)
    words = [f"one slice\n{coronal.shape[0]} × {coronal.shape[1]} voxels", f"MIP at 2 mm\n{mip.shape[0]} × {mip.shape[1]} pixels",
             f"canvas\n{cfg.canvas[0]} × {cfg.canvas[1]} pixels"]
    for ax, picture, h, w, text in zip(axes, (coronal, mip, canvas), tall, wide, words):
        im = ax.imshow(picture, cmap="gray_r", vmin=window[0], vmax=window[1], extent=(-w / 2, w / 2, h, 0))
        ax.set(xlim=(-w / 2 - 4, w / 2 + 4), ylim=(max(tall) + 4, -4), title=text)
        ax.title.set_fontsize(9)
        bare(ax)
        ax.plot([-w / 2, w / 2, w / 2, -w / 2, -w / 2], [0, 0, h, h, 0], color="0.6", lw=0.6)
    axes[0].plot([-wide[0] / 2 + 20, -wide[0] / 2 + 120], [tall[0] - 25] * 2, color=INK, lw=2)
    axes[0].text(-wide[0] / 2 + 20, tall[0] - 40, "100 mm", fontsize=8, va="bottom", color=INK)
    scale(fig, im, list(axes), window)
    return fig
