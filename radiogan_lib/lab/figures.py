"""Pictures of exams, of generated images and of walks, always in a stated SUV window.

Every function returns a `matplotlib.figure.Figure` built without pyplot: a notebook shows it once,
and the same data give the same bytes. Dark is high uptake, as on a reading screen. Images are SUV.

The same everywhere: `window` is the SUV shown as white and as black, `unit` is that of the pixels,
`class_names` are in label order, `walk` is an `evaluation.Walk`.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

WINDOW = (0.0, 7.0)  # SUV shown as white and as black; only the picture is clipped
INK = "#222222"
RED = "#c00000"
PER_ROW = 10  # frames of a walk in one row
BODY_SUV = 0.3  # above it a pixel of a MIP belongs to the body
GREYS = 16  # levels of a moving picture: a third of the bytes of 256


# Drawing, for this file, charts.py and diagrams.py


def new(width: float, height: float) -> Figure:
    """An empty figure, inches, laid out by matplotlib's constrained layout."""
    return Figure(figsize=(round(width, 2), round(height, 2)), dpi=100, layout="constrained")


def readable(name: str) -> str:
    """A class name as prose: `head_neck` → `head & neck`, `brown_fat` → `brown fat`."""
    return "head & neck" if name == "head_neck" else str(name).replace("_", " ")


def grey(suv: np.ndarray, window: Sequence[float] = WINDOW) -> np.ndarray:
    """SUV (h, w) to uint8: white at the window's lower end, black at its upper end."""
    low, high = float(window[0]), float(window[1])
    scaled = (np.asarray(suv, np.float32) - low) / max(high - low, 1e-6)
    return (255 - 255 * np.clip(np.nan_to_num(scaled), 0, 1) + 0.5).astype(np.uint8)


def png(picture: Image.Image, text: str = "") -> bytes:
    """A picture as PNG, with a text about it inside the file."""
    info, packed = PngInfo(), io.BytesIO()
    if text:
        info.add_itxt("Description", text)
    picture.save(packed, "PNG", compress_level=1, pnginfo=info)
    return packed.getvalue()


def uri(picture: np.ndarray | Image.Image) -> str:
    """A grey picture, uint8 (h, w), as the address of an <img>."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def words(ax, x: float, y: float, text: str, size: float = 8, **style) -> None:
    """Small dark words at a point in data units; `style` as in `Axes.text`."""
    ax.text(x, y, text, fontsize=size, **{"color": "0.25"} | style)


def arrow(ax, start, end, colour: str = "0.35", lw: float = 1.2, zorder: int = 4, **style):
    """One arrow between two points in data units; `style` as in FancyArrowPatch."""
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    look |= {"color": colour, "lw": lw}
    ax.annotate("", end, start, arrowprops=look | style, zorder=zorder, annotation_clip=False)


def bare(ax) -> None:
    """No ticks and no frame, but titles and labels stay."""
    ax.set(xticks=[], yticks=[], frame_on=False)


def plain(ax, title: str = "", size: float = 9) -> None:
    """Axes without a top and a right line, and with a small title."""
    ax.spines[["top", "right"]].set_visible(False)
    if title:
        ax.set_title(title, fontsize=size, color=INK)


def show(ax, suv: np.ndarray, window: Sequence[float] = WINDOW, title: str = ""):
    """Draw one picture (h, w) and return its matplotlib image."""
    low, high = window
    im = ax.imshow(np.asarray(suv), "gray_r", vmin=low, vmax=high, interpolation="nearest")
    bare(ax)
    if title:
        ax.set_title(title, fontsize=9, color=INK)
    return im


def scale(fig, im, axes, window: Sequence[float] = WINDOW, unit: str = "SUV") -> None:
    """A colour bar that states the window; its arrow says that higher values are black too."""
    bar = fig.colorbar(im, ax=axes, shrink=0.6, aspect=25, pad=0.01, extend="max")
    bar.set_ticks([window[0], window[1]], labels=[f"{v:.3g}" for v in window])
    bar.set_label(unit, fontsize=8, labelpad=-6)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_linewidth(0.5)


def grid(
    images: Sequence[Sequence],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    height: float = 1.2,
    window: Sequence[float] = WINDOW,
    below: Mapping[tuple[int, int], str] | None = None,
    unit: str = "SUV",
):
    """A table of pictures of one size; None leaves a place empty.

    Args:
        images: rows of pictures (h, w).
        rows, columns: what is written at the left of each row and above each column.
        height: of a picture, inches.
        below: {(row, column): text under that picture}.

    Returns:
        the figure, and its axes (rows, columns).
    """
    h, w = np.shape(next(i for row in images for i in row if i is not None))
    across, extra = max(len(row) for row in images), 0.34 if below else 0.08
    width = across * (height * w / h + 0.08) + (1.5 if rows else 0.7)
    lines = max((c.count("\n") + 1 for c in columns), default=0)
    fig = new(width, len(images) * (height + extra) + 0.1 + 0.17 * lines)
    axes = fig.subplots(len(images), across, squeeze=False)
    for r, row in enumerate(images):
        for c, ax in enumerate(axes[r]):
            bare(ax)
            if c < len(row) and row[c] is not None:
                title = columns[c] if r == 0 and c < len(columns) else ""
                im = show(ax, row[c], window, title)
            if below and (r, c) in below:
                ax.set_xlabel(below[r, c], fontsize=7, color=INK)
        if r < len(rows):
            axes[r, 0].set_ylabel(rows[r], fontsize=9, color=INK)
    scale(fig, im, axes.ravel().tolist(), window, unit)
    return fig, axes


def evenly(n: int, most: int) -> np.ndarray:
    """At most so many of `n` indices, spread evenly, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


