"""Quality control: numbers and a contact sheet that show truncated, flipped or doubled exams.

Nothing is removed: a flag asks for a look (notebooks/01_data_preparation.ipynb, section 1.6).
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from radiogan_lib.data.projection import fit_to_canvas

WHOLE_BODY_MM = 600.0  # skull base to mid-thigh of a short adult
THICK_MM = 6.0  # slices thicker than this blur small lesions along the body
BODY_SUV = 0.3  # above it a pixel of a MIP belongs to the body
OUTLIER = 4.5  # robust standard deviations (1.4826 MAD) from the cohort's median
RED = "#b03020"
_THUMB = (20, 12)


def summary(dataset) -> pd.DataFrame:
    """One row per exam of a `MipDataset`: what was measured, and why it deserves a look.

    Returns:
        exam_id, class, split; height_mm and width_mm of the exam; spacing_z_mm; in the dataset's
        unit body (median of the body's pixels), p99, highest (before clipping); share_clipped; note
        (of the reader); flag, "" where there are none. Same order as the dataset.
    """
    exams, suv = dataset.exams.reset_index(drop=True), dataset.suv
    names = ["exam_id", "class", "split", "height_mm", "width_mm", "spacing_z_mm"]
    table = exams[names].copy()
    table["body"] = [float(np.median(m[m > BODY_SUV])) if m.max() > BODY_SUV else 0.0 for m in suv]
    table["p99"] = np.percentile(suv.reshape(len(suv), -1), 99, axis=1) if len(suv) else []
    for name in ("highest", "share_clipped", "note"):
        table[name] = exams[name]
    flags: list[list[str]] = [[] for _ in range(len(table))]
    for rule in (_field_of_view, _scale, _orientation, _edges, _doubles):
        for i, text in rule(dataset, table):
            flags[i].append(text)
    remarks = (["remark of the reader"] if note else [] for note in table["note"])
    table["flag"] = ["; ".join(f + remark) for f, remark in zip(flags, remarks)]
    return table


def _robust(values: np.ndarray) -> np.ndarray:
    """Distance from the median in robust standard deviations, each a tenth of it at least."""
    middle = np.median(values)
    spread = max(1.4826 * np.median(np.abs(values - middle)), 0.1 * abs(middle), 1e-9)
    return (values - middle) / spread


def _field_of_view(dataset, table):
    """Too short for a whole body, much shorter or longer than the others, or of thick slices."""
    if not len(table):
        return
    away = _robust(table["height_mm"].to_numpy(float))
    for i, (height, z, thick) in enumerate(zip(table["height_mm"], away, table["spacing_z_mm"])):
        if height < WHOLE_BODY_MM:
            yield i, f"shows only {height:.0f} mm of the body"
        elif abs(z) > OUTLIER:
            yield i, f"{'longer' if z > 0 else 'shorter'} than the others ({height:.0f} mm)"
        if thick > THICK_MM:
            yield i, f"thick slices ({thick:.1f} mm)"


def _scale(dataset, table):
    """In another scale than the others, as after a wrong unit, dose or slope."""
    values = table["body"].to_numpy(float)
    if (values > 0).any():
        away = _robust(np.log(np.maximum(values, 1e-3)))
        for i in np.flatnonzero((np.abs(away) > OUTLIER) | (values == 0)):
            yield int(i), f"another scale than the others (median of the body {values[i]:.2f})"
    for i, highest in enumerate(table["highest"]):
        if highest < 2:
            yield i, f"nothing is brighter than {highest:.1f}"


def _thumbs(suv: np.ndarray) -> np.ndarray:
    """(n, h, w) → (n, 20, 12) block means of the display range."""
    return np.stack([fit_to_canvas(np.minimum(m, 7), _THUMB, m.shape, 1.0) for m in suv])


def _centred(pictures: np.ndarray) -> np.ndarray:
    """Flattened to unit length with mean 0, so that a product of two is their correlation."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _orientation(dataset, table):
    """Upside down: much more like the cohort's typical exam when turned over."""
    if len(table) < 5:
        return
    thumbs = _thumbs(dataset.suv)
    typical = _centred(np.median(thumbs, axis=0)[None])[0]
    upright, turned = _centred(thumbs) @ typical, _centred(thumbs[:, ::-1]) @ typical
    for i in np.flatnonzero(turned > upright + 0.1):
        yield int(i), "upside down?"


def _edges(dataset, table):
    """The body leaves the field of view at one side, far more than the others' arms do."""
    share = np.array(
        [max((m[:, 0] > BODY_SUV).mean(), (m[:, -1] > BODY_SUV).mean()) for m in dataset.suv]
    )
    if len(share):
        for i in np.flatnonzero((share > 0.5) & (share > np.median(share) + 0.25)):
            yield int(i), "cut off at the side"


def _doubles(dataset, table):
    """The same picture twice: one exam under two identifiers, in the worst case in both splits."""
    if len(table) < 2:
        return
    pictures = dataset.suv if len(table) <= 3000 else _thumbs(dataset.suv)
    units = _centred(pictures.reshape(len(table), -1))
    ids, splits = table["exam_id"], table["split"]
    for start in range(0, len(table), 512):
        near = units[start : start + 512] @ units.T > 0.9999
        for row, j in np.argwhere(near):
            i = int(row) + start
            if i != j:
                where = " in the other split" if splits[i] != splits[j] else ""
                yield i, f"the same picture as {ids[j]}{where}"


def _readable(name: str) -> str:
    return "head & neck" if name == "head_neck" else name.replace("_", " ")


def contact_sheet(
    dataset, per_class: int = 12, window: tuple[float, float] | None = None
) -> Figure:
    """Exams in one window, one row per class: first the flagged ones, then others evenly spread.

    Args:
        dataset: a `MipDataset`.
        per_class: exams per row; a class with more flagged ones shows the first of them.
        window: values shown as white and as black; None is SUV 0 to 7, or seven tenths of an
            uncalibrated window.

    Returns:
        A figure; flagged exams have a frame and their first flag as a title.
    """
    table, names = summary(dataset), dataset.class_names
    window = window or (0.0, 7.0 if dataset.unit == "SUV" else 0.7 * dataset.suv_max)
    (height, width), (height_mm, width_mm) = dataset.canvas, dataset.field_of_view_mm
    look = dict(cmap="gray_r", vmin=window[0], vmax=window[1])
    look["aspect"] = (height_mm / height) / (width_mm / width)
    size = (per_class * 0.95 + 0.9, len(names) * 1.75 + 0.2)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    axes = figure.subplots(len(names), per_class, squeeze=False)
    for row, name in zip(axes, names):
        for ax in row:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set(visible=False, color=RED)
        for ax, i in zip(row, _shown(table, name, per_class)):
            ax.imshow(dataset.suv[i], **look)
            if table["flag"][i]:
                first = table["flag"][i].split(";")[0].split("(")[0].strip()
                title = "\n".join(textwrap.wrap(first, 15)[:3])
                ax.set_title(title, fontsize=6.5, color=RED, pad=2)
                ax.spines[:].set_visible(True)
        row[0].set_ylabel(_readable(name), fontsize=9)
    flagged = f"{(table['flag'] != '').sum()} of {len(table)} exams are flagged"
    shown = f"shown: {window[0]:g} to {window[1]:g}, {dataset.unit_label}"
    figure.suptitle(f"{flagged} · {shown}", fontsize=9)
    return figure


def _shown(table: pd.DataFrame, name: str, room: int) -> list[int]:
    """Which exams of a class a contact sheet shows."""
    members = np.flatnonzero(table["class"] == name)
    flagged = [i for i in members if table["flag"][i]][:room]
    rest = [i for i in members if not table["flag"][i]]
    spread = np.linspace(0, len(rest) - 1, min(room - len(flagged), len(rest))).astype(int)
    return [*flagged, *(rest[k] for k in spread)]


def histograms(dataset) -> Figure:
    """How often each SUV occurs in the body: a thin line per exam and a thick one for the class.

    One exam in another scale stands out from its class, in red.
    """
    names, table = dataset.class_names, summary(dataset)
    figure = Figure(figsize=(2.4 * len(names) + 0.4, 2.5), dpi=100, layout="constrained")
    edges = np.geomspace(0.1, dataset.suv_max, 61)
    centres = np.sqrt(edges[1:] * edges[:-1])
    usual = dict(lw=0.4, color="#8899aa", alpha=0.35, zorder=1)
    odd = dict(lw=0.9, color=RED, alpha=1, zorder=3)
    for ax, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names):
        members = np.flatnonzero(table["class"] == name)
        shares = [np.histogram(dataset.suv[i], edges)[0] / dataset.suv[i].size for i in members]
        for i, share in zip(members, shares):
            ax.plot(centres, share, **(odd if "scale" in table["flag"][i] else usual))
        if shares:
            ax.plot(centres, np.median(shares, axis=0), color="#222222", lw=1.6, zorder=4)
        ax.set_xscale("log")
        ax.set_title(_readable(name), fontsize=9)
        ax.set_xlabel(dataset.unit_label, fontsize=8)
        ax.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("share of pixels", fontsize=8)
    return figure
