"""Public FDG PET from NCI's Imaging Data Commons: `python -m radiogan_lib.data.idc fetch`.

Fetches series by series, keeps only the 2 mm MIP, and writes a cohort.csv for notebook 01: 826
exams (90 GB to transfer) need well under 1 GB of disk. What is finished is never fetched again. The
series are those of data_manifest/public.csv. The archive has no diagnosis for FDG-PET-CT-Lesions:
that comes from a table which TCIA publishes and every user fetches, joined on the study. The
reasons for every rule are in data_manifest/README.md.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from petsuv import ExamError
from radiogan_lib import paths
from radiogan_lib.config import ConfigError, RadioganError
from radiogan_lib.data import readers, s3
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


def stream(job: dict) -> dict:
    """Fetch one series, make its MIP, delete the series. Runs in a worker; never raises.

    Args:
        job: `s3_prefix, instances, bytes, endpoint, series_uid`, and `scratch`, a folder.

    Returns:
        `mip` (rows, cols) float32 SUV at 2 mm, `spacing_mm` and `note`, or `reason`, `remedy` and
        `transient`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
            place, size = Path(folder), (job["instances"], job["bytes"])
            s3.fetch_series(job["s3_prefix"], place, *size, job["endpoint"])
            _expect(place, job["series_uid"])
            mip, spacing, note = readers.read(folder)
        return {"mip": mip, "spacing_mm": spacing, "note": note}
    except s3.TransferError as e:
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
    scheduler: str | None = None,
) -> dict:
    """Stream the chosen series into 2 mm projections and a cohort.csv beside them; resumes.

    Args:
        exams: rows of the manifest with their classes, from `choose`.
        out_dir: folder for `<series>.mip.npz`, cohort.csv and rejects.csv.
        endpoint: of another S3 server than Amazon's.
        workers: series on disk at a time (about 0.1 GB each).
        scheduler: processes, threads or sync, on this machine.

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
        prog="python -m radiogan_lib.data.idc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", choices=["fetch"], help="stream exams into projections and a cohort.csv")
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
