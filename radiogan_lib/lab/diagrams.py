"""Hand-made explanatory figures: what a formula means before it is computed. `lab.diagram(name)`.

Drawn by code, so that they stay sharp, grey and in step with the numbers of the library. At least one per notebook.
"""

from __future__ import annotations

import difflib
import importlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

import petphantom
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import INK, WINDOW, bare, new, show

_ELSEWHERE = {
    "game": "diagrams_latent",
    "slerp": "diagrams_latent",
    "membership": "diagrams_latent",
    "blend": "diagrams_latent",
    "good_and_diverse": "diagrams_latent",
}
_HERE = ("overview", "mip", "canvas", "transposed_convolution")
NAMES = (*_HERE, *_ELSEWHERE)


def diagram(name: str) -> Figure:
    """Draw one of the explanatory figures.

    Args:
        name: overview (notebook 00), mip, canvas (01), transposed_convolution (02), game (03), good_and_diverse (04),
            membership, blend (05), slerp (06).
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        raise RadioganError(
            f"there is no diagram {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} There are: {', '.join(NAMES)}."
        )
    module = (
        importlib.import_module(f"radiogan_lib.lab.{_ELSEWHERE[name]}")
        if name in _ELSEWHERE
        else None
    )
    return (getattr(module, name) if module else globals()[name])()


def arrow(
    ax, start, end, colour="0.35", style="-|>", bend: float = 0.0, lw: float = 1.2, ls="-"
) -> None:
    """One arrow between two points in data units."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=11,
            lw=lw,
            color=colour,
            ls=ls,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
            zorder=4,
        )
    )


def empty(width: float, height: float):
    """A figure whose single axes are measured in inches, without frame."""
    fig = new(width, height)
    ax = fig.add_axes((0, 0, 1, 1))
    fig.set_layout_engine("none")
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return fig, ax


def word_box(
    ax, x: float, y: float, w: float, h: float, text: str, shade: str = "0.93", size: float = 9
) -> None:
    """A grey box with centred words."""
    ax.add_patch(Rectangle((x, y), w, h, facecolor=shade, edgecolor=INK, lw=0.9, zorder=3))
    ax.text(
        x + w / 2,
        y + h / 2,
        text,
        ha="center",
        va="center",
        fontsize=size,
        color=INK,
        zorder=5,
        linespacing=1.35,
    )


def picture(seed: int = 20001, class_name: str = "lung"):
    """A small phantom volume (x, y, z) and its MIP (rows, cols), SUV."""
    volume = np.asarray(petphantom.make(class_name, seed, 6.0).dataobj, np.float32)
    return volume, volume.max(axis=1)[::-1, ::-1].T


def cropped(mip: np.ndarray, margin: int = 3) -> np.ndarray:
    """A MIP without the empty columns on both sides."""
    cols = np.flatnonzero((mip > 0.15).any(axis=0))
    return mip[:, max(cols[0] - margin, 0) : cols[-1] + margin + 1] if len(cols) else mip


def overview() -> Figure:
    """The whole chain: exams become projections, two networks play, a walk is drawn, and tests judge it."""
    fig, ax = empty(10.4, 2.5)
    steps = [
        ("PET exams\n(3-D, SUV)", "00, 01"),
        ("projections\n(MIPs)", "01"),
        ("generator and\ndiscriminator", "02, 03"),
        ("generated\nprojections", "04"),
        ("memorised\nor not?", "05"),
        ("walks between\npatients", "06"),
    ]
    for k, (text, notebook) in enumerate(steps):
        x = 0.2 + k * 1.72
        word_box(ax, x, 1.05, 1.36, 0.85, text)
        ax.text(
            x + 0.68, 0.88, f"notebook {notebook}", ha="center", va="top", fontsize=8, color="0.35"
        )
        if k < len(steps) - 1:
            arrow(ax, (x + 1.38, 1.475), (x + 1.69, 1.475))
    arrow(ax, (2.6, 1.93), (7.78, 1.93), bend=-0.12, ls="--")
    ax.text(
        5.1,
        2.36,
        "held-out exams, never shown to the generator, are what everything is compared with",
        ha="center",
        va="center",
        fontsize=8.5,
        color="0.25",
    )
    ax.text(
        0.2,
        0.3,
        "A label (which disease) enters both networks: it says what to draw, and what to expect.",
        fontsize=8.5,
        color="0.25",
    )
    return fig


