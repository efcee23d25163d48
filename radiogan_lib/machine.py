"""What this process may use of its machine, which Keras it has, and how it says it is busy."""

import importlib.abc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Self

from radiogan_lib.config import RadioganError

NEEDED = {"image_data_format": "channels_last", "floatx": "float32"}  # of Keras' own settings


def cores() -> int:
    """CPU cores that this process may use; a container may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def forgiving_output() -> None:
    """Let stdout and stderr replace characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def hush_tensorflow() -> None:
    """Keep TensorFlow's start-up lines (oneDNN, CUDA) away, for notebooks and command lines.

    It writes them before its log level counts.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "tensorflow" not in sys.modules and not any(isinstance(f, _Hushed) for f in sys.meta_path):
        sys.meta_path.insert(0, _Hushed())


class _Hushed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports TensorFlow with file descriptor 2 pointing nowhere; errors are raised as always."""

    # Keras looks for TensorFlow before it imports it: the finder stays until then.
    searching = False

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow" or self.searching:
            return None
        self.searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching = False
        if spec is not None:
            self.real, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.real.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = self.real
        sys.meta_path.remove(self)
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            self.real.exec_module(module)
            # The first look for a GPU complains where there is none.
            module.config.list_physical_devices("GPU")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def keras_backend() -> str:
    """The backend that Keras uses, or will use once it is imported: "tensorflow" or "jax".

    Raises:
        RadioganError: KERAS_BACKEND or the user's keras.json asks for what does not work here.
    """
    keras = sys.modules.get("keras")
    if hasattr(keras, "config"):
        found = {name: getattr(keras.config, name)() for name in ("backend", *NEEDED)}
        name, where = found["backend"], "Keras"
    else:
        file = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "keras.json"
        where = "keras.json in KERAS_HOME" if "KERAS_HOME" in os.environ else "~/.keras/keras.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}  # Keras passes over a file that it cannot read, too
        if not isinstance(found, dict):
            raise RadioganError(f"{where} holds no table of settings; delete it and start again.")
        name = os.environ.get("KERAS_BACKEND") or found.get("backend") or "tensorflow"
        where = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else where
    if name not in ("tensorflow", "jax"):
        raise RadioganError(
            f"{where} asks for the backend {str(name)[:40]!r}; this project runs on tensorflow and "
            "jax: start again with KERAS_BACKEND=tensorflow in front of the command."
        )
    if importlib.util.find_spec(name) is None:
        raise RadioganError(
            f"{where} asks for the backend {name}, which is not installed: `pip install {name}`, "
            "or start again with the other one of tensorflow and jax in KERAS_BACKEND."
        )
    for key, wanted in NEEDED.items():
        if found.get(key, wanted) != wanted:
            raise RadioganError(
                f"~/.keras/keras.json sets {key} to {str(found[key])[:40]!r}; this project needs "
                f"{wanted!r}: remove that line from the file and start again."
            )
    return name


class Progress:
    """Counts finished work: `with Progress(total, "preparing exams") as p: p.update(1)`.

    A tqdm bar in JupyterLab or a terminal. Headless (RADIOGAN_HEADLESS=1, or output that is no
    terminal) it prints at most `lines` lines that start with `… `, for the batch runner. What was
    `done` before does not count for the time that is left.
    """

    def __init__(self, total: int, label: str, lines: int = 10, done: int = 0):
        self.total, self.label, self.lines = max(int(total), 1), label, lines
        self.done, self.done_earlier, self.note = done, done, ""
        self.started = self.printed_at = time.monotonic()
        watched = "ipykernel" in sys.modules or sys.stderr.isatty()
        self.bar = None
        if watched and os.environ.get("RADIOGAN_HEADLESS") != "1":
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.total, initial=done, desc=label, leave=False)

    def update(self, n: int = 1, note: str = "") -> None:
        """`n` more are done; `note` is a short text to show beside the count."""
        before, self.done, self.note = self.done, self.done + n, note or self.note
        if self.bar is not None:
            self.bar.set_postfix_str(self.note, refresh=False)
            self.bar.update(n)
            return
        passed = self.done * self.lines // self.total > before * self.lines // self.total
        # Not in the first seconds, so that short work stays silent.
        if passed and self.done < self.total and time.monotonic() - self.printed_at > 2:
            self.printed_at = time.monotonic()
            pace = (self.printed_at - self.started) / (self.done - self.done_earlier)
            left = pace * (self.total - self.done)
            note = f"; {self.note}" if self.note else ""
            said = f"… {self.label}: {self.done} of {self.total}, about {left:.0f} s left{note}"
            print(said, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()
