"""Does everything work here? One line per check, to paste into a bug report. Shown in notebooks/00_start_here.ipynb."""

from __future__ import annotations

import html
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from radiogan_lib import machine, paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.notebook import device

DISTRIBUTION = "radiogan-reproduced"
PYTHON = ((3, 11), (3, 14))
MEMORY_GB, DISK_GB = 4, 2  # what the teach profile needs, with room to spare


class Checks:
    """The outcome of every check: `[ok]`, `[fail]` with a remedy, or `[later]` for what a notebook has yet to make."""

    def __init__(self, lines: list[tuple[str, str, str]]):
        self.lines = lines

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(state != "fail" for state, _, _ in self.lines)

    def __str__(self) -> str:
        width = max(len(name) for _, name, _ in self.lines)
        rows = [
            f"{'[' + state + ']':<8}{name:<{width}}  {words}" for state, name, words in self.lines
        ]
        failed = sum(state == "fail" for state, _, _ in self.lines)
        rows.append(
            "everything needed is here"
            if not failed
            else f"{failed} of {len(self.lines)} checks failed"
        )
        return "\n".join(rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # plain text, so that what is pasted into an issue is what was seen
        return f"<pre>{html.escape(str(self))}</pre>"


def _python():
    low, high = PYTHON
    here = sys.version_info[:2]
    words = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if low <= here < high:
        return "ok", words
    return (
        "fail",
        f"{words}; Python {low[0]}.{low[1]} to {high[0]}.{high[1] - 1} is needed (`make` builds an environment)",
    )


def _packages():
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(r) for r in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return "fail", f"{DISTRIBUTION} is not installed; run `pip install -e .` in the repository"
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = []
    for need in wanted:
        try:
            have = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} missing")
            continue
        if not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} {have}, wanted {need.specifier}")
    if wrong:
        return "fail", "; ".join(wrong) + "; `pip install -r requirements.lock` mends it"
    return "ok", f"{len(wanted)} of {len(wanted)} in the range that pyproject.toml asks for"


def _backend():
    try:
        name = machine.keras_backend()
    except RadioganError as e:
        return "fail", str(e)
    engine = importlib.import_module(name)
    keras = importlib.import_module("keras")
    return "ok", f"Keras {keras.__version__} on {name} {engine.__version__}"


def _device():
    return "ok", device()


def _cores():
    n = machine.cores()
    return "ok", f"{n} CPU core{'s' if n > 1 else ''}" + (
        " (teach takes about twice as long as on two)" if n < 2 else ""
    )


def _memory():
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "ok", "size unknown on this system"
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    gb = total / 2**30
    return ("ok" if gb >= MEMORY_GB else "fail"), f"{gb:.0f} GB" + (
        "" if gb >= MEMORY_GB else f"; teach needs {MEMORY_GB} GB, smoke runs with less"
    )


def _disk():
    folder = paths.home()
    while not folder.exists():
        folder = folder.parent
    gb = shutil.disk_usage(folder).free / 2**30
    return ("ok" if gb >= DISK_GB else "fail"), f"{gb:.0f} GB free" + (
        "" if gb >= DISK_GB else f"; {DISK_GB} GB are needed"
    )


def _writable():
    for name in ("data", "runs"):
        folder = paths.home() / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            return (
                "fail",
                f"{name}/ cannot be written ({e.strerror}); set RADIOGAN_HOME to a folder of yours",
            )
    return "ok", "data/ and runs/"


def _weights():
    folder = paths.REPO / "weights"
    files = sorted(folder.rglob("*.keras")) if folder.is_dir() else []
    if not files:
        return (
            "fail",
            "weights/ holds no generator; clone the repository again, or train one (notebooks/03_training.ipynb)",
        )
    size = sum(f.stat().st_size for f in files) / 2**20
    return (
        "ok",
        f"{', '.join(f.name for f in files)}, {size:.1f} MB, sha256 {paths.sha256(files[0])[:12]}",
    )


def _dataset():
    found = []
    for path in sorted((paths.home() / "data").glob("*/dataset.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return (
                "fail",
                f"data/{path.parent.name}/dataset.json is not readable; delete that folder and run notebook 01",
            )
        n = content.get("n_exams", content.get("n", content.get("exams")))
        found.append(path.parent.name + (f" ({n} exams)" if isinstance(n, int) else ""))
    return ("ok", ", ".join(found[:6])) if found else ("later", "none yet; notebook 01 makes it")


CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "Python": _python,
    "packages": _packages,
    "engine": _backend,
    "device": _device,
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "folders": _writable,
    "shipped weights": _weights,
    "dataset": _dataset,
}


def environment() -> Checks:
    """Check the installation: Python, packages against their pins, engine, device, memory, disk, weights, data.

    Returns:
        Checks: shows itself as a table of `[ok]` and `[fail]` lines; `.ok` says whether nothing failed. Neither user
        nor folder names of this machine are in it. A check that breaks is a `[fail]` line, never an exception.
    """
    machine.hush_tensorflow()
    lines = []
    for name, check in CHECKS.items():
        try:
            state, words = check()
        except Exception as e:  # noqa: BLE001 - whatever is broken here is what the table is for
            state, words = (
                "fail",
                f"{type(e).__name__}: {str(e).splitlines()[0][:160] if str(e) else ''}",
            )
        words = words.replace(str(paths.home()), "…").replace(str(Path.home()), "~")
        lines.append((state, name, words))
    return Checks(lines)
