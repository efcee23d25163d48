"""Write the executed notebooks of a run back into notebooks/, small and clean.

    python notebooks/publish.py runs/teach

Timing, widget state, progress lines and machine names leave, and pictures get fewer greys, until
each notebook and all of them together fit their size budgets.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from radiogan_lib import machine, notebooks, paths
from radiogan_lib.config import RadioganError

# Bytes: GitHub shows what is small, and every clone carries it.
BUDGET_NOTEBOOK, BUDGET_ALL = 400_000, 2_000_000
# Grey levels and size of published pictures: the first that fit the budget are taken.
LEVELS = (*((greys, 1.0) for greys in (64, 40, 32, 24, 16, 12)), (24, 0.5), (16, 0.5), (8, 0.5))
KEPT_METADATA = ("language_info", "radiogan")


def _reduced(picture, greys: int):
    """So many even greys, and up to eight of the picture's own colours: a red frame stays red."""
    pixels = np.asarray(picture)
    index = np.round(pixels.mean(axis=2) / 255 * (greys - 1)).astype(np.uint8)
    table = np.linspace(0, 255, greys).round().astype(np.uint8).repeat(3)
    coloured = np.ptp(pixels, axis=2) > 40
    if coloured.any():
        found = Image.fromarray(pixels[coloured][None]).quantize(8, method=Image.Quantize.MEDIANCUT)
        index[coloured] = greys + np.asarray(found)[0]
        table = np.append(table, np.array(found.getpalette()[:24], np.uint8))
    out = Image.fromarray(index).convert("P")
    out.putpalette(table.tobytes())
    return out


def slim(png: str, greys: int = LEVELS[0][0], size: float = 1.0) -> str:
    """A base64 PNG with so many greys, a few colours and `size` of its height and width.

    The original where that is not smaller, or where it is animated.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if getattr(picture, "is_animated", False):
        return png
    packed, picture = io.BytesIO(), picture.convert("RGB")
    if size != 1:
        shape = round(picture.width * size), round(picture.height * size)
        picture = picture.resize(shape, Image.Resampling.BOX)
    _reduced(picture, greys).save(packed, "PNG", optimize=True)
    small = base64.b64encode(packed.getvalue()).decode()
    return small if len(small) < len(png) else png


def clean(notebook, greys: int = LEVELS[0][0], size: float = 1.0):
    """Drop metadata, timing, the injected cell and stderr; set the common kernel."""
    injected = "injected-parameters"
    notebook.cells = [c for c in notebook.cells if injected not in c.metadata.get("tags", [])]
    kept = {k: v for k, v in notebook.metadata.items() if k in KEPT_METADATA}
    notebook.metadata = nbformat.from_dict(kept | {"kernelspec": notebooks.KERNEL})
    count = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "stream":
                # Progress lines and warnings belong to one run.
                lines = output.text.splitlines(True) if output.name == "stdout" else []
                output.text = "".join(s for s in lines if not s.startswith("… "))
            if "execution_count" in output:
                output["execution_count"] = count
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = slim(data["image/png"], greys, size)
            # A widget's view points at state that is not kept; its text says what it was.
            data.pop("application/vnd.jupyter.widget-view+json", None)
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text]
    return notebook


def _published(path: Path, levels) -> str:
    """An executed notebook as it is committed, its pictures as good as its size budget allows."""
    for greys, size in levels:
        notebook = clean(nbformat.read(path, as_version=4), greys, size)
        text = nbformat.writes(notebook, version=4) + "\n"
        if len(text.encode()) <= BUDGET_NOTEBOOK:
            break
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    if any(o.output_type == "error" for o in outputs):
        raise RadioganError(f"{path.name} holds an error output; run it again before publishing.")
    nbformat.validate(notebook)
    if (size := len(text.encode())) > BUDGET_NOTEBOOK:
        said = f"{path.name} would be {size // 1000} KB; the budget is {BUDGET_NOTEBOOK // 1000} KB"
        raise RadioganError(f"{said}. Use smaller or fewer figures.")
    return text


def publish(run_dir: Path, sources: list[Path]) -> None:
    """Replace `sources` by their executed forms in `run_dir`, if they fit the size budget.

    Raises:
        RadioganError: a notebook holds an error output or is too large; nothing is written then.
    """
    texts = {}
    for first in range(len(LEVELS)):  # coarser for all, until all of them fit together
        texts = {p: _published(run_dir / p.name, LEVELS[first:]) for p in sources}
        if sum(len(t.encode()) for t in texts.values()) <= BUDGET_ALL:
            break
    else:
        said = f"the notebooks together exceed {BUDGET_ALL // 1_000_000} MB"
        raise RadioganError(f"{said}. Use smaller or fewer figures.")
    for path, text in texts.items():
        paths.write_text(path, text)
        print(f"  published {path.name} ({len(text.encode()) // 1000} KB)")


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors are one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the run whose notebooks are published")
    parser.add_argument("--from", dest="first", default="00", metavar="NN", help="first notebook")
    parser.add_argument("--to", dest="last", default="99", metavar="NN", help="last notebook")
    given = parser.parse_args(arguments)
    machine.forgiving_output()
    try:
        publish(given.folder, notebooks.numbered(given.first, given.last))
    except (RadioganError, FileNotFoundError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
