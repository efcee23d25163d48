"""Write executed notebooks back into notebooks/ without what belongs to one machine or one run."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat

from radiogan_lib import paths
from radiogan_lib.config import RadioganError

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
BUDGET_NOTEBOOK, BUDGET_ALL = (
    400_000,
    2_000_000,
)  # bytes: GitHub shows what is small, and every clone carries it
GREYS = (64, 40, 32, 24, 16)  # levels of a published picture: as many as fit the budget
KEPT_METADATA = ("language_info", "radiogan")


def _reduced(picture, greys: int):
    """So many even greys, and up to eight of the picture's own colours, if it has any: a red frame stays red."""
    import numpy as np
    from PIL import Image

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


def slim(png: str, greys: int = GREYS[0]) -> str:
    """A base64 PNG with so many greys and a few colours, if that is smaller.

    An animated PNG stays as it is: repacking would keep its first frame only.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if getattr(picture, "is_animated", False):
        return png
    picture, packed = picture.convert("RGB"), io.BytesIO()
    _reduced(picture, greys).save(packed, "PNG", optimize=True)
    small = base64.b64encode(packed.getvalue()).decode()
    return small if len(small) < len(png) else png


def clean(notebook: nbformat.NotebookNode, greys: int = GREYS[0]) -> nbformat.NotebookNode:
    """Drop papermill's and the widgets' metadata, timing, the injected cell, stderr; set the common kernel."""
    notebook.cells = [
        c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])
    ]
    notebook.metadata = nbformat.from_dict(
        {k: v for k, v in notebook.metadata.items() if k in KEPT_METADATA} | {"kernelspec": KERNEL}
    )
    count = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        )
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if (
                    output.output_type == "stream"
                ):  # progress lines told how long it took here; nobody else needs them
                    output.text = "".join(
                        s
                        for s in output.text.splitlines(True)
                        if output.name == "stdout" and not s.startswith("… ")
                    )
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text]
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = slim(output["data"]["image/png"], greys)
                # a widget's view points at state that is not kept; its text says what it was
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def publish(run: Path, sources: list[Path]) -> None:
    """Replace `sources` by their executed forms in `run`, if they fit the size budget.

    Raises:
        RadioganError: a notebook holds an error output or is too large; nothing is written then.
    """
    texts = {}
    for path in sources:
        for greys in GREYS:
            notebook = clean(nbformat.read(run / path.name, as_version=4), greys)
            texts[path] = nbformat.writes(notebook, version=4) + "\n"
            if len(texts[path].encode()) <= BUDGET_NOTEBOOK:
                break
        if any(
            o.output_type == "error"
            for c in notebook.cells
            if c.cell_type == "code"
            for o in c.outputs
        ):
            raise RadioganError(
                f"{path.name} holds an error output; run it again before publishing."
            )
        nbformat.validate(notebook)
        if len(texts[path].encode()) > BUDGET_NOTEBOOK:
            raise RadioganError(
                f"{path.name} would be {len(texts[path].encode()) // 1000} KB; the budget is "
                f"{BUDGET_NOTEBOOK // 1000} KB. Use smaller or fewer figures."
            )
    if sum(len(t.encode()) for t in texts.values()) > BUDGET_ALL:
        raise RadioganError(
            f"the notebooks together exceed {BUDGET_ALL // 1_000_000} MB. Use smaller or fewer figures."
        )
    for path, text in texts.items():
        paths.write_text(path, text)
        print(f"  published {path.name} ({len(text.encode()) // 1000} KB)")
