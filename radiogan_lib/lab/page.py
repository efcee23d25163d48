"""The live page: a trained generator in one HTML file that draws in the browser.

`python -m radiogan_lib.lab.page` exports the Keras model as a list of operations with their
weights, which templates/page.js computes. BatchNorm is folded into the layer before it. Nothing is
fetched: the file opens from disk with the network off.
"""

import argparse
import base64
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from radiogan_lib import machine, paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.figures import readable
from radiogan_lib.lab.latent import FAR, KIND_WORDS, NEARNESS, Space, unit_word
from radiogan_lib.lab.notebook import pick_classes

TEMPLATES = Path(__file__).parent / "templates"
SLOPES = {"linear": 1.0, "relu": 0.0}  # of an activation, below zero
SMALL = 40_000  # numbers; in late, small layers each rounding error is seen
THUMBNAIL = (40, 24)  # rows and columns of a training phantom's small picture
LARGEST_SUV = 30.0  # of a small picture: grey = 255·√(SUV / 30)

# Weights of an operation, and how many bits of them are stored
STORED = {"kernel": np.float16, "table": np.float16, "bias": np.float32}


class ExportError(RadioganError, ValueError):
    """A layer, setting or file that the page cannot use."""


@dataclass
class Graph:
    """Operations in order, and the arrays that they name by index."""

    ops: list[dict] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)

    def array(self, values, dtype) -> int:
        """Store an array and give its index; small arrays stay float32."""
        dtype = np.float32 if np.size(values) < SMALL else dtype
        self.arrays.append(np.ascontiguousarray(values, dtype).ravel())
        return len(self.arrays) - 1

    def packed(self) -> tuple[bytes, list[dict]]:
        """All arrays behind each other, at multiples of four bytes, and where each lies."""
        data, places = bytearray(), []
        for a in self.arrays:
            places.append({"type": a.dtype.name, "offset": len(data), "length": a.size})
            data += a.tobytes() + bytes(-a.nbytes % 4)
        return bytes(data), places


def export(generator) -> Graph:
    """The operations of a generator, in the order of computation.

    Args:
        generator: a functional keras.Model G([z, label]) → grey values (h, w, 1), of any size, of
            the layers that `gan.build_generator` uses.

    Raises:
        ExportError: names the layer that the page cannot compute.
    """
    graph, made = Graph(), {}
    users = Counter(name for layer in generator.layers for name in _parents(layer))
    for layer in generator.layers:
        if users[layer.name] > 1:
            _refuse(layer, "is used by several layers, which is something")
        op = _operation(layer, [made[name] for name in _parents(layer)])
        if op["name"] == layer.name:  # not folded into an operation before it
            graph.ops.append(op)
        made[layer.name] = op
    if graph.ops[-1]["op"] != "decode":
        fault = f"the generator ends in layer {generator.layers[-1].name!r}, which does not know"
        remedy = "the page needs a generator that ends in SuvImage (gan.build_generator)."
        raise ExportError(f"{fault} the scale of its pixels; {remedy}")
    for op in graph.ops:
        if op["op"] == "conv":
            _order(op)
        for name, dtype in STORED.items():
            if name in op:
                op[name] = graph.array(op[name], dtype)
    return graph


def _parents(layer) -> list[str]:
    """Names of the layers whose outputs this one takes."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    before = [tensor._keras_history.operation for tensor in inputs]
    return [operation.name for operation in before if operation is not layer]


def _operation(layer, before: list[dict]) -> dict:
    """The operation that holds this layer's value: a new one, or one into which it is folded."""
    from keras import layers

    new = {"name": layer.name, "from": [op["name"] for op in before]}
    first = before[0] if before else None
    if isinstance(layer, layers.InputLayer):
        return new | {"op": "label" if "int" in layer.output.dtype else "noise"}
    if isinstance(layer, layers.Reshape):
        return first
    if isinstance(layer, layers.Embedding):
        if first["op"] != "label":
            _refuse(layer, "does not take the label")
        table = layer.get_weights()[0]
        return new | {"op": "embedding", "table": table, "width": table.shape[1]}
    if first["op"] == "label":
        _refuse(layer, "takes the label without an Embedding")
    if isinstance(layer, layers.Dense):
        kernel = layer.get_weights()[0]
        return new | {"op": "dense", "kernel": kernel, "bias": _bias(layer), "slope": _slope(layer)}
    if isinstance(layer, layers.Conv2DTranspose):
        return new | _convolution(layer) | {"bias": _bias(layer), "slope": _slope(layer)}
    if isinstance(layer, (layers.BatchNormalization, layers.ReLU, layers.LeakyReLU)):
        if first.get("slope") != 1.0:
            _refuse(layer, "does not directly follow a Dense or Conv2DTranspose, a place")
        if not isinstance(layer, layers.BatchNormalization):
            first["slope"] = _slope(layer)
            return first
        scale, shift = _normalisation(layer)
        times = first["bias"].size // scale.size  # a Dense layer that is reshaped to a map
        first["bias"] = first["bias"] * np.tile(scale, times) + np.tile(shift, times)
        first["kernel"] = first["kernel"] * np.tile(scale, times)
        return first
    if isinstance(layer, layers.Concatenate):
        if len(before) != 2 or layer.axis not in (-1, len(layer.output.shape) - 1):
            _refuse(layer, "joins other than two inputs along their channels")
        return new | {"op": "concatenate", "widths": [t.shape[-1] for t in layer.input]}
    if hasattr(layer, "to_suv"):
        return new | {"op": "decode", "curve": layer.curve, "maximum": layer.suv_max}
    _refuse(layer, "is of a kind")


