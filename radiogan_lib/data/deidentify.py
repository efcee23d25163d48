"""Keyed hashes in place of identifiers, and text with everything identifying taken out.

A plain hash of a patient number can be undone by hashing all numbers; a keyed one (HMAC-SHA256)
cannot without the key. The key is made once per home folder, lies beside the datasets and never
inside one, and whoever shares a dataset keeps it back.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

from radiogan_lib import paths
from radiogan_lib.config import ConfigError

# What identifies a person or betrays a source in free text: URLs and paths, file names, UIDs, dates
# and times, DICOM names.
_PATTERNS = (
    r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"]+",
    r"(?:(?<=\s)|(?<=['\"(=])|^)(?:~|\.{1,2}|[A-Za-z]:)?[\\/](?:[^\s'\",;)]|\s(?=[^'\",;)]*[\\/]))+",
    r"\b[\w.\-]+\.(?:dcm|nii\.gz|nii|img|ima|hdr|csv)\b",
    r"\b\d+(?:\.\d+){3,}\b",
    r"\b(?:19|20)\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])(?:\d{2,6}(?:\.\d+)?)?\b",
    r"\b[\w'\-]+\^[\w'\-^ ]+",
)


def key() -> bytes:
    """The 32 secret bytes of this home folder (`data/.key`, for its owner only); made once.

    Raises:
        ConfigError: the file cannot be read, made or trusted.
    """
    path = paths.home() / "data" / ".key"
    new = "to get a new key (and new hashes)"
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        value = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"the key for hashed identifiers, {paths.shown(path)}, cannot be used "
            f"({type(e).__name__}); make the folder writable, or delete the file {new}."
        ) from None
    if len(value) < 32:
        raise ConfigError(f"{paths.shown(path)} is too short to be a key; delete it {new}.")
    return value


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 600
    try:
        with os.fdopen(handle, "w") as f:
            f.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def keyed(text: str, secret: bytes) -> str:
    """HMAC-SHA256 of a text, as 64 hex digits."""
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def hashed(kind: str, identifier: str, secret: bytes) -> str:
    """`exam-1f0c9a63b2d45e78`; `kind` keeps equal exam and patient numbers apart."""
    return f"{kind}-{keyed(f'{kind}:{identifier}', secret)[:16]}"


def scrub(text: str, identifiers: tuple[str, ...] = ()) -> str:
    """The text with identifiers, and what looks like a path, UID, date or DICOM name, as `…`.

    Args:
        text: one sentence, such as the reason why an exam was refused.
        identifiers: values of this exam's row. Those shorter than three characters are left: they
            identify nobody, and taking out every "1" would make the sentence unreadable.
    """
    for value in sorted({str(v) for v in identifiers if len(str(v)) >= 3}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", text, flags=re.IGNORECASE)
    for pattern in _PATTERNS:
        text = re.sub(pattern, "…", text)
    return re.sub(r"…(?:[\s/\\._-]*…)+", "…", text)