def mip() -> Figure:
    """A maximum-intensity projection: along each line of sight from the front, the brightest voxel is kept."""
    volume, projection = picture()
    chest = projection[int(0.30 * len(projection)) : int(0.48 * len(projection))]
    row, col = np.unravel_index(int(chest.argmax()), chest.shape)  # the brightest spot of the chest
    row += int(0.30 * len(projection))
    axial = volume[
        ::-1, ::-1, volume.shape[2] - 1 - row
    ].T  # front at the top, patient's right on the left
    rows, body = (np.flatnonzero((axial > 0.15).any(axis=k)) for k in (1, 0))
    first, last = max(rows[0] - 8, 0), rows[-1] + 8
    axial = axial[first:last]
    line = axial[:, col]
    fig = new(9.6, 3.9)
    left, middle, right = fig.subplots(1, 3, width_ratios=[1.25, 1.0, 0.85])
    show(left, axial, WINDOW, "one slice through the chest, seen from the feet")
    left.axvline(col, color=INK, lw=1.2, ls="--")
    left.set_xlim(body[0] - 10, body[-1] + 10)
    left.text(col + 2, axial.shape[0] - 2, "line of sight", fontsize=8, va="bottom", color=INK)
    left.text(body[0] - 8, 1, "front (the viewer is here)", va="top", fontsize=8, color="0.35")
    depth = np.arange(len(line)) * 6
    middle.plot(line, depth, color=INK, lw=1.3)
    best = int(line.argmax())
    middle.plot([line[best]], [depth[best]], "o", ms=8, mfc="none", color=INK)
    middle.annotate(
        f"the maximum, SUV {line[best]:.1f}\nis kept",
        (line[best], depth[best]),
        xytext=(-14, 22 if best > len(line) / 2 else -40),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        arrowprops={"arrowstyle": "-", "lw": 0.7},
    )
    middle.set(
        xlabel="SUV",
        ylabel="depth along the line, mm",
        ylim=(depth[-1], 0),
        title="SUV along that line",
    )
    middle.title.set_fontsize(9)
    middle.spines[["top", "right"]].set_visible(False)
    show(right, projection, WINDOW, "one pixel of the MIP")
    right.axhline(row, color="0.5", lw=0.8, ls=":")
    right.plot([col], [row], "o", ms=9, mfc="none", color=INK)
    right.set(xlim=(body[0] - 18, body[-1] + 18))
    return fig


def canvas() -> Figure:
    """The canvas grows by doubling: 5 × 3 pixels become 5·2^d × 3·2^d over the same field of view."""
    from radiogan_lib.data.dataset import fit_to_canvas

    _, projection = picture()
    fig = new(10.2, 3.3)
    axes = fig.subplots(1, 8)
    for d, ax in enumerate(axes):
        h, w = 5 * 2**d, 3 * 2**d
        field = (900.0, 540.0)
        small = fit_to_canvas(projection, (h, w), field, spacing_mm=6.0)
        role = {0: "start", 3: "smoke", 4: "teach", 7: "paper"}.get(d, "")
        show(ax, small, WINDOW, f"d = {d}" + (f" ({role})" if role else "") + f"\n{h} × {w}")
        ax.set_frame_on(True)
        for s in ax.spines.values():
            s.set(color="0.6", lw=0.6)
        ax.set_xlabel(f"{field[0] / h:.3g} mm\nper pixel", fontsize=7, color="0.3")
    fig.suptitle("one field of view, 900 × 540 mm, at d doublings", fontsize=9, color="0.3")
    return fig


def transposed_convolution() -> Figure:
    """Stride 2 on 5 × 3: every input pixel lays a 3 × 3 stamp on a grid twice as fine; where stamps overlap they add."""
    rng = np.random.default_rng(3)
    x = np.round(rng.uniform(0.2, 1.0, (5, 3)), 1)
    kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
    big = np.zeros((11, 7))
    count = np.zeros((11, 7), int)
    for r in range(5):
        for c in range(3):
            big[2 * r : 2 * r + 3, 2 * c : 2 * c + 3] += x[r, c] * kernel
            count[2 * r : 2 * r + 3, 2 * c : 2 * c + 3] += 1
    out, count = big[:10, :6], count[:10, :6]  # "same" padding keeps twice the size
    fig = new(9.6, 4.2)
    axes = fig.subplots(1, 4, width_ratios=[0.75, 0.55, 1, 1])
    for ax, values, title, top in (
        (axes[0], x, "input, 5 × 3", 1.3),
        (axes[1], kernel, "the stamp (kernel),\n3 × 3, learned", 1.3),
        (axes[2], out, "output, 10 × 6:\nstamps, added up", 2.2),
    ):
        ax.imshow(values, cmap="gray_r", vmin=0, vmax=top)
        bare(ax)
        ax.set_title(title, fontsize=9, color=INK)
        if values.size <= 20:
            for (r, c), v in np.ndenumerate(values):
                ax.text(
                    c,
                    r,
                    f"{v:g}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if v > 0.7 * top else "black",
                )
    axes[0].add_patch(Rectangle((0.5, 1.5), 1, 1, fill=False, ec="black", lw=2.2))
    axes[2].add_patch(Rectangle((1.5, 3.5), 3, 3, fill=False, ec="black", lw=2.2))
    axes[2].annotate(
        "the stamp of the\nmarked pixel",
        (3, 6.5),
        xytext=(3, 9.95),
        ha="center",
        va="top",
        fontsize=8,
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "lw": 0.8},
    )
    axes[3].imshow(count, cmap="gray_r", vmin=0, vmax=6)
    for (r, c), n in np.ndenumerate(count):
        axes[3].text(
            c, r, str(n), ha="center", va="center", fontsize=8, color="white" if n > 3 else "black"
        )
    bare(axes[3])
    axes[3].set_title("how many stamps meet:\na checkerboard", fontsize=9, color=INK)
    return fig
