"""Hand-made explanatory figures: what a formula means before it is computed. `lab.diagram(name)`.

Drawn by code, so that they stay sharp, grey and in step with the numbers of the library. At least one per notebook.
"""

from __future__ import annotations

import difflib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

import petphantom
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import INK, WINDOW, bare, new, show


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
        ("walks between\npatients", "06, 07"),
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


def transposed_convolution() -> Figure:
    """Stride 2 on 5 × 3: every input pixel adds a copy of a 3 × 3 kernel on a grid twice as fine; where copies overlap they sum."""
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
        (axes[1], kernel, "the kernel,\n3 × 3, learned", 1.3),
        (axes[2], out, "output, 10 × 6:\ncopies, added up", 2.2),
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
        "the marked pixel's\ncopy of the kernel",
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
    axes[3].set_title("how many copies meet:\na checkerboard", fontsize=9, color=INK)
    return fig


def game() -> Figure:
    """Which loss moves which network: solid arrows carry pictures forwards, dashed ones gradients back."""
    fig, ax = empty(10.4, 4.6)
    word_box(ax, 0.2, 2.75, 1.1, 0.6, "noise z", "1.0")
    word_box(ax, 0.2, 1.85, 1.1, 0.6, "label y", "1.0")
    word_box(ax, 1.9, 2.1, 1.3, 1.0, "generator", "0.82", 10)
    word_box(ax, 3.75, 2.3, 0.95, 0.6, "fake", "1.0")
    word_box(ax, 3.75, 0.45, 0.95, 0.6, "real", "1.0")
    word_box(ax, 6.0, 3.3, 1.75, 0.9, "discriminator\n(weights held still)", "1.0", 9)
    word_box(ax, 6.0, 0.65, 1.75, 1.3, "discriminator", "0.82", 10)
    word_box(ax, 8.6, 3.3, 1.6, 0.9, "generator loss\n“call it real”", "0.95")
    word_box(ax, 8.6, 0.65, 1.6, 1.3, "discriminator loss\n“real is real,\nfake is fake”", "0.95")
    arrow(ax, (1.3, 3.05), (1.9, 2.75))
    arrow(ax, (1.3, 2.15), (1.9, 2.45))
    arrow(ax, (3.2, 2.6), (3.75, 2.6))
    arrow(ax, (4.7, 2.75), (6.0, 3.6))
    arrow(ax, (4.7, 2.45), (6.0, 1.6))
    arrow(ax, (4.7, 0.75), (6.0, 0.95))
    arrow(ax, (7.75, 3.85), (8.6, 3.85))
    arrow(ax, (7.75, 1.4), (8.6, 1.4))
    # gradients: generator loss → through the held discriminator → fake → generator
    for start, end in (
        ((8.6, 3.55), (7.75, 3.55)),
        ((6.0, 3.35), (4.75, 2.5)),
        ((3.75, 2.4), (3.2, 2.4)),
        ((8.6, 1.05), (7.75, 1.05)),
    ):
        arrow(ax, start, end, colour="black", ls="--", lw=1.7)
    ax.plot([5.28, 5.44], [1.85, 2.2], color="black", lw=3.5, solid_capstyle="butt", zorder=6)
    ax.text(
        5.2,
        1.72,
        "stop_gradient",
        ha="right",
        va="center",
        fontsize=9,
        color=INK,
        family="monospace",
    )
    ax.text(
        2.55,
        1.98,
        "moved by the\ngenerator loss only",
        ha="center",
        va="top",
        fontsize=8,
        color="0.25",
    )
    ax.text(
        6.87,
        0.53,
        "moved by the discriminator loss only",
        ha="center",
        va="top",
        fontsize=8,
        color="0.25",
    )
    ax.text(
        6.87, 4.27, "the label enters here too", ha="center", va="bottom", fontsize=8, color="0.25"
    )
    arrow(ax, (0.25, 0.75), (0.85, 0.75))
    ax.text(0.95, 0.75, "pictures, forwards", va="center", fontsize=8.5, color=INK)
    arrow(ax, (0.85, 0.4), (0.25, 0.4), colour="black", ls="--", lw=1.7)
    ax.text(0.95, 0.4, "gradients, backwards", va="center", fontsize=8.5, color=INK)
    return fig


