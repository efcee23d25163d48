"""Explanatory figures, drawn by code: what a formula means before it is computed."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

import petphantom
from radiogan_lib.lab.figures import INK, arrow, bare, new, plain, show, words
from radiogan_lib.lab.notebook import pick

BACK = {"colour": "black", "lw": 1.7, "ls": "--"}  # an arrow that carries a gradient
SLIM, BROAD = 30004, 30001  # seeds of two lymphoma phantoms with their arms down


def _page(width: float, height: float):
    """A figure whose single axes are measured in inches, without frame."""
    fig = new(width, height)
    ax = fig.add_axes((0, 0, 1, 1))
    fig.set_layout_engine("none")
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return fig, ax


def _box(ax, corner, size, text: str, shade: str = "1.0", fontsize: float = 9) -> None:
    """A grey box with centred words; `corner` is the lower left one."""
    (x, y), (w, h) = corner, size
    ax.add_patch(Rectangle(corner, w, h, facecolor=shade, edgecolor=INK, lw=0.9, zorder=3))
    middle = {"ha": "center", "va": "center", "zorder": 5, "linespacing": 1.35, "color": INK}
    words(ax, x + w / 2, y + h / 2, text, fontsize, **middle)


def _numbers(ax, values: np.ndarray, top: float, dark: float) -> None:
    """A small table as grey cells with its numbers in them, white on cells above `dark`."""
    ax.imshow(values, cmap="gray_r", vmin=0, vmax=top)
    bare(ax)
    for (r, c), v in np.ndenumerate(values):
        colour = "white" if v > dark else "black"
        words(ax, c, r, f"{v:g}", ha="center", va="center", color=colour)


def _phantom(seed: int = 20001, class_name: str = "lung"):
    """A small phantom volume (x, y, z) and its MIP (rows, cols), SUV."""
    volume = np.asarray(petphantom.make(class_name, seed, 6.0).dataobj, np.float32)
    return volume, volume.max(axis=1)[::-1, ::-1].T


def overview() -> Figure:
    """The whole chain: from exams to projections, two networks, a walk, and tests."""
    fig, ax = _page(10.4, 2.5)
    steps = {
        "PET exams\n(3-D, SUV)": "00, 01",
        "projections\n(MIPs)": "01",
        "generator and\ndiscriminator": "02, 03",
        "generated\nprojections": "04",
        "memorised\nor not?": "05",
        "walks between\npatients": "06, 07",
    }
    for k, (text, notebook) in enumerate(steps.items()):
        x = 0.2 + k * 1.72
        _box(ax, (x, 1.05), (1.36, 0.85), text, "0.93")
        words(ax, x + 0.68, 0.88, f"notebook {notebook}", ha="center", va="top", color="0.35")
        if k:
            arrow(ax, (x - 0.34, 1.475), (x - 0.03, 1.475))
    for end in (6.04, 7.76, 9.48):  # the last three boxes
        bent = f"arc3,rad={-0.55 / (end - 2.6):.3f}"  # all rise to one height
        arrow(ax, (2.6, 1.93), (end, 1.93), ls="--", connectionstyle=bent)
    held_out = "held-out exams, never shown to the generator, are what everything is compared with"
    words(ax, 5.1, 2.36, held_out, 8.5, ha="center", va="center")
    label = "A label (which disease) enters both networks: it tells them the class."
    words(ax, 0.2, 0.3, label, 8.5)
    return fig


def mip() -> Figure:
    """A MIP: along each line of sight from the front, the brightest voxel is kept."""
    volume, projection = _phantom()
    first, last = int(0.30 * len(projection)), int(0.48 * len(projection))
    chest = projection[first:last]
    row, col = np.unravel_index(int(chest.argmax()), chest.shape)  # the brightest spot of the chest
    row += first
    # front at the top, patient's right on the left
    axial = volume[::-1, ::-1, volume.shape[2] - 1 - row].T
    rows, body = (np.flatnonzero((axial > 0.15).any(axis=k)) for k in (1, 0))
    axial = axial[max(rows[0] - 8, 0) : rows[-1] + 8]
    line = axial[:, col]
    fig = new(9.6, 3.9)
    left, middle, right = fig.subplots(1, 3, width_ratios=[1.25, 1.0, 0.85])
    show(left, axial, title="one slice through the chest, seen from the feet")
    left.axvline(col, color=INK, lw=1.2, ls="--")
    left.set_xlim(body[0] - 10, body[-1] + 10)
    words(left, col + 2, len(axial) - 2, "line of sight", va="bottom", color=INK)
    words(left, body[0] - 8, 1, "front (the viewer is here)", va="top", color="0.35")
    depth = np.arange(len(line)) * 6
    middle.plot(line, depth, color=INK, lw=1.3)
    best = int(line.argmax())
    middle.plot([line[best]], [depth[best]], "o", ms=8, mfc="none", color=INK)
    text = f"the maximum, SUV {line[best]:.1f}\nis kept"
    style = {"xytext": (-14, 22 if best > len(line) / 2 else -40), "textcoords": "offset points"}
    style |= {"ha": "right", "fontsize": 8, "arrowprops": {"arrowstyle": "-", "lw": 0.7}}
    middle.annotate(text, (line[best], depth[best]), **style)
    middle.set(xlabel="SUV", ylabel="depth along the line, mm", ylim=(depth[-1], 0))
    plain(middle, "SUV along that line")
    show(right, projection, title="one pixel of the MIP")
    right.axhline(row, color="0.5", lw=0.8, ls=":")
    right.plot([col], [row], "o", ms=9, mfc="none", color=INK)
    right.set(xlim=(body[0] - 18, body[-1] + 18))
    return fig


def transposed_convolution() -> Figure:
    """Stride 2 on 5 × 3: each input pixel adds a copy of a 3 × 3 kernel on a grid twice as fine."""
    x = np.round(np.random.default_rng(3).uniform(0.2, 1.0, (5, 3)), 1)
    kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
    out, count = np.zeros((11, 7)), np.zeros((11, 7), int)
    for r, c in np.ndindex(x.shape):
        place = slice(2 * r, 2 * r + 3), slice(2 * c, 2 * c + 3)
        out[place] += x[r, c] * kernel
        count[place] += 1
    fig = new(9.6, 4.2)
    axes = fig.subplots(1, 4, width_ratios=[0.75, 0.55, 1, 1])
    _numbers(axes[0], x, 1.3, 0.91)
    _numbers(axes[1], kernel, 1.3, 0.91)
    axes[2].imshow(out[:10, :6], cmap="gray_r", vmin=0, vmax=2.2)  # "same" keeps twice the size
    bare(axes[2])
    _numbers(axes[3], count[:10, :6], 6, 3)
    titles = (
        "input, 5 × 3",
        "the kernel,\n3 × 3, learned",
        "output, 10 × 6:\ncopies, added up",
        "how many copies meet:\na checkerboard",
    )
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=9, color=INK)
    axes[0].add_patch(Rectangle((0.5, 1.5), 1, 1, fill=False, ec="black", lw=2.2))
    axes[2].add_patch(Rectangle((1.5, 3.5), 3, 3, fill=False, ec="black", lw=2.2))
    style = {"ha": "center", "va": "top", "fontsize": 8, "annotation_clip": False}
    style |= {"xytext": (3, 9.95), "arrowprops": {"arrowstyle": "-", "lw": 0.8}}
    axes[2].annotate("the marked pixel's\ncopy of the kernel", (3, 6.5), **style)
    return fig


def game() -> Figure:
    """Which loss moves which network: pictures go forwards, gradients go back."""
    fig, ax = _page(10.4, 4.6)
    _box(ax, (0.2, 2.75), (1.1, 0.6), "noise z")
    _box(ax, (0.2, 1.85), (1.1, 0.6), "label y")
    _box(ax, (1.9, 2.1), (1.3, 1.0), "generator", "0.82", 10)
    _box(ax, (3.75, 2.3), (0.95, 0.6), "fake")
    _box(ax, (3.75, 0.45), (0.95, 0.6), "real")
    _box(ax, (6.0, 3.3), (1.75, 0.9), "discriminator\n(weights held still)")
    _box(ax, (6.0, 0.65), (1.75, 1.3), "discriminator", "0.82", 10)
    _box(ax, (8.6, 3.3), (1.6, 0.9), "generator loss\n“call it real”", "0.95")
    text = "discriminator loss\n“real is real,\nfake is fake”"
    _box(ax, (8.6, 0.65), (1.6, 1.3), text, "0.95")
    arrow(ax, (1.3, 3.05), (1.9, 2.75))
    arrow(ax, (1.3, 2.15), (1.9, 2.45))
    arrow(ax, (3.2, 2.6), (3.75, 2.6))
    arrow(ax, (4.7, 2.75), (6.0, 3.6))
    arrow(ax, (4.7, 2.45), (6.0, 1.6))
    arrow(ax, (4.7, 0.75), (6.0, 0.95))
    arrow(ax, (7.75, 3.85), (8.6, 3.85))
    arrow(ax, (7.75, 1.4), (8.6, 1.4))
    # generator loss → through the held discriminator → fake → generator
    arrow(ax, (8.6, 3.55), (7.75, 3.55), **BACK)
    arrow(ax, (6.0, 3.35), (4.75, 2.5), **BACK)
    arrow(ax, (3.75, 2.4), (3.2, 2.4), **BACK)
    arrow(ax, (8.6, 1.05), (7.75, 1.05), **BACK)
    ax.plot([5.28, 5.44], [1.85, 2.2], color="black", lw=3.5, solid_capstyle="butt", zorder=6)
    words(ax, 5.2, 1.72, "stop_gradient", 9, ha="right", va="center", family="monospace", color=INK)
    below, above = {"ha": "center", "va": "top"}, {"ha": "center", "va": "bottom"}
    words(ax, 2.55, 1.98, "moved by the\ngenerator loss only", **below)
    words(ax, 6.87, 0.53, "moved by the discriminator loss only", **below)
    words(ax, 6.87, 4.27, "the label enters here too", **above)
    arrow(ax, (0.25, 0.75), (0.85, 0.75))
    words(ax, 0.95, 0.75, "pictures, forwards", 8.5, va="center", color=INK)
    arrow(ax, (0.85, 0.4), (0.25, 0.4), **BACK)
    words(ax, 0.95, 0.4, "gradients, backwards", 8.5, va="center", color=INK)
    return fig


def slerp() -> Figure:
    """Random z of length 100 lie on a thin shell; a straight line leaves it, an arc does not."""
    from radiogan_lib.evaluation.walks import slerp as on_sphere

    rng = np.random.default_rng(0)
    fig = new(9.6, 3.7)
    left, right = fig.subplots(1, 2, width_ratios=[1.1, 1])
    bins = np.linspace(0, 14, 71)
    for dim, style, shade in ((1, ":", "0.45"), (10, "--", "0.3"), (100, "-", "0.0")):
        length = np.linalg.norm(rng.standard_normal((20000, dim)), axis=1)
        share = np.histogram(length, bins)[0] / len(length)
        left.step(bins[:-1], share, where="post", ls=style, color=shade, lw=1.5)
        peak, text = int(share.argmax()), f"{dim} number{'s' if dim > 1 else ''}"
        words(left, bins[peak] + 0.6, share[peak], text, 9, va="center", color=INK)
    left.set(xlabel="length of z", ylabel="share of random z", xlim=(0, 14))
    plain(left, "how long random vectors are")
    a, b = np.random.default_rng(0).standard_normal((2, 100))  # those of the cell in notebook 06
    # the plane through both points: first axis along a, second along what of b is left
    u = a / np.linalg.norm(a)
    v = b - (b @ u) * u
    v /= np.linalg.norm(v)
    ring = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    shell = np.r_[10.7 * ring, 9.3 * ring[::-1]]
    right.fill(shell.real, shell.imag, color="0.92", lw=0)
    for radius in (9.3, 10.7):
        right.plot(radius * ring.real, radius * ring.imag, color="0.75", lw=0.8)
    w = np.linspace(0, 1, 10)
    straight = (1 - w)[:, None] * a + w[:, None] * b
    for points, mark, face in (straight, "-s", "white"), (on_sphere(a, b, w), "-o", INK):
        right.plot(points @ u, points @ v, mark, color=INK, ms=4.5, lw=1, mfc=face)
    x, y = (a + b) @ u / 2, (a + b) @ v / 2
    text = "lerp: straight,\nthrough the empty middle"
    words(right, x - 0.1, y - 0.8, text, 8.5, va="top", ha="right", color=INK)
    words(right, x + 1.0, y + 5.0, "slerp: stays on the shell", 8.5, color=INK)
    words(right, a @ u + 0.5, -0.2, "A", 11, weight="bold", va="top", color="black")
    words(right, b @ u - 0.4, b @ v + 0.6, "B", 11, weight="bold", color="black")
    short = float(np.linalg.norm((a + b) / 2))
    plain(right, f"two z of 100 numbers; half-way the straight line is {short:.1f} long")
    right.set(aspect="equal", xlim=(-2.6, 13), ylim=(-2.6, 13))
    right.set_axis_off()
    return fig


def membership() -> Figure:
    """A copier draws closer to what it trained on (filled) than to what it never saw (open)."""
    from radiogan_lib.evaluation.statistics import auc

    fig = new(9.8, 5.0)
    axes = fig.subplots(2, 2, height_ratios=[2.1, 1])
    for column, name in enumerate(("an honest generator", "a copier")):
        rng = np.random.default_rng(0)
        train, unseen, noise = rng.normal(0, 1, (3, 40, 2))
        generated = train + 0.13 * noise if column else noise
        ax, low = axes[:, column]
        ax.plot(*generated.T, "x", color="0.35", ms=6, label="generated")
        distances = {}
        sets = (1, "training", train, INK), (0, "held-out", unseen, "w")
        for level, label, points, fill in sets:
            d = np.linalg.norm(points[:, None] - generated[None], axis=2)
            for p, near in zip(points, generated[d.argmin(1)]):
                ax.plot(*zip(p, near), color="0.75", lw=0.7, zorder=0)
            style = {"marker": "o", "ls": "", "mfc": fill, "mec": INK, "ms": 5}
            ax.plot(*points.T, **style, label=label)
            low.plot(d.min(1), level + rng.uniform(-0.12, 0.12, len(d)), **style)
            distances[label] = d.min(1)
        found = auc(-distances["training"], -distances["held-out"], rounds=1)["value"]
        ax.set_title(f"{name}: membership AUC {found:.2f}", fontsize=10, color=INK)
        ax.set(xlim=(-3, 3), ylim=(-2.6, 2.6), xticks=[], yticks=[])
        low.set_yticks([0, 1], ["held-out", "training"], fontsize=8)
        low.set(xlim=(0, 1.5), ylim=(-0.5, 1.5), xlabel="distance to the nearest generated image")
        plain(low)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0.2)
    return fig


def blend() -> Figure:
    """Half of one exam on half of another, and a true in-between: only that could be a patient."""
    a, b = (_phantom(seed, "lymphoma")[1] for seed in (SLIM, BROAD))
    wide = [np.median(inside[inside > 0]) for inside in ((m > 0.15).sum(axis=1) for m in (a, b))]
    # made broader about its midline
    columns, weight = np.arange(a.shape[1]), a.sum(axis=0)
    middle = (columns * weight).sum() / weight.sum()
    from_column = middle + (columns - middle) * 2 * wide[0] / (wide[0] + wide[1])
    between = np.stack([np.interp(from_column, columns, row) for row in a])
    pictures = {
        "exam 1": a,
        "exam 2": b,
        "½ exam 1 + ½ exam 2:\na blend, two outlines": (a + b) / 2,
        "a true in-between:\none body, one outline": between,
    }
    for title, picture in pictures.items():
        body = np.flatnonzero((picture > 0.15).any(axis=0))
        pictures[title] = picture[:, max(body[0] - 3, 0) : body[-1] + 4]
    fig = new(9.6, 3.7)
    axes = fig.subplots(1, 4, width_ratios=[p.shape[1] for p in pictures.values()])
    for ax, (title, picture) in zip(axes, pictures.items()):
        show(ax, picture, title=title)
    return fig


def good_and_diverse() -> Figure:
    """Four ways to draw (crosses) from the same real exams (circles)."""
    from radiogan_lib.evaluation.quality import coverage_density

    rng = np.random.default_rng(7)
    centres = np.array([[-2.0, 0.6], [0.3, 1.6], [1.9, -0.4], [-0.4, -1.7]])
    real = np.concatenate([c + rng.normal(0, 0.42, (12, 2)) for c in centres])
    good = np.concatenate([c + rng.normal(0, 0.42, (8, 2)) for c in centres])
    collapsed = centres[1] + rng.normal(0, 0.15, (32, 2))
    anywhere = rng.uniform(-3.3, 3.3, (32, 2))
    copied = real[rng.choice(len(real), 32, replace=False)] + rng.normal(0, 0.03, (32, 2))
    fakes = {
        "good and diverse": good,
        "mode collapse:\ngood, not diverse": collapsed,
        "diverse, not good": anywhere,
        "a copier: looks perfect here": copied,
    }
    apart = np.linalg.norm(real[:, None] - real[None], axis=2)
    radius = np.sort(apart, axis=1)[:, 5]  # to the fifth neighbour
    fig = new(10.4, 3.1)
    for ax, (title, fake) in zip(fig.subplots(1, 4), fakes.items()):
        covered, density = coverage_density(real, fake)
        for p, r in zip(real[covered], radius[covered]):
            ax.add_patch(Circle(p, r, facecolor="0.9", edgecolor="none", zorder=0))
        ax.plot(*real.T, "o", mfc="white", mec=INK, ms=5)
        ax.plot(*fake.T, "x", color=INK, ms=5)
        ax.set_title(title, fontsize=9, color=INK)
        found = f"density {density.mean():.2f}, coverage {covered.mean():.2f}"
        ax.set_xlabel(found, fontsize=8)
        ax.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[], aspect="equal")
    return fig


ORDER = (overview, mip, transposed_convolution, game, good_and_diverse, membership, blend, slerp)
DIAGRAMS = {draw.__name__: draw for draw in ORDER}
NAMES = tuple(DIAGRAMS)


def diagram(name: str) -> Figure:
    """Draw an explanatory figure: one of `NAMES`, each of which stands in a notebook."""
    return pick(DIAGRAMS, name, "diagram")()