def _refuse(layer, what: str) -> NoReturn:
    fault = f"layer {layer.name!r} ({type(layer).__name__}) {what} that the page cannot compute."
    raise ExportError(
        f"{fault} It knows Dense, Reshape, BatchNormalization, Embedding, Concatenate, "
        "Conv2DTranspose of stride 1 or 2 with the padding 'same', ReLU, LeakyReLU and SuvImage."
    )


def _bias(layer) -> np.ndarray:
    width = layer.output.shape[-1]
    return layer.get_weights()[1] if layer.use_bias else np.zeros(width, np.float32)


def _slope(layer) -> float:
    """What the layer's activation multiplies values below zero with; 1 where it has none."""
    if hasattr(layer, "negative_slope"):
        if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", 0):
            _refuse(layer, "has a limit")
        return float(layer.negative_slope)
    kind = layer.activation.__name__
    if kind not in SLOPES:
        _refuse(layer, f"has the activation {kind!r}")
    return SLOPES[kind]


def _normalisation(layer) -> tuple[np.ndarray, np.ndarray]:
    """What BatchNorm does once trained, per channel: x → x·scale + shift."""
    if layer.axis not in (-1, len(layer.output.shape) - 1):
        _refuse(layer, "does not normalise the channels")
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    scale = scale * np.asarray(layer.gamma, np.float64) if layer.scale else scale
    shift = (np.asarray(layer.beta, np.float64) if layer.center else 0) - mean * scale
    return scale, shift