def slerp() -> Figure:
    """Random z of length 100 lie on a thin shell (left); a straight line leaves it, an arc does not (right)."""
    from radiogan_lib.evaluation.walks import slerp as on_sphere

    rng = np.random.default_rng(0)
    fig = new(9.6, 3.7)
    left, right = fig.subplots(1, 2, width_ratios=[1.1, 1])
    bins = np.linspace(0, 14, 71)
    for dim, style, grey in ((1, ":", "0.45"), (10, "--", "0.3"), (100, "-", "0.0")):
        share = (
            np.histogram(np.linalg.norm(rng.standard_normal((20000, dim)), axis=1), bins)[0] / 20000
        )
        left.step(bins[:-1], share, where="post", ls=style, color=grey, lw=1.5)
        peak = int(share.argmax())
        left.text(
            bins[peak] + 0.6,
            share[peak],
            f"{dim} number{'s' if dim > 1 else ''}",
            fontsize=9,
            va="center",
            color=INK,
        )
    left.set(xlabel="length of z", ylabel="share of random z", xlim=(0, 14))
    left.set_title("how long random vectors are", fontsize=9, color=INK)
    left.spines[["top", "right"]].set_visible(False)
    a, b = rng.standard_normal(100), rng.standard_normal(100)
    # the plane through both points: first axis along a, second along what of b is left
    u = a / np.linalg.norm(a)
    v = b - (b @ u) * u
    v /= np.linalg.norm(v)
    w = np.linspace(0, 1, 10)
    ring = np.linspace(0, 2 * np.pi, 200)
    for radius in (9.3, 10.7):
        right.plot(radius * np.cos(ring), radius * np.sin(ring), color="0.75", lw=0.8)
    right.fill(
        np.r_[10.7 * np.cos(ring), 9.3 * np.cos(ring[::-1])],
        np.r_[10.7 * np.sin(ring), 9.3 * np.sin(ring[::-1])],
        color="0.92",
        lw=0,
    )
    lines = (
        (
            (1 - w)[:, None] * a + w[:, None] * b,
            "s",
            "lerp: straight,\nthrough the empty middle",
            (0.4, -1.3),
        ),
        (on_sphere(a, b, w), "o", "slerp: stays on the shell", (-1.0, 2.2)),
    )
    for points, marker, words, shift in lines:
        x, y = points @ u, points @ v
        right.plot(
            x, y, "-" + marker, color=INK, ms=4.5, lw=1, mfc="white" if marker == "s" else INK
        )
        right.annotate(
            words,
            (x[5], y[5]),
            xytext=(x[5] + shift[0], y[5] + shift[1]),
            fontsize=8.5,
            color=INK,
            va="top" if marker == "s" else "bottom",
            ha="right" if marker == "s" else "left",
        )
    right.text(*(a @ u + 0.5, a @ v - 0.2), "A", fontsize=11, weight="bold", va="top")
    right.text(*(b @ u - 0.4, b @ v + 0.6), "B", fontsize=11, weight="bold")
    short = float(np.linalg.norm((a + b) / 2))
    right.set_title(
        f"two z of 100 numbers; half-way the straight line is {short:.1f} long",
        fontsize=9,
        color=INK,
    )
    right.set(aspect="equal", xlim=(-2.6, 13), ylim=(-2.6, 13))
    right.set_axis_off()
    return fig


def membership() -> Figure:
    """Distances to the nearest generated image: a copier is closer to what it trained on (filled) than to what it never saw (open)."""
    fig = new(9.8, 5.0)
    axes = fig.subplots(2, 2, height_ratios=[2.1, 1])
    for column, copies in enumerate((False, True)):
        rng = np.random.default_rng(0)
        train, unseen = rng.normal(0, 1, (40, 2)), rng.normal(0, 1, (40, 2))
        generated = (
            train + rng.normal(0, 0.13, train.shape) if copies else rng.normal(0, 1, (40, 2))
        )
        ax, low = axes[:, column]
        ax.plot(*generated.T, "x", color="0.35", ms=6, label="generated")
        for points, fill, label in ((train, INK, "training"), (unseen, "white", "unseen")):
            d = np.linalg.norm(points[:, None] - generated[None], axis=2)
            for p, near in zip(points, generated[d.argmin(1)]):
                ax.plot(*zip(p, near), color="0.75", lw=0.7, zorder=0)
            ax.plot(*points.T, "o", mfc=fill, mec=INK, ms=5, label=label)
            low.plot(
                d.min(1),
                np.full(len(d), label == "training") + rng.uniform(-0.12, 0.12, len(d)),
                "o",
                mfc=fill,
                mec=INK,
                ms=5,
            )
        d_t = np.linalg.norm(train[:, None] - generated[None], axis=2).min(1)
        d_u = np.linalg.norm(unseen[:, None] - generated[None], axis=2).min(1)
        auc = (d_t[:, None] < d_u[None]).mean() + 0.5 * (d_t[:, None] == d_u[None]).mean()
        ax.set_title(
            ("a copier" if copies else "an honest generator") + f": membership AUC {auc:.2f}",
            fontsize=10,
            color=INK,
        )
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set(xlim=(-3, 3), ylim=(-2.6, 2.6))
        low.set_yticks([0, 1], ["unseen", "training"], fontsize=8)
        low.set(xlim=(0, 1.5), ylim=(-0.5, 1.5), xlabel="distance to the nearest generated image")
        low.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0.2)
    return fig


