"""Explanatory figures of the game, the latent space and the tests of memory. Drawn by `lab.diagram`."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from radiogan_lib.lab.diagrams import arrow, cropped, empty, picture, word_box
from radiogan_lib.lab.figures import INK, WINDOW, new, show


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
