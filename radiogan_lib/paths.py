"""Where things live, how files are written, and which notebook makes what is missing.

Everything sits below one home folder: the repository, or `RADIOGAN_HOME`.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from pathlib import Path

from radiogan_lib.config import Config, RadioganError

REPO = Path(__file__).resolve().parents[1]


class MissingArtefact(RadioganError, FileNotFoundError):
    """A file that an earlier notebook makes is not there."""


class WriteError(RadioganError, OSError):
    """A file that cannot be written: a full disk, or a folder that is not ours."""

    def __str__(self) -> str:  # not that of an OSError with a number
        return str(self.args[0])


def home() -> Path:
    """The folder below which `data/` and `runs/` are written."""
    return Path(os.environ.get("RADIOGAN_HOME") or REPO).expanduser().resolve()


def notebooks() -> Path:
    """The folder of the numbered notebooks: the repository's, or `RADIOGAN_NOTEBOOKS`."""
    return Path(os.environ.get("RADIOGAN_NOTEBOOKS") or REPO / "notebooks").expanduser().resolve()


def cohort_path(cfg: Config) -> Path:
    """The cohort csv: the user's, from home or the current folder; or the embedded phantoms'."""
    if not cfg.cohort:
        return REPO / "data_manifest" / "synthetic.csv"
    path = Path(cfg.cohort).expanduser()
    if (home() / path).exists() or not path.exists():  # an absolute path stays as it is
        path = home() / path
    return path.resolve()


def _suffix(changed: dict) -> str:
    """A readable name for changed settings; a digest where it would be long or not a file name."""
    text = ""
    for name, value in changed.items():
        part = value if name == "recipe" else f"{name}={value}"
        if name == "cohort":
            part = Path(value).stem
        text += "-" + re.sub(r"[^A-Za-z0-9_.=,-]+", "", part)
    if "cohort" in changed or len(text) > 80:
        # Two cohorts may share a file name: their full path decides.
        digest = hashlib.sha256(json.dumps(changed, default=str).encode()).hexdigest()
        text = text[:60] + "-" + digest[:8]
    return text


def dataset_dir(cfg: Config) -> Path:
    """data/…: one folder per cohort and geometry, shared by all runs on them."""
    h, w = cfg.canvas
    return home() / "data" / f"{cfg.profile}-{h}x{w}{_suffix(cfg.changed(('data',)))}"


def run_dir(cfg: Config) -> Path:
    """runs/…: one folder per profile and changed data or training settings."""
    return home() / "runs" / f"{cfg.profile}{_suffix(cfg.changed(('data', 'gan')))}"


def need(path: Path, notebook: str) -> Path:
    """Return `path` if it exists; else raise a MissingArtefact with the notebook to run first."""
    if not Path(path).exists():
        command = f"python -m radiogan_lib.batch --to {notebook[:2]}"
        said = f"{shown(path)} is missing. Run notebooks/{notebook}.ipynb first"
        raise MissingArtefact(f"{said} (or `{command}`).")
    return Path(path)


def shown(path: Path) -> str:
    """A path as a reader should see it: relative to home or the repository."""
    path = Path(path)
    for base in (home(), REPO):
        with contextlib.suppress(ValueError):
            return str(path.resolve().relative_to(base))
    return path.name


@contextlib.contextmanager
def atomic(path: Path):
    """Yield a temporary path beside `path`; rename it into place if all goes well, else delete it.

    A reader sees the old file or the whole new one, never half of it. The suffix is kept for
    writers which look at it (NumPy, Keras, Pillow).
    """
    path = Path(path).absolute()
    temporary = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(6)}.part{path.suffix}")
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        made = True
        yield temporary
        with open(temporary, "r+b") as f:  # for writing: Windows flushes no other
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as e:
        raise (_write_error(e, path) or e) from None
    finally:
        if made:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


_FULL = (errno.ENOSPC, errno.EDQUOT)
CANNOT_WRITE = {*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
CANNOT_WRITE |= {errno.EISDIR, errno.ENAMETOOLONG}


def _write_error(e: OSError, path: Path) -> WriteError | None:
    """The fault in one sentence if it is about writing this file, else None."""
    short = e.errno is None and "requested and" in str(e)  # NumPy's words for half a write
    folders = (path.parent, *path.parents)
    elsewhere = e.filename is not None and Path(os.fsdecode(e.filename)).parent not in folders
    if isinstance(e, RadioganError) or elsewhere or not (short or e.errno in CANNOT_WRITE):
        return None
    number = errno.ENOSPC if short else e.errno
    remedy = "make room" if number in _FULL else "choose a folder that you may write to"
    said = f"{shown(path)} cannot be written ({os.strerror(number)})"
    error = WriteError(f"{said}; {remedy} and run again: what is finished is kept.")
    error.errno, error.strerror = number, os.strerror(number)
    return error


def write_text(path: Path, text: str) -> Path:
    """Write text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path, value) -> Path:
    """Write JSON atomically; NaN is refused, so that every JSON reader can read it."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The file's SHA-256 as hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