def blend() -> Figure:
    """Half of one exam on top of half of another (third), and a true in-between (fourth): only that could be a patient."""
    a, b = _two_builds()
    mixed = (a + b) / 2
    between = _stretched(a, (_width(a) + _width(b)) / (2 * _width(a)))
    shown = [cropped(p) for p in (a, b, mixed, between)]
    fig = new(9.6, 3.7)
    axes = fig.subplots(1, 4, width_ratios=[p.shape[1] for p in shown])
    titles = (
        "exam 1",
        "exam 2",
        "½ exam 1 + ½ exam 2:\na blend, two outlines",
        "a true in-between:\none body, one outline",
    )
    for ax, p, title in zip(axes, shown, titles):
        show(ax, p, WINDOW, title)
    return fig


def _width(mip: np.ndarray) -> float:
    """Typical width of a body, pixels: the median over its rows."""
    inside = (mip > 0.15).sum(axis=1)
    return float(np.median(inside[inside > 0]))


def _two_builds() -> tuple[np.ndarray, np.ndarray]:
    """The MIPs of the slimmest and the broadest of a few phantoms with their arms down, moved to a common midline."""
    found = []
    for seed in range(30000, 30012):
        mip = picture(seed, "lymphoma")[1]
        rows = np.flatnonzero((mip > 0.15).any(axis=1))
        head = mip[rows[0] : rows[0] + len(rows) // 6]
        span = np.ptp(np.flatnonzero((head > 0.15).any(axis=0)))
        if span < 0.75 * _width(mip):  # arms beside the head would make it broad
            found.append(mip)
    found.sort(key=_width)
    return found[0], found[-1]


def _stretched(mip: np.ndarray, factor: float) -> np.ndarray:
    """A MIP made broader about its midline; what in-between means for a body, as opposed to a mean of grey values."""
    columns = np.arange(mip.shape[1])
    weight = mip.sum(axis=0)
    middle = float((columns * weight).sum() / max(weight.sum(), 1e-9))
    return np.stack([np.interp(middle + (columns - middle) / factor, columns, row) for row in mip])


def good_and_diverse() -> Figure:
    """Four ways to draw (crosses) from the same real exams (circles): only the first is both good and diverse."""
    rng = np.random.default_rng(7)
    centres = np.array([[-2.0, 0.6], [0.3, 1.6], [1.9, -0.4], [-0.4, -1.7]])
    real = np.concatenate([c + rng.normal(0, 0.42, (12, 2)) for c in centres])
    fakes = {
        "good and diverse": np.concatenate([c + rng.normal(0, 0.42, (8, 2)) for c in centres]),
        "mode collapse:\ngood, not diverse": centres[1] + rng.normal(0, 0.15, (32, 2)),
        "diverse, not good": rng.uniform(-3.3, 3.3, (32, 2)),
        "a copier: looks perfect here": real[rng.choice(len(real), 32, replace=False)]
        + rng.normal(0, 0.03, (32, 2)),
    }
    fig = new(10.4, 3.1)
    for ax, (title, fake) in zip(fig.subplots(1, 4), fakes.items()):
        within = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[
            :, 5
        ]  # radius to the fifth neighbour
        reach = np.linalg.norm(real[:, None] - fake[None], axis=2) < within[:, None]
        for p, r, hit in zip(real, within, reach.any(1)):
            ax.add_patch(
                Circle(p, r, facecolor="0.9" if hit else "none", edgecolor="none", zorder=0)
            )
        ax.plot(*real.T, "o", mfc="white", mec=INK, ms=5)
        ax.plot(*fake.T, "x", color=INK, ms=5)
        ax.set_title(title, fontsize=9, color=INK)
        ax.set_xlabel(
            f"density {reach.sum() / (5 * fake.shape[0]):.2f}, coverage {reach.any(1).mean():.2f}",
            fontsize=8,
        )
        ax.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[], aspect="equal")
    return fig


DIAGRAMS = {
    draw.__name__: draw
    for draw in (
        overview,
        mip,
        transposed_convolution,
        game,
        good_and_diverse,
        membership,
        blend,
        slerp,
    )
}
NAMES = tuple(DIAGRAMS)


def diagram(name: str) -> Figure:
    """Draw one of the explanatory figures.

    Args:
        name: overview (notebook 00), mip (01), transposed_convolution (02), game (03), good_and_diverse (04),
            membership (05), blend, slerp (06).
    """
    if name not in DIAGRAMS:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        raise RadioganError(
            f"there is no diagram {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
            f" There are: {', '.join(NAMES)}."
        )
    return DIAGRAMS[name]()
