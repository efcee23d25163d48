"""Fetching one series from a public S3 bucket with boto3, and proving that it arrived whole.

The archive's own client returns as if nothing had happened when a transfer fails. Here every object is compared with
the listing (bytes, and MD5 where the ETag is one), and the series with the manifest (number and bytes).
"""

from __future__ import annotations

import hashlib
import time
import urllib.parse
from concurrent import futures
from pathlib import Path, PurePosixPath

from radiogan_lib.config import ConfigError, RadioganError

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


def client(endpoint: str = ""):
    """An anonymous S3 client; `endpoint` names a server other than Amazon's."""
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError:
        raise ConfigError(
            "the public archive needs boto3; install it with `pip install 'radiogan-reproduced[archive]'`."
        ) from None
    config = Config(
        signature_version=UNSIGNED,
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": 1},  # what is missing is asked for again here, and counted
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.client("s3", endpoint_url=endpoint or None, region_name="us-east-1", config=config)


def _place(prefix: str) -> tuple[str, str]:
    """`s3://bucket/key/` → (bucket, key prefix)."""
    parts = urllib.parse.urlsplit(prefix)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise TransferError(
            "the place of a series must look like s3://bucket/prefix/",
            "Correct the manifest.",
            False,
        )
    return parts.netloc, parts.path.strip("/") + "/"


def _fault(error: Exception) -> TransferError:
    """What boto3 met, in one sentence."""
    response = getattr(error, "response", None) or {}
    answer = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if answer is None:
        return TransferError(
            f"the archive cannot be reached ({type(error).__name__})",
            f"Check the network. {_RUN_AGAIN}",
            True,
        )
    gone = answer in (403, 404)
    return TransferError(
        f"the archive answered {answer}", _NEW_RELEASE if gone else _RUN_AGAIN, not gone
    )


def listing(s3, bucket: str, prefix: str, page: int = 1000) -> dict[str, tuple[int, str]]:
    """Key → (bytes, ETag) of everything below the prefix, all pages of `page` keys."""
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page}
    )
    return {
        item["Key"]: (item["Size"], item["ETag"].strip('"'))
        for found in pages
        for item in found.get("Contents", [])
        if not item["Key"].endswith("/")
    }


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
        ConfigError: boto3 is not installed.
    """
    bucket, key_prefix = _place(prefix)
    s3 = client(endpoint)
    objects = _listed(s3, bucket, key_prefix)
    listed = sum(size for size, _ in objects.values())
    if (len(objects), listed) != (instances, size_bytes):
        raise TransferError(
            f"the archive lists {len(objects)} files of {listed} bytes where the manifest says "
            f"{instances} of {size_bytes}",
            _NEW_RELEASE,
            False,
        )

    def one(key: str) -> None:
        body = _body(s3, bucket, key)
        if not _whole(body, *objects[key]):
            raise TransferError("a file arrived damaged", _RUN_AGAIN, True)
        (folder / PurePosixPath(key).name).write_bytes(body)

    missing, again = list(objects), 0
    for turn in range(ROUNDS):
        if turn:
            again += len(missing)
            time.sleep(PAUSE_S * 2 ** (turn - 1))
        with futures.ThreadPoolExecutor(CONNECTIONS) as threads:
            tries = {key: threads.submit(one, key) for key in missing}
        faults = {key: e for key, t in tries.items() if (e := t.exception()) is not None}
        missing = list(faults)
        for e in faults.values():
            if not getattr(e, "transient", False):
                raise e  # another try would end the same way
        if not missing:
            break
    else:
        raise TransferError(
            f"{len(missing)} of {instances} files did not arrive whole in {ROUNDS} rounds",
            _RUN_AGAIN,
            True,
        )
    stored = list(folder.iterdir())
    if (len(stored), sum(f.stat().st_size for f in stored)) != (instances, size_bytes):
        raise TransferError(
            f"{len(stored)} files lie on disk where {instances} were fetched", _RUN_AGAIN, True
        )
    return again


def _body(s3, bucket: str, key: str) -> bytes:
    """The bytes of an object; a fault on the way raises a TransferError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as e:
        raise _fault(e) from None


def _listed(s3, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    """`listing`, asked for again where the server is busy or the line is cut."""
    from botocore.exceptions import BotoCoreError, ClientError

    for turn in range(ROUNDS):
        try:
            return listing(s3, bucket, prefix)
        except (BotoCoreError, ClientError) as e:
            fault = _fault(e)
            if not fault.transient or turn == ROUNDS - 1:
                raise fault from None
            time.sleep(PAUSE_S * 2**turn)
    raise AssertionError("unreachable")
