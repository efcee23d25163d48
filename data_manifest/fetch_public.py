"""Public FDG PET from NCI's Imaging Data Commons: fetched, projected, and listed as a cohort.

    python data_manifest/fetch_public.py --labels TABLE --per-class 20

Fetches series by series, keeps only the 2 mm MIP, and writes a cohort.csv for notebook 01: 826
exams (90 GB to transfer) need well under 1 GB of disk. What is finished is never fetched again. The
series are those of public.csv. The archive has no diagnosis for FDG-PET-CT-Lesions: that comes from
a table which TCIA publishes and every user fetches, joined on the study. The reasons for every rule
are in README.md beside this file.

The archive's own client returns as if nothing had happened when a transfer fails. Here every object
is compared with the listing (bytes, and MD5 where the ETag is one), and the series with the
manifest (number and bytes). boto3 asks again where the server is busy or the line is cut.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import shutil
import sys
import tempfile
import urllib.parse
from concurrent import futures
from pathlib import Path, PurePosixPath

import pandas as pd

from petsuv import ExamError
from radiogan_lib import paths
from radiogan_lib.config import ConfigError, RadioganError
from radiogan_lib.data import readers
from radiogan_lib.data.preparation import REJECTS

PUBLIC = paths.REPO / "data_manifest" / "public.csv"
LABELS_URL = "https://www.cancerimagingarchive.net/wp-content/uploads/Clinical-Metadata-FDG-PET_CT-Lesions.csv"
# The only collection with several classes: one site, one family of scanners.
ONE_SCANNER = "fdg_pet_ct_lesions"
DIAGNOSES = {
    "NEGATIVE": "normal",
    "LUNG_CANCER": "lung",
    "LYMPHOMA": "lymphoma",
    "MELANOMA": "melanoma",
}
DEFAULT_CLASSES = ["normal", "lung", "lymphoma"]  # of one scanner: else a GAN learns the scanner
_BUSY = ".fetching"  # folder of the series that are on disk right now
TRIES = 4  # of each object
CONNECTIONS = 16
_RUN_AGAIN = "Run the same command again: what is finished is kept."
_NEW_RELEASE = (
    "The archive's content has moved on; rebuild data_manifest/public.csv with a newer idc-index."
)


# Which exams


def read_labels(path: Path | str) -> pd.Series:
    """Diagnosis (our class names) per StudyInstanceUID from TCIA's clinical table, maybe gzipped.

    Series UIDs of that table are of an earlier release and match nothing: only the study joins.

    Raises:
        ConfigError: the file is missing, another table, or contradicts itself.
    """
    path = Path(path).expanduser()
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        table = pd.read_csv(io.BytesIO(raw), usecols=["Study UID", "diagnosis"], dtype=str)
    except (OSError, EOFError, ValueError) as e:
        raise ConfigError(
            f"{path.name} is not TCIA's clinical table ({type(e).__name__}); fetch {LABELS_URL} "
            "and give its path as --labels."
        ) from None
    table = table.drop_duplicates().dropna()
    unknown = sorted(set(table["diagnosis"]) - set(DIAGNOSES))
    if unknown or table["Study UID"].duplicated().any():
        fault = "an unknown diagnosis" if unknown else "two diagnoses of one study"
        raise ConfigError(f"{path.name} has {fault}; fetch {LABELS_URL} again.")
    return table.set_index("Study UID")["diagnosis"].map(DIAGNOSES)


def labelled(manifest: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The manifest with its empty classes filled from the clinical table.

    Raises:
        ConfigError: the table lacks studies of the manifest.
    """
    needs = manifest["class_rule"] == "diagnosis"
    joined = manifest["study_uid"].map(labels)
    if n := int((needs & joined.isna()).sum()):
        raise ConfigError(
            f"the clinical table has no diagnosis for {n} of the {needs.sum()} studies of "
            f"{ONE_SCANNER}; fetch {LABELS_URL} again."
        )
    return manifest.assign(**{"class": manifest["class"].where(~needs, joined)})


