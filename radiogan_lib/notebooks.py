"""The numbered notebooks: which there are, what each takes, running one."""

import ast
import contextlib
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


class NotebookFailed(RadioganError):
    """A notebook stopped; the message shows its failing cell."""


def numbered(first: str = "00", last: str = "99") -> list[Path]:
    """The numbered notebooks from `first` to `last`, in order."""
    everything = sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    found = [p for p in everything if first[:2] <= p.name[:2] <= last[:2]]
    if not found:
        known = f"choose among {', '.join(p.name for p in everything)}."
        raise config.ConfigError(f"no notebook lies between {first} and {last}; {known}")
    return found


def declared(path: Path, key: str) -> list[str]:
    """What a notebook says it `needs` or `makes` (its metadata), e.g. "{dataset}/dataset.json"."""
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    return metadata.get("radiogan", {}).get(key, [])


def parameters(path: Path) -> dict[str, object]:
    """{name: default} of a notebook's `parameters` cell, read as literals without running it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cell = next((c for c in cells if "parameters" in c["metadata"].get("tags", [])), None)
    lines = ast.parse("".join(cell["source"])).body if cell else []
    return {n.target.id: ast.literal_eval(n.value) for n in lines if isinstance(n, ast.AnnAssign)}


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