# Exams and generated images


def mip_row(images, titles: Sequence[str] = (), window=WINDOW, height: float = 2.6) -> Figure:
    """A row of MIPs (h, w), possibly of different sizes, in one SUV window; `height` in inches."""
    images = [np.asarray(i) for i in images]
    widths = [height * i.shape[1] / i.shape[0] for i in images]
    fig = new(sum(widths) + 0.12 * len(images) + 0.7, height + 0.3)
    axes = fig.subplots(1, len(images), squeeze=False, width_ratios=widths)[0]
    for k, (ax, image) in enumerate(zip(axes, images)):
        im = show(ax, image, window, readable(titles[k]) if k < len(titles) else "")
    scale(fig, im, list(axes), window)
    return fig


def sets_side_by_side(
    sets: Mapping[str, tuple], class_names: Sequence[str], per_class: int = 3, unit: str = "SUV"
) -> Figure:
    """The first images of each class (rows) of sets {title: (images (n, h, w), labels (n,))}."""
    rows = []
    for k in range(len(class_names)):
        row = []
        for suv, labels in sets.values():
            found = np.flatnonzero(np.asarray(labels).ravel() == k)[:per_class]
            row += [suv[i] for i in found] + [None] * (per_class - len(found))
        rows.append(row)
    columns = [""] * (per_class * len(sets))
    for k, title in enumerate(sets):  # over the middle picture of its set
        columns[k * per_class + per_class // 2] = title.replace(", ", "\n")
    return grid(rows, [readable(c) for c in class_names], columns, 1.35, unit=unit)[0]


def oddities(suv: np.ndarray) -> dict[str, np.ndarray]:
    """Four simple measures of what can be wrong with MIPs (n, h, w); larger is odder, each (n,).

    speckle: how far pixels stand out from their four neighbours, over the mean. halo: the share of
    faint pixels around the body. faint brain, no bladder: how low the maximum of the body's upper
    sixth and lower third is.
    """
    suv = np.asarray(suv, np.float32)
    sides = suv[:, 1:-1, :-2] + suv[:, 1:-1, 2:] + suv[:, :-2, 1:-1] + suv[:, 2:, 1:-1]
    found = {
        "speckle": np.abs(suv[:, 1:-1, 1:-1] - sides / 4).mean((1, 2)) / suv.mean((1, 2)),
        "halo": ((suv > 0.05) & (suv < BODY_SUV)).mean((1, 2)),
    }
    top, bottom = [], []
    for image in suv:
        rows = np.flatnonzero((image > BODY_SUV).any(axis=1))
        first, last = (rows[0], rows[-1] + 1) if len(rows) else (0, len(image))
        top.append(image[first : first + max(1, (last - first) // 6)].max())
        bottom.append(image[last - max(1, (last - first) // 3) : last].max())
    return found | {"faint brain": -np.array(top), "no bladder": -np.array(bottom)}


def what_is_wrong(generated, holdout, kind: str = "exams", n: int = 2, unit: str = "SUV") -> Figure:
    """The `n` oddest generated images by each of `oddities`, above the oddest held-out ones."""
    rows = []
    for suv in (generated, holdout):
        found = oddities(suv)
        oddest = [np.argsort(-values, kind="stable")[:n] for values in found.values()]
        rows.append(np.asarray(suv)[np.concatenate(oddest)])
    columns = [name if k == 0 else "" for name in found for k in range(n)]
    return grid(rows, ["generated", f"held-out {kind}"], columns, 1.9, unit=unit)[0]


def class_figure(dataset) -> Figure:
    """Paper Fig. 2: one exam of each class, in class order, and below several of the first class.

    Above is the class's median exam by mean SUV, among those whose head is whole. On phantoms,
    whose lesions are known, arrows point at up to three of them.
    """
    names, labels = list(dataset.class_names), np.asarray(dataset.labels)
    whole = dataset.suv[:, 0].max(axis=1) < BODY_SUV  # the top row is air
    whole &= (dataset.suv[:, :, [0, -1]] < BODY_SUV).all(axis=(1, 2))  # so are both sides
    chosen = []
    for k in range(len(names)):
        found = np.flatnonzero((labels == k) & whole)
        found = found if len(found) else np.flatnonzero(labels == k)
        order = found[np.argsort(dataset.suv[found].mean(axis=(1, 2)), kind="stable")]
        chosen.append(order[len(order) // 2] if len(order) else None)
    first = [i for i in np.flatnonzero((labels == 0) & whole) if i != chosen[0]][: len(names)]
    rows = [[None if i is None else dataset.suv[i] for i in chosen]]
    rows += [[dataset.suv[i] for i in first]] if first else []
    titles = [f"{chr(65 + k % 26)}   {readable(name)}" for k, name in enumerate(names)]
    fig, axes = grid(rows, ["", f"more of: {readable(names[0])}"][: len(rows)], titles, 2.7)
    style = {"arrowstyle": "-|>", "color": RED, "lw": 1.3}
    for ax, i in zip(axes[0], chosen):
        points = [] if i is None else _visible(dataset.suv[i], _lesions(dataset, i))
        for row, column in points[:3]:
            # from the left, or from the right where the arrow would cross another lesion
            crosses = any(abs(row - r) < 3 and 0 < column - c < 15 for r, c in points)
            side = 1 if crosses else -1
            ends = (column + 1.5 * side, row), (column + 11 * side, row)
            ax.annotate("", *ends, arrowprops=style, annotation_clip=False)
    return fig


def _visible(suv: np.ndarray, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (row, column): bright ones, and none close to one before it, whose arrow would
    overlap."""
    kept: list[tuple[float, float]] = []
    for point in points:
        row, column = (max(round(v), 1) for v in point)
        bright = suv[row - 1 : row + 2, column - 1 : column + 2].max(initial=0) > 2
        if bright and all(np.hypot(*np.subtract(point, other)) > 5 for other in kept):
            kept.append(point)
    return kept


def _lesions(dataset, i: int) -> list[tuple[float, float]]:
    """(row, column) of a phantom's lesions on the canvas, largest first; empty for other exams."""
    import petphantom
    from petphantom.exam import TOP_MM

    found = re.fullmatch(r"phantom-(\d+)", str(dataset.exam_ids[i]))
    if not found:
        return []
    (h, w), (tall, wide) = dataset.canvas, dataset.field_of_view_mm
    truth = petphantom.lesions(dataset.class_names[dataset.labels[i]], int(found[1]))
    truth.sort(key=lambda lesion: -lesion["diameter_mm"])
    points = [lesion["centre_mm"] for lesion in truth]
    return [((TOP_MM - z) / tall * h - 0.5, (w - 1) / 2 - x / wide * w) for x, _, z in points]


def suv_steps(suv_volume, mip: np.ndarray, cfg) -> Figure:
    """From a volume to the canvas, to scale: one coronal slice, the MIP at 2 mm, the canvas.

    Args:
        suv_volume: nibabel image, SUV, RAS+.
        mip: (rows, cols) at 2 mm, from `data.coronal_mip`.
        cfg: gives the canvas and its field of view.
    """
    from radiogan_lib.data import fit_to_canvas

    volume = np.asarray(suv_volume.dataobj, dtype=np.float32)
    step = np.sqrt((np.asarray(suv_volume.affine)[:3, :3] ** 2).sum(0))
    # The coronal slice through most of the body; head up, patient's right on the left.
    middle = int(np.argmax(volume.clip(0, 3).sum(axis=(0, 2))))
    coronal = volume[::-1, middle, ::-1].T
    canvas = fit_to_canvas(mip, cfg.canvas, cfg.field_of_view_mm)
    fh, fw = cfg.field_of_view_mm
    tall = [coronal.shape[0] * step[2], mip.shape[0] * 2.0, fh]
    wide = [coronal.shape[1] * step[0], mip.shape[1] * 2.0, fw]
    mm = 4.2 / max(tall)  # inches per mm: all three to one scale
    fig = new(sum(wide) * mm + 1.6, 4.9)
    axes = fig.subplots(1, 3, width_ratios=wide)
    titles = [
        f"one slice\n{coronal.shape[0]} × {coronal.shape[1]} voxels",
        f"MIP at 2 mm\n{mip.shape[0]} × {mip.shape[1]} pixels",
        f"canvas\n{cfg.canvas[0]} × {cfg.canvas[1]} pixels of {fh / cfg.canvas[0]:.4g} mm",
    ]
    for ax, picture, h, w, title in zip(axes, (coronal, mip, canvas), tall, wide, titles):
        im = show(ax, picture, title=title)
        im.set_extent((-w / 2, w / 2, h, 0))
        ax.set(xlim=(-w / 2 - 4, w / 2 + 4), ylim=(max(tall) + 4, -4))
        ax.plot([-w / 2, w / 2, w / 2, -w / 2, -w / 2], [0, 0, h, h, 0], color="0.6", lw=0.6)
    left = -wide[0] / 2 + 20
    axes[0].plot([left, left + 100], [tall[0] - 25] * 2, color=INK, lw=2)
    words(axes[0], left, tall[0] - 40, "100 mm", va="bottom", color=INK)
    scale(fig, im, list(axes))
    return fig


@dataclass(frozen=True)
class Turning:
    """A picture that turns, which a notebook shows by itself."""

    png: bytes  # animated; the first frame is the view from the front
    views: int  # frames per turn
    words: str  # what is seen, for where no picture is

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self.words, "image/png": base64.b64encode(self.png).decode()}


def rotating_mip(image, n_angles: int = 24) -> Turning:
    """The MIP of an exam (nibabel image, SUV) that turns in four seconds, some 400 pixels tall."""
    from radiogan_lib.data import rotating_mips

    views = rotating_mips(image, n_angles, spacing_mm=4.0)
    seen = np.flatnonzero((views > 0.1).any(axis=(0, 1)))  # no white margins beside the widest view
    if len(seen):
        views = views[:, :, seen[0] : seen[-1] + 1]
    larger = -(-400 // views.shape[1])  # whole pixels, so that nothing is blurred
    step = 255 / (GREYS - 1)
    pictures = []
    for view in views:
        levels = (np.round(grey(view) / step) * step).astype(np.uint8)
        pictures.append(Image.fromarray(levels.repeat(larger, 0).repeat(larger, 1)))
    moving = {"save_all": True, "append_images": pictures[1:], "duration": 4000 / n_angles}
    packed = io.BytesIO()
    # blend 0: each frame replaces the one before, wholly
    pictures[0].save(packed, "PNG", **moving, loop=0, blend=0, optimize=True)
    words = "A MIP that turns about the body's long axis"
    words += f": {n_angles} views, the first from the front."
    return Turning(packed.getvalue(), n_angles, words)


def audit(generated, train, holdout, n: int = 5, unit: str = "SUV") -> Figure:
    """The `n` generated images (·, h, w) nearest to a training exam.

    Below each stand that exam and the nearest held-out one, with their distances.
    """
    from radiogan_lib import evaluation

    generated, train, holdout = (np.asarray(a, np.float32) for a in (generated, train, holdout))
    near, distance = (np.ravel(a) for a in evaluation.nearest(generated, train))
    worst = np.argsort(distance, kind="stable")[:n]
    other, d_other = (np.ravel(a) for a in evaluation.nearest(generated[worst], holdout))
    rows = [generated[worst], train[near[worst]], holdout[other]]
    below = {(1, c): f"distance {distance[k]:.3g}" for c, k in enumerate(worst)}
    for c, k in enumerate(worst):
        first = list(near[worst]).index(near[k])
        below[1, c] += f", as image {worst[first]}" if first < c else ""
    below |= {(2, c): f"distance {d:.3g}" for c, d in enumerate(d_other)}
    names = ["generated", "nearest training", "nearest held-out"]
    return grid(rows, names, [f"image {k}" for k in worst], 1.7, below=below, unit=unit)[0]


# Walks


def _letters(frames: Sequence[int]) -> list[str]:
    """Panel letters as in the paper, A to Z; numbers after that."""
    return [chr(65 + k) if k < 26 else str(k + 1) for k in frames]


def _described(walk, class_names: Sequence[str]) -> str:
    """A walk in words: where it starts, where it ends, and along what."""
    (a, s), (b, t) = walk.start, walk.end
    start, end = readable(class_names[a]), readable(class_names[b])
    if walk.kind == "paper":
        return f"{start}: z = [k, 0, …, 0], k = 1 to {len(walk.frames)}"
    if walk.kind == "label":
        return f"{start} → {end}, seed {s} (only the label moves)"
    return f"{start}, seed {s} → {end}, seed {t} ({walk.kind})"


def walk_strip(walk, class_names: Sequence[str], window=WINDOW, unit: str = "SUV") -> Figure:
    """A walk as a strip of at most ten frames with letters (paper Figs. 4 and 5)."""
    fig = walk_strips({"": walk}, {}, class_names, window, unit)
    fig.suptitle(_described(walk, class_names), fontsize=10, color=INK)
    return fig


def walk_strips(
    walks: Mapping[str, object],
    measures: Mapping[str, Mapping],
    class_names: Sequence[str],
    window: Sequence[float] = WINDOW,
    unit: str = "SUV",
) -> Figure:
    """Walks below each other, with the blend residual under each frame and one frame in red.

    Args:
        walks: {name: walk}, frames of one size.
        measures: {name: what `evaluation.walk_measures` returned}; a walk without has no red frame.
    """
    rows, below, marked, names = [], {}, [], []
    for r, (name, walk) in enumerate(walks.items()):
        keep = evenly(len(walk.frames), PER_ROW)
        if name in measures:
            red = int(measures[name]["blend_frame"]["index"])
            if red not in keep:  # a long walk shows its red frame, too
                keep[np.argmin(np.abs(keep - red))] = red
            residuals = measures[name]["residual_ratio"]
            below |= {(r, c): f"{residuals[k]:.2f}" for c, k in enumerate(keep)}
            marked.append((r, int(np.flatnonzero(keep == red)[0])))
        rows.append([walk.frames[k] for k in keep])
        names.append(name.replace(": ", "\n").replace(", ", "\n"))
    letters = _letters(keep)
    fig, axes = grid(rows, names if any(names) else (), letters, 1.7, window, below, unit)
    for r, c in marked:
        axes[r, c].set_frame_on(True)
        axes[r, c].set_title((letters[c] if r == 0 else "") + " ▼", fontsize=9, color=INK)
        for spine in axes[r, c].spines.values():
            spine.set(color=RED, linewidth=2.5)
    return fig


def walk_with_neighbours(
    walk, neighbours_suv, distances, class_names: Sequence[str], unit: str = "SUV"
) -> Figure:
    """Each frame of a walk above its nearest training exam, with their distance.

    Args:
        neighbours_suv: (steps, h, w): the training exam nearest to each frame.
        distances: (steps,), in the unit of `evaluation.nearest`.
    """
    keep, near, below = evenly(len(walk.frames), PER_ROW), np.asarray(neighbours_suv), {}
    for c, k in enumerate(keep):
        same = c and np.array_equal(near[keep[c - 1]], near[k])
        below[1, c] = f"{distances[k]:.3g}" + ("\nsame exam" if same else "\n")
    rows = [walk.frames[keep], near[keep]]
    names, letters = ["generated", "nearest training"], _letters(keep)
    fig = grid(rows, names, letters, 1.6, below=below, unit=unit)[0]
    title = _described(walk, class_names) + "; below, the distance to each nearest exam"
    fig.suptitle(title, fontsize=10, color=INK)
    return fig


def directions(
    space, label: int, seed: int = 0, class_names: Sequence[str] = (), unit: str = "SUV"
) -> Figure:
    """The patient of a class and seed, moved along the directions of `lab.Space.directions`."""
    amounts = (-6, -3, 0, 3, 6)  # how far z is moved; a random z is about ten long
    z, e = space.path((label, seed), (label, seed), 2)
    found = space.directions(label)
    points = np.stack([z[0] + a * d for d in found for a in amounts])
    suv = space.draw(points, np.tile(e[0], (len(points), 1)))
    rows = suv.reshape(len(found), len(amounts), *suv.shape[1:])
    names = [f"direction {k + 1}" for k in range(len(found))]
    fig, _ = grid(rows, names, [f"{a:+d}" if a else "0" for a in amounts], 1.35, unit=unit)
    if len(class_names):
        fig.suptitle(f"{readable(class_names[label])}, seed {seed}", fontsize=10, color=INK)
    return fig