def read_manifest(path: Path | str = PUBLIC) -> pd.DataFrame:
    """public.csv with identifiers as text."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.astype({"choice": int, "instances": int, "megabytes": float})


def choose(
    labels_path: Path | str | None, classes: list[str], collections: list[str], per_class: int = 0
) -> pd.DataFrame:
    """The exams of a cohort: the first series of every study of these classes and collections.

    Args:
        labels_path: TCIA's clinical table; needed for the collection whose rule is `diagnosis`.
        classes, collections: what to take, classes in the cohort's order.
        per_class: at most so many of each class, four fifths of them training exams; 0 = all.

    Raises:
        ConfigError: an unknown name, a missing table, or nothing left.
    """
    manifest = read_manifest()
    if unknown := sorted(set(collections) - set(manifest["collection"])):
        known = ", ".join(manifest["collection"].unique())
        raise ConfigError(
            f"no collection {unknown[0]!r} in {paths.shown(PUBLIC)}; there are {known}."
        )
    exams = manifest[manifest["collection"].isin(collections) & (manifest["choice"] == 1)]
    if (exams["class_rule"] == "diagnosis").any():
        if labels_path is None:
            raise ConfigError(
                f"the diagnoses of {ONE_SCANNER} are TCIA's; fetch {LABELS_URL} and give its path "
                "as --labels."
            )
        exams = labelled(exams, read_labels(labels_path))
    if missing := [c for c in classes if not (exams["class"] == c).any()]:
        raise ConfigError(
            f"no public exam of class {', '.join(missing)} in these collections; there are "
            f"{', '.join(exams['class'].unique())}. Head and neck and oesophagus have no open "
            "source: see data_manifest/README.md."
        )
    held_out = max(round(per_class * 0.2), 1)
    most = {"train": per_class - held_out, "test": held_out}
    parts = [
        exams[(exams["class"] == name) & (exams["split"] == split)].head(n if per_class else None)
        for name in classes
        for split, n in most.items()
    ]
    return pd.concat(parts, ignore_index=True)


# One series, proven whole


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


# From series to projections


def stream(job: dict) -> dict:
    """Fetch one series, make its MIP, delete the series. Never raises.

    Args:
        job: `s3_prefix, instances, bytes, endpoint, series_uid`, and `scratch`, a folder.

    Returns:
        `mip` (rows, cols) float32 SUV at 2 mm, `spacing_mm` and `note`, or `reason`, `remedy` and
        `transient`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
            place, size = Path(folder), (job["instances"], job["bytes"])
            fetch_series(job["s3_prefix"], place, *size, job["endpoint"])
            _expect(place, job["series_uid"])
            mip, spacing, note = readers.read(folder)
        return {"mip": mip, "spacing_mm": spacing, "note": note}
    except TransferError as e:
        return {"reason": e.reason, "remedy": e.remedy, "transient": e.transient}
    except ExamError as e:
        remedy = "Nothing: it is listed and left out."
        return {"reason": e.reason, "remedy": remedy, "transient": False}
    except OSError as e:
        reason, remedy = f"the disk refused ({type(e).__name__})", "Make room, then run again."
    except Exception as e:  # one bad exam never stops the others
        reason, remedy = f"could not be read ({type(e).__name__}: {e})", "Please report it."
    return {"reason": reason, "remedy": remedy, "transient": True}


def _expect(folder: Path, series_uid: str) -> None:
    """The series on disk is the one of the manifest."""
    import pydicom

    first = next(iter(sorted(folder.iterdir())))
    try:
        ds = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        found = str(ds.SeriesInstanceUID)
    except (pydicom.errors.InvalidDicomError, AttributeError):
        raise ExamError("what was fetched is not DICOM") from None
    if found != series_uid:
        raise ExamError("what was fetched is another series than the manifest names")


