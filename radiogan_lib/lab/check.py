"""Does everything work here? One line per check, to paste into a bug report."""

import html
import importlib
import json
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from radiogan_lib import machine, paths
from radiogan_lib.config import RadioganError
from radiogan_lib.lab.notebook import device

DISTRIBUTION = "radiogan-reproduced"
PYTHON = ((3, 11), (3, 14))
MEMORY_GB, DISK_GB = 4, 2  # what the teach profile needs, with room to spare


class Checks:
    """The outcome of every check: `lines` of (state, name, words).

    The state is `ok`, `fail` (the words name a remedy) or `later` (a notebook will make it).
    """

    def __init__(self, lines: list[tuple[str, str, str]]):
        self.lines = lines

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(state != "fail" for state, _, _ in self.lines)

    def __str__(self) -> str:
        width = max(len(name) for _, name, _ in self.lines)
        rows = [f"{f'[{state}]':<8}{name:<{width}}  {words}" for state, name, words in self.lines]
        failed = sum(state == "fail" for state, _, _ in self.lines)
        last = f"{failed} of {len(self.lines)} checks failed"
        return "\n".join([*rows, last if failed else "everything needed is here"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # plain text, so that what is pasted into an issue is what was seen
        return f"<pre>{html.escape(str(self))}</pre>"


def _python() -> tuple[str, str]:
    low, high = PYTHON
    words = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if low <= sys.version_info[:2] < high:
        return "ok", words
    known = f"Python {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}"
    return "fail", f"{words}; {known} is needed (`make` builds an environment)"


def _packages() -> tuple[str, str]:
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


def _backend() -> tuple[str, str]:
    try:
        name = machine.keras_backend()
    except RadioganError as e:
        return "fail", str(e)
    engine = importlib.import_module(name)
    keras = importlib.import_module("keras")
    return "ok", f"Keras {keras.__version__} on {name} {engine.__version__}"


def _cores() -> tuple[str, str]:
    n = machine.cores()
    slow = " (teach takes about twice as long as on two)" if n < 2 else ""
    return "ok", f"{n} CPU core{'s' if n > 1 else ''}{slow}"


def _memory() -> tuple[str, str]:
    from distributed.system import MEMORY_LIMIT  # of the container, where there is one

    gb = MEMORY_LIMIT / 2**30
    if gb < MEMORY_GB:
        return "fail", f"{gb:.0f} GB; teach needs {MEMORY_GB} GB, smoke runs with less"
    return "ok", f"{gb:.0f} GB"


def _disk() -> tuple[str, str]:
    there = next(f for f in (paths.home(), *paths.home().parents) if f.exists())
    gb = shutil.disk_usage(there).free / 2**30
    if gb < DISK_GB:
        return "fail", f"{gb:.0f} GB free; {DISK_GB} GB are needed"
    return "ok", f"{gb:.0f} GB free"


def _writable() -> tuple[str, str]:
    for name in ("data", "runs"):
        folder = paths.home() / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            remedy = "set RADIOGAN_HOME to a folder of yours"
            return "fail", f"{name}/ cannot be written ({e.strerror}); {remedy}"
    return "ok", "data/ and runs/"


def _weights() -> tuple[str, str]:
    files = sorted((paths.REPO / "weights").rglob("*.keras"))
    if not files:
        remedy = "clone the repository again, or train one (notebooks/03_training.ipynb)"
        return "fail", f"weights/ holds no generator; {remedy}"
    size = sum(f.stat().st_size for f in files) / 2**20
    return "ok", f"{len(files)} networks, {size:.1f} MB"


def _dataset() -> tuple[str, str]:
    found = []
    for path in sorted((paths.home() / "data").glob("*/dataset.json")):
        name = path.parent.name
        try:
            n = json.loads(path.read_text(encoding="utf-8")).get("exams")
        except (OSError, ValueError):
            remedy = "delete that folder and run notebook 01"
            return "fail", f"data/{name}/dataset.json is not readable; {remedy}"
        found.append(name + (f" ({n} exams)" if n else ""))
    return ("ok", ", ".join(found[:6])) if found else ("later", "none yet; notebook 01 makes it")


CHECKS = {
    "Python": _python,
    "packages": _packages,
    "engine": _backend,
    "device": lambda: ("ok", device()),
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "folders": _writable,
    "shipped weights": _weights,
    "dataset": _dataset,
}


def environment() -> Checks:
    """Check the installation: Python, packages, engine, device, memory, disk, weights, data.

    Neither user nor folder names of this machine are in it. A check that breaks is a `fail` line,
    never an exception.
    """
    machine.hush_tensorflow()
    lines = []
    for name, check in CHECKS.items():
        try:
            state, words = check()
        except Exception as e:  # noqa: BLE001 - whatever is broken here is what the table is for
            state, words = "fail", f"{type(e).__name__}: {str(e).partition(chr(10))[0][:160]}"
        words = words.replace(str(paths.home()), "…").replace(str(Path.home()), "~")
        lines.append((state, name, words))
    return Checks(lines)
