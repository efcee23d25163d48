"""Pictures of one exam: turned about its long axis, and on its way from volume to canvas. Seen in notebooks 00 and 01."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from radiogan_lib.lab.figures import INK, WINDOW, bare, mip_row, new, scale


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
    from radiogan_lib.data.dataset import fit_to_canvas

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