def _convolution(layer) -> dict:
    """A transposed convolution by phases: pixels of one row and column parity take the same taps.

    A tap (dy, dx) adds the input pixel that lies so far from the output's own.
    """
    plain = layer.data_format == "channels_last" and layer.padding == "same"
    plain = plain and set(layer.dilation_rate) == {1} and not layer.output_padding
    if not plain or layer.strides not in ((1, 1), (2, 2)):
        _refuse(layer, "has strides above 2, or another padding, dilation or order of channels")
    stride = layer.strides[0]
    kernel = np.swapaxes(layer.get_weights()[0], 2, 3)  # (rows, columns, in, out)
    begin = [max(k - stride, 0) // 2 for k in layer.kernel_size]
    phases = []
    for row, column in np.ndindex(stride, stride):
        taps = []
        for i, j in np.ndindex(kernel.shape[:2]):
            down, right = row + begin[0] - i, column + begin[1] - j
            if down % stride == 0 and right % stride == 0:
                taps.append([down // stride, right // stride, i, j])
        phases.append({"row": row, "column": column, "taps": taps})
    size, out = [tuple(t.shape[1:]) for t in (layer.input, layer.output)]
    reach = [_reach(phases, axis, size, out, stride) for axis in (0, 1)]
    return {
        "op": "conv",
        "input": size,
        "output": out,
        "stride": stride,
        "pad": [reach[0][0], reach[1][0], reach[0][1], reach[1][1]],  # top, left, bottom, right
        "phases": phases,
        "kernel": kernel,
    }


def _reach(phases: list[dict], axis: int, size, out, stride: int) -> tuple[int, int]:
    """How many pixels before and after the input the taps take, along rows (0) or columns (1)."""
    steps = [tap[axis] for phase in phases for tap in phase["taps"]]
    last = -(-out[axis] // stride) - 1
    return max(0, -min(steps)), max(0, last + max(steps) - size[axis] + 1)


def _order(op: dict) -> None:
    """Lay weights in the order of use: phase, four channels (the rest one by one), tap, depth."""
    kernel, parts, start = op["kernel"], [], 0
    width = kernel.shape[-1]
    ends = np.cumsum([4] * (width // 4) + [1] * (width % 4))[:-1]
    for phase in op["phases"]:
        phase["start"] = start
        taps = np.array([kernel[i, j] for _, _, i, j in phase["taps"]])
        taps = taps.reshape(-1, *kernel.shape[2:])
        parts += [group.ravel() for group in np.split(taps, ends, axis=2)]
        start += taps.size
        phase["taps"] = [[dy, dx] for dy, dx, _, _ in phase["taps"]]
    op["kernel"] = np.concatenate(parts)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """SUV (n, h, w) as small pictures, uint8 (n, 40, 24), 255·√(SUV / 30), by means."""
    rows, cols = THUMBNAIL
    n, h, w = images.shape
    if h % rows or w % cols:
        fault = f"training exams of {h} × {w} pixels cannot be pooled to {rows} × {cols}."
        raise ExportError(fault)
    small = images.reshape(n, rows, h // rows, cols, w // cols).mean(axis=(2, 4))
    return np.round(255 * np.sqrt(np.clip(small / LARGEST_SUV, 0, 1))).astype(np.uint8)


def phantom_sheet(images: np.ndarray, labels) -> bytes:
    """The training phantoms as one PNG, one below the other; their labels are in its text."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("labels", json.dumps([int(k) for k in labels]))
    small, out = thumbnails(images), io.BytesIO()
    picture = Image.fromarray(small.reshape(-1, small.shape[-1]))
    picture.save(out, "PNG", optimize=True, pnginfo=info)
    return out.getvalue()


def _read_sheet(sheet: bytes) -> dict:
    """What the page knows of a sheet: labels, sizes, a phantom's usual distance to its nearest."""
    from PIL import Image
    from scipy.spatial.distance import cdist

    facts = {"labels": [], "size": THUMBNAIL, "maximum": LARGEST_SUV, "usual": 1.0}
    if sheet:
        image = Image.open(io.BytesIO(sheet))
        facts["labels"] = json.loads(image.text["labels"])
        suv = LARGEST_SUV * (np.asarray(image, np.float64) / 255) ** 2
        suv = suv.reshape(len(facts["labels"]), -1)
        apart = cdist(suv[:200], suv) / np.sqrt(suv.shape[1])
        np.fill_diagonal(apart, np.inf)  # none is its own nearest
        facts["usual"] = round(float(np.median(apart.min(axis=1))), 4)
    return facts


def html(generator, class_names: Sequence[str], about: dict | None = None, sheet=b"") -> str:
    """The page as text.

    Args:
        generator: as in `export`.
        class_names: of its labels, in order.
        about: what the page says of the weights: `trained_on`, `licence`, `verdict` (sentences),
            `unit` ("SUV" unless given) and `window` ([white, black], in that unit).
        sheet: of `phantom_sheet`; without it the page shows no nearest training phantom.
    """
    import jinja2

    graph, space = export(generator), Space(generator)
    known, given = len(space.table), len(class_names)
    if given != known:
        raise ExportError(f"the generator knows {known} classes, but {given} names were given.")
    data, places = graph.packed()
    maximum = graph.ops[-1]["maximum"]
    unrecorded = "is not recorded beside them."
    facts = {
        "graph": {"ops": graph.ops, "arrays": places},
        "size": generator.output_shape[1:3],
        "noise": space.noise_dim,
        "classes": [readable(name) for name in class_names],
        "keys": list(class_names),
        "directions": [np.round(space.directions(k), 4).tolist() for k in range(known)],
        "unit": "SUV",
        "window": [0, min(7.0, maximum)],
        "maximum": maximum,
        "weights": space.weights_hash,
        "start": pick_classes(class_names, "lung", "lymphoma"),
        "kinds": KIND_WORDS,
        "nearness": NEARNESS,
        "far": FAR,
        "phantoms": _read_sheet(sheet),
        "trained_on": f"Which exams trained these weights {unrecorded}",
        "licence": f"Their licence {unrecorded}",
        "verdict": "No test of memory is recorded beside them.",
    } | (about or {})
    facts["unit"] = unit_word(facts["unit"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html").render(
        facts=facts,
        # inside <script>, only "<" could end the element
        facts_json=json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c"),
        weights=base64.b64encode(data).decode(),
        sheet=base64.b64encode(sheet).decode(),
        program=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
    )


def write(weights: Path, out: Path) -> Path:
    """Write the page of a run's folder.

    Beside the run it may hold about.json (see `html`) and phantoms.png (of `phantom_sheet`).

    Raises:
        RunError: no generator of this library is there.
        ExportError: the generator cannot be exported, or about.json cannot be read.
    """
    from radiogan_lib import gan

    run = gan.load_run(weights, discriminator=False)
    about, sheet = weights / "about.json", weights / "phantoms.png"
    try:
        words = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    except (OSError, ValueError) as e:
        fault = f"{paths.shown(about)} cannot be read ({type(e).__name__})"
        raise ExportError(f"{fault}; correct it or delete it.") from None
    picture = sheet.read_bytes() if sheet.is_file() else b""
    return paths.write_text(out, html(run.generator, run.class_names, words, picture))


def main(arguments: Sequence[str] | None = None) -> None:
    """`--weights weights --out explorer.html`."""
    what = "Write a trained generator as one HTML page that draws in any browser."
    parser = argparse.ArgumentParser("python -m radiogan_lib.lab.page", description=what)
    shipped = paths.REPO / "weights"
    what = "of a finished training; default: the shipped weights"
    parser.add_argument("--weights", type=Path, default=shipped, metavar="FOLDER", help=what)
    parser.add_argument("--out", type=Path, default=Path("explorer.html"), metavar="FILE")
    given = parser.parse_args(arguments)
    machine.forgiving_output()
    machine.hush_tensorflow()
    try:
        path = write(given.weights, given.out)
    except RadioganError as e:
        sys.exit(f"{type(e).__name__}: {e}")
    print(f"written: {paths.shown(path)}, {path.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
