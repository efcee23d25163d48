"""The numbered notebooks: which there are, what each takes, running one, publishing its outputs."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import logging
import os
import re
import tempfile
from pathlib import Path

from radiogan_lib import config, paths
from radiogan_lib.config import RadioganError

ANSI = re.compile(r"\x1b\[[0-9;]*m")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# Bytes: GitHub shows what is small, and every clone carries it.
BUDGET_NOTEBOOK, BUDGET_ALL = 400_000, 2_000_000
# Grey levels and size of published pictures: the first that fit the budget are taken.
LEVELS = (*((greys, 1.0) for greys in (64, 40, 32, 24, 16, 12)), (24, 0.5), (16, 0.5), (8, 0.5))
KEPT_METADATA = ("language_info", "radiogan")


class NotebookFailed(RadioganError):
    """A notebook stopped; the message shows its failing cell."""


def numbered(first: str = "00", last: str = "99") -> list[Path]:
    """The numbered notebooks from `first` to `last`, in order."""
    everything = sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    found = [p for p in everything if first[:2] <= p.name[:2] <= last[:2]]
    if not found:
        known = ", ".join(p.name for p in everything)
        raise config.ConfigError(
            f"no notebook lies between {first} and {last}; choose among {known}."
        )
    return found


def declared(path: Path, key: str) -> list[str]:
    """What a notebook says it `needs` or `makes` (its metadata), e.g. "{dataset}/dataset.json"."""
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    return metadata.get("radiogan", {}).get(key, [])


def parameters(path: Path) -> dict[str, object]:
    """{name: default} of a notebook's `parameters` cell, read as literals without running it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cell = next((c for c in cells if "parameters" in c["metadata"].get("tags", [])), None)
    tree = ast.parse("".join(cell["source"])) if cell else ast.Module([], [])
    return {
        n.target.id: ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.AnnAssign)
    }


class _ProgressLines(logging.Handler):
    """Passes a notebook's progress lines on to the terminal, and nothing else."""

    def emit(self, record):
        for line in str(record.getMessage()).splitlines():
            if line.startswith("… "):
                print(f"    {line}", flush=True)


@contextlib.contextmanager
def kernel_environment():
    """What kernels started in this block get: quiet libraries, progress as lines, absolute folders.

    A kernel's current folder is notebooks/: a relative RADIOGAN_HOME would be another one there.
    """
    wanted = {
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        "RADIOGAN_HEADLESS": os.environ.get("RADIOGAN_HEADLESS", "1"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "RADIOGAN_HOME": str(paths.home()),
        "RADIOGAN_PROFILES": str(config.PROFILES),
        "RADIOGAN_NOTEBOOKS": str(paths.notebooks()),
    }
    try:
        Path.home()
    except RuntimeError:  # no name and no home, as in some containers: Jupyter needs one
        wanted["HOME"] = tempfile.mkdtemp(prefix="radiogan-home-")
    before = {k: os.environ.get(k) for k in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for k in wanted:
            os.environ.pop(k, None)
        os.environ.update({k: v for k, v in before.items() if v is not None})


def run(path: Path, out: Path, given: dict, timeout_s: int) -> None:
    """Execute one notebook with papermill; the result is written to `out`, or to `….failed.ipynb`.

    Raises:
        NotebookFailed: a cell failed, ran too long, or the kernel died; the message shows which.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logger = logging.getLogger("papermill")
    logger.handlers, logger.propagate = [_ProgressLines()], False
    logger.setLevel(logging.INFO)
    try:
        with paths.atomic(out) as temporary:
            try:
                papermill.execute_notebook(
                    path,
                    temporary,
                    given,
                    kernel_name="python3",
                    cwd=path.resolve().parent,
                    progress_bar=False,
                    log_output=True,
                    execution_timeout=timeout_s,
                    start_timeout=120,
                    extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                )
            except Exception:
                # papermill writes while it runs; what was not finished is kept for reading.
                with contextlib.suppress(OSError):
                    os.replace(temporary, out.with_suffix(".failed.ipynb"))
                    temporary.touch()
                raise
    except PapermillExecutionError as e:
        raise NotebookFailed(_failing_cell(e, path, out)) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{path.name}: the kernel died; most often the machine ran out of memory. Try a "
            "smaller profile or `--set batch_size=8`."
        ) from None
    except CellTimeoutError as e:
        raise NotebookFailed(
            f"{path.name}: a cell ran longer than {timeout_s} s and was stopped; raise it with "
            f"`--set cell_timeout_s=…`. {str(e).splitlines()[0]}"
        ) from None


def _failing_cell(error, path: Path, out: Path) -> str:
    trace = error.traceback if isinstance(error.traceback, str) else "\n".join(error.traceback)
    trace = "\n".join(ANSI.sub("", trace).splitlines()[-15:])
    lines = (s for s in error.source.splitlines() if s.strip() and not s.lstrip().startswith("#"))
    where = paths.shown(out.with_suffix(".failed.ipynb"))
    return f"{path.name}, In [{error.exec_count}]: {next(lines, '')}\n{trace}\nAll of it: {where}"


def _reduced(picture, greys: int):
    """So many even greys, and up to eight of the picture's own colours: a red frame stays red."""
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


def slim(png: str, greys: int = LEVELS[0][0], size: float = 1.0) -> str:
    """A base64 PNG with so many greys, a few colours and `size` of its height and width.

    The original where that is not smaller, or where it is animated.
    """
    from PIL import Image

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
    import nbformat

    injected = "injected-parameters"
    notebook.cells = [c for c in notebook.cells if injected not in c.metadata.get("tags", [])]
    kept = {k: v for k, v in notebook.metadata.items() if k in KEPT_METADATA}
    notebook.metadata = nbformat.from_dict(kept | {"kernelspec": KERNEL})
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
    import nbformat

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
