"""Fetching one series from a public S3 bucket with boto3, and proving that it arrived whole.

The archive's own client returns as if nothing had happened when a transfer fails. Here every object
is compared with the listing (bytes, and MD5 where the ETag is one), and the series with the
manifest (number and bytes). boto3 asks again where the server is busy or the line is cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import urllib.parse
from concurrent import futures
from pathlib import Path, PurePosixPath

from radiogan_lib.config import ConfigError, RadioganError

TRIES = 4  # of each object
CONNECTIONS = 16
_RUN_AGAIN = "Run the same command again: what is finished is kept."
_NEW_RELEASE = (
    "The archive's content has moved on; rebuild data_manifest/public.csv with a newer idc-index."
)


class TransferError(RadioganError):
    """A series did not arrive whole: `reason`, `remedy`, and whether another try may help."""

    def __init__(self, reason: str, remedy: str = _RUN_AGAIN, transient: bool = True):
        super().__init__(f"{reason}. {remedy}")
        self.reason, self.remedy, self.transient = reason, remedy, transient


def client(endpoint: str = ""):
    """An anonymous S3 client; `endpoint` names a server other than Amazon's."""
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError:
        raise ConfigError(
            "the public archive needs boto3; install it with "
            "`pip install 'radiogan-reproduced[archive]'`."
        ) from None
    config = Config(
        signature_version=UNSIGNED,
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.client("s3", endpoint_url=endpoint or None, region_name="us-east-1", config=config)


def _place(prefix: str) -> tuple[str, str]:
    """`s3://bucket/key/` → (bucket, key prefix)."""
    parts = urllib.parse.urlsplit(prefix)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        reason = "the place of a series must look like s3://bucket/prefix/"
        raise TransferError(reason, "Correct the manifest.", False)
    return parts.netloc, parts.path.strip("/") + "/"


@contextlib.contextmanager
def _faults():
    """What boto3 meets, as a TransferError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except BotoCoreError as e:
        reason = f"the archive cannot be reached ({type(e).__name__})"
        raise TransferError(reason, f"Check the network. {_RUN_AGAIN}") from None
    except ClientError as e:
        answer = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        gone = answer in (403, 404)
        remedy = _NEW_RELEASE if gone else _RUN_AGAIN
        raise TransferError(f"the archive answered {answer}", remedy, not gone) from None


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
    is_md5 = len(etag) == 32 and set(etag.lower()) <= set("0123456789abcdef")
    if len(body) != size or not is_md5:
        return len(body) == size
    return hashlib.md5(body, usedforsecurity=False).hexdigest() == etag.lower()


def _body(s3, bucket: str, key: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def _fetched(s3, bucket: str, key: str, size: int, etag: str) -> bytes | None:
    """The object as it is listed; None if it came cut short or damaged each time."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    for _ in range(TRIES):
        with contextlib.suppress(HTTPClientError, IncompleteReadError):  # the line was cut
            body = _body(s3, bucket, key)
            if _whole(body, size, etag):
                return body
    return None


def fetch_series(
    prefix: str, folder: Path, instances: int, size_bytes: int, endpoint: str = ""
) -> None:
    """Download all objects below a prefix into a folder; return only when they are proven whole.

    Args:
        prefix: `s3://bucket/series/`.
        folder: an existing, empty folder.
        instances, size_bytes: what the manifest says the series has.
        endpoint: of an S3 server other than Amazon's, such as http://127.0.0.1:9000.

    Raises:
        TransferError: it did not arrive whole, or the archive holds something else by now.
        ConfigError: boto3 is not installed.
    """
    bucket, key_prefix = _place(prefix)
    s3 = client(endpoint)
    with _faults():
        objects = listing(s3, bucket, key_prefix)
    listed = sum(size for size, _ in objects.values())
    if (len(objects), listed) != (instances, size_bytes):
        there = f"the archive lists {len(objects)} files of {listed} bytes"
        reason = f"{there} where the manifest says {instances} of {size_bytes}"
        raise TransferError(reason, _NEW_RELEASE, False)

    def one(key: str) -> bool:
        body = _fetched(s3, bucket, key, *objects[key])
        if body is not None:
            (folder / PurePosixPath(key).name).write_bytes(body)
        return body is not None

    with _faults(), futures.ThreadPoolExecutor(CONNECTIONS) as threads:
        arrived = list(threads.map(one, objects))
    if lost := arrived.count(False):
        said = f"{lost} of {instances} files did not arrive whole"
        raise TransferError(f"{said}, though each was asked for {TRIES} times")
    stored = list(folder.iterdir())
    if (len(stored), sum(f.stat().st_size for f in stored)) != (instances, size_bytes):
        raise TransferError(f"{len(stored)} files lie on disk where {instances} were fetched")
