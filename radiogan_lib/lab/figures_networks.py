"""A network drawn from the real Keras model: the paper's Fig. 3, never out of step with the code.

Explained in notebooks/02_networks.ipynb.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from radiogan_lib.lab.figures import INK, new

# Layers that change no shape are written below the box they belong to, by these short names
SHORT = {
    "BatchNormalization": "BatchNorm",
    "LeakyReLU": "LeakyReLU",
    "ReLU": "ReLU",
    "Dropout": "Dropout",
    "SuvImage": "tanh",
    "Activation": "",
    "Fade": "fade in",
}
LONG = {
    "InputLayer": "input",
    "Conv2DTranspose": "transposed conv",
    "Conv2D": "conv",
    "OneChannelConv2D": "conv",
    "Concatenate": "join",
    "Embedding": "embedding",
    "Dense": "dense",
    "Reshape": "reshape",
    "Flatten": "flatten",
    "Add": "add",
    "Projection": "inner product",
}


def _shape(layer) -> tuple:
    output = layer.output[0] if isinstance(layer.output, (list, tuple)) else layer.output
    return tuple(output.shape[1:])


def _parents(layer) -> list:
    """The layers whose outputs this one takes, in this model's graph."""
    nodes = (
        layer._inbound_nodes
    )  # Keras has no public name for the graph that its own plot_model draws
    return [tensor._keras_history.operation for tensor in nodes[0].input_tensors] if nodes else []


def stages(model) -> list[dict]:
    """The model as boxes: each layer that changes a shape or has a kernel, with what follows it folded in.

    Returns:
        One dict per box: `name`, `words` (the folded layers), `shape`, `parameters`, `parents` (box indices), `inputs`
        (names of the model inputs that reach it), `kernel` ((size, stride) or None).
    """
    boxes: list[dict] = []
    home: dict[str, int] = {}
    for layer in model.layers:
        parents = [home[p.name] for p in _parents(layer) if p.name in home]
        kind = type(layer).__name__
        weights = sum(int(np.prod(v.shape)) for v in layer.trainable_weights)
        if kind in SHORT and len(parents) == 1:
            box = boxes[parents[0]]
            box["words"].append(SHORT[kind] or str(getattr(layer, "activation", "")))
            box["parameters"] += weights
            home[layer.name] = parents[0]
            continue
        kernel = None
        if hasattr(layer, "kernel_size"):
            kernel = tuple(
                int(np.ravel(v)[0]) for v in (layer.kernel_size, getattr(layer, "strides", 1))
            )
        inputs = (
            {layer.name}
            if kind == "InputLayer"
            else set().union(*(boxes[p]["inputs"] for p in parents))
        )
        boxes.append(
            {
                "name": LONG.get(kind, kind),
                "words": [],
                "shape": _shape(layer),
                "parameters": weights,
                "parents": parents,
                "inputs": inputs,
                "kernel": kernel,
                "layer": layer.name,
            }
        )
        home[layer.name] = len(boxes) - 1
    return boxes


def _place(boxes: list[dict]) -> None:
    """Column = longest way from an input; lane 1 = reached by the label alone, lane 0 = the way of the image."""
    for box in boxes:
        box["column"] = 1 + max((boxes[p]["column"] for p in box["parents"]), default=-1)
        box["lane"] = 1 if box["inputs"] == {"label"} else 0
    for index in range(len(boxes) - 1, -1, -1):  # a branch waits next to where it is used
        users = [b["column"] for b in boxes if index in b["parents"]]
        if users:
            boxes[index]["column"] = min(users) - 1


