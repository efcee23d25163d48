"""What every notebook does first and last: quiet libraries, readable errors, provenance."""

import contextlib
import datetime
import difflib
import inspect
import itertools
import platform
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from petsuv import ExamError
from radiogan_lib import __version__, machine, paths
from radiogan_lib.config import RadioganError

STARTED = time.monotonic()
PACKAGES = "keras tensorflow jax numpy scipy scikit-learn nibabel pydicom matplotlib".split()


def _one_sentence(self: Exception) -> list[str]:
    """What IPython shows in place of a traceback; the cell still counts as failed."""
    return [f"\x1b[31m{type(self).__name__}\x1b[0m: {self}"]


def setup() -> None:
    """Prepare a notebook: quiet TensorFlow, sharp figures, one sentence for a reader's fault.

    Outside IPython it only keeps TensorFlow quiet. A `RadioganError` still ends its cell as an
    error, so a headless run stops there; only its traceback is one line. Any other exception keeps
    its full traceback: that is a bug to report.
    """
    global STARTED
    STARTED = time.monotonic()
    machine.hush_tensorflow()
    if "IPython" in sys.modules:
        from IPython import get_ipython

        if get_ipython() is not None:
            from matplotlib_inline.backend_inline import set_matplotlib_formats

            set_matplotlib_formats("retina")  # twice the pixels, shown at the same size
            for kind in (RadioganError, ExamError):  # IPython's own hook
                kind._render_traceback_ = _one_sentence


def source(obj):
    """The source of a library function, method or class, as IPython Markdown with its file named.

    Raises:
        RadioganError: `inspect` finds no source.
    """
    from IPython.display import Markdown

    target = inspect.unwrap(obj.fget if isinstance(obj, property) else obj)
    try:
        text = textwrap.dedent(inspect.getsource(target)).rstrip()
        where = paths.shown(Path(inspect.getsourcefile(target)))
    except (OSError, TypeError):
        remedy = "give a function, a method or a class."
        raise RadioganError(f"{obj!r} has no Python source to show; {remedy}") from None
    fence = "````" if "```" in text else "```"
    return Markdown(f"`{where}`\n\n{fence}python\n{text}\n{fence}")


def pick(known: Mapping, name: str, kind: str):
    """The entry of that name, or a RadioganError that names the nearest one and all others."""
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RadioganError(f"there is no {kind} {name!r}.{hint} There are: {', '.join(known)}.")
    return known[name]


def pick_classes(
    class_names: Sequence[str], *wanted: str, typed: Sequence[str] = ()
) -> tuple[int, ...]:
    """Class indices for `wanted` names, whatever classes the cohort has.

    A wanted name that the cohort lacks is replaced by a class that no other wanted name takes, the
    first such for the first name, the last for later ones: a walk still joins two classes.

    Args:
        class_names: of the cohort.
        wanted: our suggestions.
        typed: the user's choices in the same order, never replaced; "" leaves the suggestion.

    Raises:
        RadioganError: the cohort has no classes, or not one that the user typed.
    """
    names = list(class_names)
    if not names:
        raise RadioganError("this cohort has no classes to choose from.")
    if missing := [t for t in typed if t and t not in names]:
        raise RadioganError(
            f"there is no class {missing[0]!r}; this cohort has {', '.join(names)}."
        )
    wanted = tuple(t or w for t, w in itertools.zip_longest(typed, wanted, fillvalue=""))
    free = [i for i, name in enumerate(names) if name not in wanted]
    picked = []
    for k, name in enumerate(wanted):
        if name in names:
            picked.append(names.index(name))
        else:
            picked.append(free.pop(-1 if k else 0) if free else 0)
    return tuple(picked)


def _git(*words: str) -> str:
    """The answer of a git command in the repository, or an empty text."""
    command = ["git", *words]
    try:
        done = subprocess.run(command, cwd=paths.REPO, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def device() -> str:
    """What Keras computes on, in words; `not loaded` where no backend was imported."""
    backend = machine.keras_backend()
    if backend not in sys.modules:
        return "not loaded"
    if backend == "tensorflow":
        from tensorflow import config

        found = config.list_physical_devices("GPU")
        details = [config.experimental.get_device_details(d) for d in found]
        names = [d.get("device_name", "GPU") for d in details]
    else:
        import jax

        names = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    return f"{len(names)} × {names[0]}" if names else f"CPU, {machine.cores()} cores"


def facts(cfg=None) -> dict:
    """Where and how a result was made, ready for JSON. No path, user or host name is in it."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "radiogan_lib")
    out = {
        "radiogan_lib": __version__,
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "changed_since_commit": bool(changed),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": machine.keras_backend(),
        "device": device(),
        "packages": versions,
        "seconds": round(time.monotonic() - STARTED, 1),
    }
    if cfg is not None:
        out |= {"profile": cfg.profile, "recipe": cfg.recipe, "seed": cfg.seed}
        out["canvas"] = list(cfg.canvas)
    return out


def provenance(cfg=None):
    """The table that closes every notebook: commit, versions, device, seconds since `setup`."""
    from radiogan_lib.lab.tables import Table

    known = facts(cfg)
    changed = ", library changed since" if known["changed_since_commit"] else ""
    rows = [] if cfg is None else [("settings", str(cfg))]
    rows += [
        ("commit", known["commit"] + changed),
        ("made on", f"{known['date']}, {known['system']}, Python {known['python']}"),
        ("computed on", f"{known['device']} ({known['backend']})"),
        ("versions", ", ".join(f"{k} {v}" for k, v in known["packages"].items())),
        ("time", f"{known['seconds']:.0f} s since the first cell"),
    ]
    return Table(rows)
