"""One notebook, executed headless by papermill; a failure names its cell. Used by `batch`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import re
import threading
from pathlib import Path

from radiogan_lib import config, paths

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(config.RadioganError):
    """A notebook stopped; the message shows its failing cell."""


class _Progress(logging.Handler):
    """Passes a notebook's printed progress lines on to the terminal, and nothing else of its output."""

    def emit(self, record):
        for line in str(record.getMessage()).splitlines():
            if line.startswith("… "):
                print(f"    {line}", flush=True)


def _failing_cell(error, path: Path, out: Path) -> str:
    trace = "\n".join(
        ANSI.sub(
            "", error.traceback if isinstance(error.traceback, str) else "\n".join(error.traceback)
        ).splitlines()[-15:]
    )
    first = next(
        (s for s in error.source.splitlines() if s.strip() and not s.lstrip().startswith("#")), ""
    )
    return f"{path.name}, In [{error.exec_count}]: {first}\n{trace}\nAll of it: {paths.shown(out.with_suffix('.failed.ipynb'))}"


def run_notebook(path: Path, out: Path, parameters: dict, timeout_s: int) -> None:
    """Execute one notebook with papermill.

    Raises:
        NotebookFailed: a cell failed, ran too long, or the kernel died; the message shows which.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logger, handler = logging.getLogger("papermill"), _Progress()
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        with paths.atomic(out) as temporary, _quiet():
            # papermill writes while it runs; a notebook that did not finish keeps its own name, for reading
            try:
                _with_own_loop(
                    papermill.execute_notebook,
                    path,
                    temporary,
                    parameters,
                    kernel_name="python3",
                    cwd=path.resolve().parent,
                    progress_bar=False,
                    log_output=True,
                    execution_timeout=timeout_s,
                    start_timeout=120,
                    extra_arguments=["--IPKernelApp.log_level=ERROR"],
                )
            except Exception:
                with contextlib.suppress(OSError):
                    os.replace(temporary, out.with_suffix(".failed.ipynb"))
                    temporary.touch()
                raise
    except PapermillExecutionError as e:
        raise NotebookFailed(_failing_cell(e, path, out)) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{path.name}: the kernel died; most often the machine ran out of memory. Try a smaller profile or "
            "`--set batch_size=8`."
        ) from None
    except CellTimeoutError as e:
        raise NotebookFailed(
            f"{path.name}: a cell ran longer than {timeout_s} s and was stopped; raise it with "
            f"`--set cell_timeout_s=…`. {str(e).splitlines()[0]}"
        ) from None


def _with_own_loop(work, *args, **kwargs):
    """Call `work` with an event loop that is this thread's alone.

    Jupyter keeps its loop in a context variable. A worker thread (a sweep on Dask) may inherit the context of the thread that
    started it, and two of them would then run notebooks on one loop, which fails.
    """
    if threading.current_thread() is threading.main_thread():
        return work(*args, **kwargs)

    def inside():
        from jupyter_core.utils import ensure_event_loop

        loop = ensure_event_loop()
        try:
            return work(*args, **kwargs)
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    return contextvars.Context().run(inside)


@contextlib.contextmanager
def _quiet():
    """TensorFlow's and Jupyter's start-up lines stay out of kernels that nobody watches; progress becomes single lines."""
    wanted = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "RADIOGAN_HEADLESS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {k: os.environ.get(k) for k in wanted}
    os.environ.update({k: v for k, v in wanted.items() if before[k] is None})
    yield
    for k, v in before.items():
        if v is None:
            os.environ.pop(k, None)
