"""Pictures of exams and of walks, always in a stated SUV window. Seen in every notebook.

Every function returns a `matplotlib.figure.Figure` built without pyplot: a notebook shows it once, and the same data
give the same bytes. Dark is high uptake, as on a reading screen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

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


def grey(suv: np.ndarray, window: Sequence[float] = WINDOW) -> np.ndarray:
    """SUV (h, w) to uint8 grey: white at the window's lower end, black at its upper end."""
    low, high = float(window[0]), float(window[1])
    scaled = (np.asarray(suv, np.float32) - low) / max(high - low, 1e-6)
    return (255 - 255 * np.clip(np.nan_to_num(scaled), 0, 1) + 0.5).astype(np.uint8)


def _resized(picture: np.ndarray, height: int) -> Image.Image:
    """uint8 (h, w) to a Pillow image of that height: enlarged by whole pixels, or averaged down."""
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    larger = height > picture.shape[0]
    how = Image.Resampling.NEAREST if larger else Image.Resampling.BOX
    return Image.fromarray(picture).resize((width, height), how)


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


def cell(images: np.ndarray, height: float, spacing_mm=None) -> float:
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
    widths = [cell(i, height, spacing_mm) for i in images]
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
        per_class * (cell(suv, height, spacing_mm) + 0.08) + 1.0,
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
    width = per_class * (cell(real_suv, height, spacing_mm) + 0.08)
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


def rotating_row(
    image, n_angles: int = 6, spacing_mm: float = 4.0, window: Sequence[float] = WINDOW
) -> Figure:
    """One exam's MIP from several directions, turning about the body's long axis.

    Args:
        image: nibabel image, SUV, RAS+.
        n_angles: directions, evenly over half a turn: the other half shows the mirror images.
        spacing_mm: pixel size of the pictures.
    """
    from radiogan_lib.data import rotating_mips

    views = rotating_mips(image, 2 * n_angles, spacing_mm)[:n_angles]
    titles = ["from the front", *(f"{k * 180 / n_angles:.0f}°" for k in range(1, n_angles))]
    return mip_row(views, titles, window, height=3.0)


def suv_steps(suv_volume, mip: np.ndarray, cfg, window: Sequence[float] = WINDOW) -> Figure:
    """From a volume to the GAN's canvas: one coronal slice, the MIP at 2 mm, the canvas, each to scale.

    Args:
        suv_volume: nibabel image, SUV, RAS+.
        mip: SUV, (rows, cols) at 2 mm, from `data.coronal_mip`.
        cfg: gives the canvas and its field of view.
    """
    from radiogan_lib.data import fit_to_canvas

    volume = np.asarray(suv_volume.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(suv_volume.affine)[:3, :3] ** 2).sum(0))
    middle = int(
        np.argmax(volume.clip(0, 3).sum(axis=(0, 2)))
    )  # the coronal slice through most of the body
    coronal = volume[::-1, middle, ::-1].T  # head up, patient's right on the left
    canvas = fit_to_canvas(mip, cfg.canvas, cfg.field_of_view_mm)
    fh, fw = cfg.field_of_view_mm
    tall = [coronal.shape[0] * step[2], mip.shape[0] * 2.0, fh]
    wide = [coronal.shape[1] * step[0], mip.shape[1] * 2.0, fw]
    mm = 4.2 / max(tall)  # inches per mm: all three to one scale
    fig = new(sum(wide) * mm + 1.6, 4.2 + 0.7)
    axes = fig.subplots(1, 3, width_ratios=wide)
    words = [
        f"one slice\n{coronal.shape[0]} × {coronal.shape[1]} voxels",
        f"MIP at 2 mm\n{mip.shape[0]} × {mip.shape[1]} pixels",
        f"canvas\n{cfg.canvas[0]} × {cfg.canvas[1]} pixels",
    ]
    for ax, picture, h, w, text in zip(axes, (coronal, mip, canvas), tall, wide, words):
        im = ax.imshow(
            picture, cmap="gray_r", vmin=window[0], vmax=window[1], extent=(-w / 2, w / 2, h, 0)
        )
        ax.set(xlim=(-w / 2 - 4, w / 2 + 4), ylim=(max(tall) + 4, -4), title=text)
        ax.title.set_fontsize(9)
        bare(ax)
        ax.plot([-w / 2, w / 2, w / 2, -w / 2, -w / 2], [0, 0, h, h, 0], color="0.6", lw=0.6)
    axes[0].plot([-wide[0] / 2 + 20, -wide[0] / 2 + 120], [tall[0] - 25] * 2, color=INK, lw=2)
    axes[0].text(-wide[0] / 2 + 20, tall[0] - 40, "100 mm", fontsize=8, va="bottom", color=INK)
    scale(fig, im, list(axes), window)
    return fig


GREYS = 16  # levels: enough for a small moving picture, and a third of the bytes of 256


@dataclass(frozen=True)
class Turning:
    """A picture that turns. A notebook shows it by itself.

    Attributes:
        png: bytes of an animated PNG; a program that knows no animation shows its first frame, the view from the front.
        views: how many frames a turn has.
        words: what is seen, for where no picture is.
    """

    png: bytes
    views: int
    words: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self.words, "image/png": base64.b64encode(self.png).decode()}


def rotating_mip(
    image,
    n_angles: int = 24,
    height: int = 180,
    window: Sequence[float] = WINDOW,
    turn_seconds: float = 4.0,
) -> Turning:
    """One exam's MIP, turning about the body's long axis.

    Args:
        image: nibabel image, SUV.
        n_angles: views per turn.
        height: pixels of the picture.
        window: SUV shown as white and as black.
        turn_seconds: how long a turn takes.
    """
    from radiogan_lib.data import rotating_mips

    views = rotating_mips(image, n_angles, spacing_mm=4.0)
    seen = np.flatnonzero((views > 0.1).any(axis=(0, 1)))  # no white margins beside the widest view
    if len(seen):
        views = views[:, :, seen[0] : seen[-1] + 1]
    step = 255 / (GREYS - 1)
    pictures = []
    for view in views:
        small = np.asarray(_resized(grey(view, window), height), np.float32)
        pictures.append(Image.fromarray((np.round(small / step) * step).astype(np.uint8)))
    packed = io.BytesIO()
    # blend 0: each frame replaces the one before, wholly
    pictures[0].save(
        packed,
        "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=1000 * turn_seconds / n_angles,
        loop=0,
        blend=0,
        optimize=True,
    )
    return Turning(
        packed.getvalue(),
        n_angles,
        f"A MIP that turns about the body's long axis: {n_angles} views, the first from the front.",
    )


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
        columns * (cell(frames, height, spacing_mm) + 0.08) + 0.7,
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
    fig = new(len(keep) * (cell(frames, height, spacing_mm) + 0.08) + 1.0, 2 * height + 1.0)
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
        max(len(worst) * (cell(generated, height, spacing_mm) + 0.35), 4.5) + 1.2,
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