def _block(ax, x: float, y: float, shape: tuple, width: float) -> tuple[float, float, float]:
    """Draw one output as a block: its height grows with the rows, its depth with the channels.

    Returns half its width, half its height, and its depth.
    """
    rows, cols, channels = (
        (shape + (1, 1))[:3] if len(shape) == 3 else (1, 1, shape[0] if shape else 1)
    )
    if len(shape) == 3:
        tall = 0.16 + 0.16 * math.log2(rows)
        wide = min(width, 0.6 * (0.16 + 0.16 * math.log2(max(cols, 1))))
        deep = 0.04 * math.log2(channels + 1)
    else:  # a vector: a thin upright bar
        tall, wide, deep = 0.25 + 0.09 * math.log2(channels + 1), 0.10, 0.0
    left, low = x - wide / 2, y - tall / 2
    ax.add_patch(
        Rectangle((left, low), wide, tall, facecolor="0.9", edgecolor=INK, lw=0.8, zorder=3)
    )
    if deep:
        corners = [
            (left, low + tall),
            (left + deep, low + tall + deep),
            (left + wide + deep, low + tall + deep),
            (left + wide + deep, low + deep),
            (left + wide, low),
            (left + wide, low + tall),
        ]
        ax.add_patch(
            Polygon(corners, closed=True, facecolor="0.75", edgecolor=INK, lw=0.8, zorder=2)
        )
    return wide / 2, tall / 2, deep


def architecture(model) -> Figure:
    """Every step of a network with its output shape and its parameter count (paper Fig. 3), drawn from the model itself."""
    boxes = stages(model)
    _place(boxes)
    columns = 1 + max(b["column"] for b in boxes)
    lanes = 1 + max(b["lane"] for b in boxes)
    step = 1.02
    width = max(6.0, columns * 0.98 + 0.3)
    fig = new(width, 1.6 + 1.9 * lanes)
    ax = fig.subplots()
    centre = {0: 2.3 if lanes > 1 else 0.0, 1: 0.0}
    reach = []
    for box in boxes:
        x, y = box["column"] * step, centre[box["lane"]]
        rx, ry, deep = _block(ax, x, y, box["shape"], 0.62)
        name = box["layer"] if box["name"] == "input" else box["name"]
        if box["kernel"]:
            k, s = box["kernel"]
            name += f"\n{k} × {k}" + (f", stride {s}" if s > 1 else "")
        ax.text(x, y + ry + deep + 0.06, name, ha="center", va="bottom", fontsize=7.5, color=INK)
        lines = [" × ".join(map(str, box["shape"])) or "1 number"]
        if box["parameters"]:
            lines.append(f"{box['parameters']:,}")
        lines += box["words"]
        reach.append((x, y, rx, y - ry - 0.12 - 0.16 * len(lines)))
        ax.text(
            x,
            y - ry - 0.08,
            "\n".join(lines),
            ha="center",
            va="top",
            fontsize=7,
            color="0.25",
            linespacing=1.25,
        )
    for k, box in enumerate(boxes):
        for p in box["parents"]:
            (x0, y0, r0, _), (x1, y1, r1, low) = reach[p], reach[k]
            start, end, bend = (x0 + r0 + 0.03, y0), (x1 - r1 - 0.04, y1), "arc3,rad=0"
            if (
                y0 != y1
            ):  # the label's branch: along, then up to below the words of the block that it joins
                end, bend = (x1, low), "angle,angleA=0,angleB=90,rad=4"
            elif box["column"] - boxes[p]["column"] > 1:
                bend = "arc3,rad=-0.35"
            ax.add_patch(
                FancyArrowPatch(
                    start,
                    end,
                    arrowstyle="-|>",
                    mutation_scale=8,
                    lw=0.9,
                    color="0.4",
                    connectionstyle=bend,
                    zorder=1,
                    shrinkA=0,
                    shrinkB=0,
                )
            )
    total = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    ax.set_title(
        f"{model.name}: {total:,} trained parameters (written below each shape)",
        fontsize=10,
        color=INK,
    )
    ax.set(xlim=(-0.6, (columns - 1) * step + 0.6), ylim=(-1.3, centre[0] + 1.55))
    ax.set_axis_off()
    return fig