def fetch(
    exams: pd.DataFrame,
    out_dir: Path | str,
    endpoint: str = "",
    workers: int = 2,
    scheduler: str = "threads",
) -> dict:
    """Stream the chosen series into 2 mm projections and a cohort.csv beside them; resumes.

    Args:
        exams: rows of the manifest with their classes, from `choose`.
        out_dir: folder for `<series>.mip.npz`, cohort.csv and rejects.csv.
        endpoint: of another S3 server than Amazon's.
        workers: series on disk at a time (about 0.1 GB each).
        scheduler: threads, or sync: one after the other.

    Returns:
        Numbers: fetched now, ready before, rejected, gigabytes moved.
    """
    out = Path(out_dir)
    scratch = out / _BUSY
    out.mkdir(parents=True, exist_ok=True)
    with readers.only_one(out / ".lock"):
        shutil.rmtree(scratch, ignore_errors=True)  # slices of a run that was killed
        scratch.mkdir(parents=True)
        table = exams.reset_index(drop=True)
        table["exam_id"] = [Path(p.rstrip("/")).name for p in table["s3_prefix"]]
        table["path"] = table["exam_id"] + readers.STORED
        table["bytes"] = [round(mb * 1e6) for mb in table["megabytes"]]
        jobs = [
            {
                "s3_prefix": e.s3_prefix,
                "instances": int(e.instances),
                "bytes": e.bytes,
                "series_uid": e.series_uid,
                "endpoint": endpoint,
                "scratch": str(scratch),
            }
            for e in table.itertuples()
        ]
        marks = [json.dumps([j["s3_prefix"], j["instances"], j["bytes"]]) for j in jobs]
        work = readers.Work(jobs, [out / p for p in table["path"]], marks)
        try:
            work.complete(stream, "fetching series", scheduler, workers)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return _write(out, table, work)


def _write(out: Path, table: pd.DataFrame, work: readers.Work) -> dict:
    """cohort.csv and rejects.csv; returns what `fetch` does."""
    columns = "exam_id patient_id class path split collection licence doi".split()
    paths.write_text(out / "cohort.csv", table.loc[work.good, columns].to_csv(index=False))
    rejects = [
        (table["exam_id"][i], table["s3_prefix"][i], r["reason"], r["remedy"])
        for i, r in enumerate(work.results)
        if "reason" in r
    ]
    listed = pd.DataFrame(rejects, columns=REJECTS)
    paths.write_text(out / "rejects.csv", listed.to_csv(index=False))
    now = [i for i in work.todo if i in set(work.good)]
    return {
        "fetched": len(now),
        "ready": len(work.good) - len(now),
        "rejected": len(rejects),
        "gigabytes": round(float(table["bytes"][now].sum()) / 1e9, 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors are one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--labels", help="TCIA's clinical table, csv or csv.gz")
    add("--out", type=Path, default=paths.home() / "data" / "public")
    add("--classes", nargs="+", default=DEFAULT_CLASSES)
    add("--collections", nargs="+", default=[ONE_SCANNER])
    add("--per-class", type=int, default=0, help="at most so many of each class; 0 = all")
    add("--workers", type=int, default=2)
    add("--endpoint", default="", help="another S3 server, such as http://127.0.0.1:9000")
    add("--list", action="store_true", help="only say what would be fetched")
    try:
        return _fetch(parser.parse_args(arguments))
    except RadioganError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1


def _fetch(given) -> int:
    if given.per_class < 0 or given.workers < 0:
        raise ConfigError(
            "--per-class and --workers cannot be negative; give 0 for all and one per core."
        )
    exams = choose(given.labels, given.classes, given.collections, given.per_class)
    of_class = ", ".join(f"{c} {(exams['class'] == c).sum()}" for c in given.classes)
    gigabytes = exams["megabytes"].sum() / 1000
    print(f"{len(exams)} exams, {gigabytes:.3g} GB to transfer: {of_class}", flush=True)
    if given.list:
        return 0
    done = fetch(exams, given.out, given.endpoint, given.workers)
    print(
        f"{done['fetched']} exams fetched now ({done['gigabytes']} GB), {done['ready']} were ready "
        f"before, {done['rejected']} were rejected (rejects.csv)."
    )
    cohort = (given.out / "cohort.csv").resolve()
    at_home = cohort.is_relative_to(paths.home())
    print(f"Next: make run COHORT={paths.shown(cohort) if at_home else given.out / 'cohort.csv'}")
    return 0 if done["fetched"] + done["ready"] else 1


if __name__ == "__main__":
    sys.exit(main())
