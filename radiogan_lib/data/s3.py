"""Fetching one series from a public S3 bucket, and proving that it arrived whole.

Plain HTTP with requests (kept connections, a hospital's proxy and certificates), not the archive's own client: that one
is a large optional install and returns as if nothing had happened when a transfer fails. Here every object is compared with the listing (bytes, and
MD5 where the ETag is one), and the series with the manifest (number and bytes).
"""

from __future__ import annotations

import hashlib
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from concurrent import futures
from pathlib import Path, PurePosixPath

import requests
from requests.adapters import HTTPAdapter, Retry

from radiogan_lib.config import RadioganError

ROUNDS = 4  # times that what is missing or damaged is asked for
CONNECTIONS = 16
PAUSE_S = 0.5  # before the second round; doubles


class TransferError(RadioganError):
    """A series did not arrive whole: `reason`, `remedy`, and whether another try may help."""

    def __init__(self, reason: str, remedy: str, transient: bool):
        super().__init__(f"{reason}. {remedy}")
        self.reason, self.remedy, self.transient = reason, remedy, transient


_RUN_AGAIN = "Run the same command again: what is finished is kept."
_NEW_RELEASE = (
    "The archive's content has moved on; rebuild data_manifest/public.csv with a newer idc-index."
)


def _address(prefix: str, endpoint: str) -> tuple[str, str]:
    """`s3://bucket/key/` → (URL of the bucket, key prefix)."""
    parts = urllib.parse.urlsplit(prefix)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise TransferError(
            "the place of a series must look like s3://bucket/prefix/",
            "Correct the manifest.",
            False,
        )
    bucket = (
        f"{endpoint.rstrip('/')}/{parts.netloc}"
        if endpoint
        else f"https://{parts.netloc}.s3.amazonaws.com"
    )
    return bucket, parts.path.strip("/") + "/"


def _session() -> requests.Session:
    """Connections that are kept, and asked again where the server is busy."""
    retry = Retry(
        total=3,
        backoff_factor=PAUSE_S,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(
            scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, pool_block=True, max_retries=retry)
        )
    return session


def _get(session: requests.Session, url: str) -> bytes:
    """The body of a GET; one that ends before its announced length raises."""
    response = session.get(url, timeout=(10, 60))
    if response.status_code != 200:
        gone = response.status_code in (403, 404)
        raise TransferError(
            f"the archive answered {response.status_code}",
            _NEW_RELEASE if gone else _RUN_AGAIN,
            not gone,
        )
    return response.content


def listing(session: requests.Session, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    """Key → (bytes, ETag) of everything below the prefix (ListObjectsV2, all pages)."""
    found, token = {}, None
    while True:
        query = {"list-type": "2", "prefix": prefix} | (
            {"continuation-token": token} if token else {}
        )
        root = ElementTree.fromstring(_get(session, f"{bucket}/?{urllib.parse.urlencode(query)}"))
        for item in root.findall("{*}Contents"):
            key = item.findtext("{*}Key", "")
            if not key.endswith("/"):
                found[key] = (
                    int(item.findtext("{*}Size", "-1")),
                    item.findtext("{*}ETag", "").strip('"'),
                )
        token = root.findtext("{*}NextContinuationToken")
        if root.findtext("{*}IsTruncated") != "true" or not token:
            return found


def _whole(body: bytes, size: int, etag: str) -> bool:
    """Is this the listed object? The ETag of an object uploaded in one piece is its MD5."""
    if len(body) != size:
        return False
    is_md5 = len(etag) == 32 and set(etag.lower()) <= set("0123456789abcdef")
    return not is_md5 or hashlib.md5(body, usedforsecurity=False).hexdigest() == etag.lower()


def fetch_series(
    prefix: str, folder: Path, instances: int, size_bytes: int, endpoint: str = ""
) -> int:
    """Download all objects below a prefix into a folder; return only when they are proven whole.

    Args:
        prefix: `s3://bucket/series/`.
        folder: an existing, empty folder.
        instances, size_bytes: what the manifest says the series has.
        endpoint: of an S3 server other than Amazon's, such as http://127.0.0.1:9000.

    Returns:
        How many objects had to be asked for again.

    Raises:
        TransferError: it did not arrive whole after several rounds, or the archive holds something else by now.
    """
    bucket, key_prefix = _address(prefix, endpoint)
    session = _session()
    try:
        objects = listing(session, bucket, key_prefix)
        listed = sum(size for size, _ in objects.values())
        if (len(objects), listed) != (instances, size_bytes):
            raise TransferError(
                f"the archive lists {len(objects)} files of {listed} bytes where the manifest says "
                f"{instances} of {size_bytes}",
                _NEW_RELEASE,
                False,
            )
        missing, again = dict(objects), 0

        def one(key: str) -> None:
            size, etag = missing[key]
            body = _get(session, f"{bucket}/{urllib.parse.quote(key)}")
            if not _whole(body, size, etag):
                raise TransferError("a file arrived damaged", _RUN_AGAIN, True)
            (folder / PurePosixPath(key).name).write_bytes(body)

        for turn in range(ROUNDS):
            if turn:
                again += len(missing)
                time.sleep(PAUSE_S * 2 ** (turn - 1))
            with futures.ThreadPoolExecutor(min(CONNECTIONS, len(missing))) as threads:
                tries = {key: threads.submit(one, key) for key in missing}
            faults = {key: e for key, t in tries.items() if (e := t.exception()) is not None}
            missing = {key: objects[key] for key in faults}
            for e in faults.values():
                if not isinstance(e, requests.RequestException) and not getattr(
                    e, "transient", False
                ):
                    raise e  # another try would end the same way
            if not missing:
                break
        else:
            raise TransferError(
                f"{len(missing)} of {instances} files did not arrive whole in {ROUNDS} rounds",
                _RUN_AGAIN,
                True,
            )
    except requests.RequestException as e:
        raise TransferError(
            f"the archive cannot be reached ({type(e).__name__})",
            f"Check the network. {_RUN_AGAIN}",
            True,
        ) from None
    except ElementTree.ParseError:
        raise TransferError("the archive's listing is not readable", _RUN_AGAIN, True) from None
    finally:
        session.close()
    stored = list(folder.iterdir())
    if (len(stored), sum(f.stat().st_size for f in stored)) != (instances, size_bytes):
        raise TransferError(
            f"{len(stored)} files lie on disk where {instances} were fetched", _RUN_AGAIN, True
        )
    return again
