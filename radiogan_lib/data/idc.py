"""Public FDG PET from NCI's Imaging Data Commons: `python -m radiogan_lib.data.idc`.

    manifest  build data_manifest/public.csv from the installed idc-index
    counts    what is open for each class of the paper, beside the paper's counts
    fetch     series → SUV → 2 mm MIP → delete the series; makes a cohort.csv for notebook 01

Only projections stay on disk, so 826 exams (90 GB to transfer) need well under 1 GB. What is finished is never fetched
again, and a dataset with other settings is prepared from the projections without the network.
The index of the archive comes with the package `idc-index` and is read offline. It has no diagnosis for
FDG-PET-CT-Lesions: that comes from a table which TCIA publishes and every user fetches, joined on the study. The
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
from radiogan_lib.data import executors, readers, s3
from radiogan_lib.data.cohort import split_by_patient
from radiogan_lib.machine import Progress

PUBLIC = paths.REPO / "data_manifest" / "public.csv"
LABELS_URL = "https://www.cancerimagingarchive.net/wp-content/uploads/Clinical-Metadata-FDG-PET_CT-Lesions.csv"
ONE_SCANNER = "fdg_pet_ct_lesions"  # the only collection with several classes; one site, one family of scanners
DIAGNOSES = {
    "NEGATIVE": "normal",
    "LUNG_CANCER": "lung",
    "LYMPHOMA": "lymphoma",
    "MELANOMA": "melanoma",
}
# Elsewhere everybody in a collection has the same disease. Left out: collections of mixed cancers without a diagnosis
# in the index (eay131, varepop_apollo), of other tracers, of animals and phantoms, and of rotating pictures (cmb_gec).
CLASS_OF = {
    "acrin_nsclc_fdg_pet": "lung",
    "nsclc_radiogenomics": "lung",
    "lung_pet_ct_dx": "lung",
    "rider_lung_pet_ct": "lung",
    "anti_pd_1_lung": "lung",
    "tcga_luad": "lung",
    "tcga_lusc": "lung",
    "cptac_luad": "lung",
    "cptac_lscc": "lung",
    "cmb_lca": "lung",
    "soft_tissue_sarcoma": "sarcoma",
    "cc_tumor_heterogeneity": "cervix",
}
PAPER = {"normal": 675, "head_neck": 422, "oesophagus": 97, "lung": 189, "lymphoma": 225}
SLICES = (150, 700)  # fewer is no torso, more is several passes or gates in one series
# Names of series that are not attenuation-corrected, not axial, not one static frame, or not emission at all.
NOT_USABLE = (
    r"(?:^|[^a-z])(?:nac|nc|no[ _]?ac|non[ _-]?ac|no[ _]?atten?\w*|noattn)(?:[^a-z]|$)|nac\.|_nac|nac_|wbnac|"
    r"un[ -]?cor|unattn|without|"
    r"mip|proj|cor(?:onal)?(?:s|[ _]|$)|sag(?:ittal)?(?:s|[ _]|$)|tomo(?:[^a-z]|$)|mpr|"
    r"gat(?:e|ed|ing)|resp|bin\d|\dbin|phase|\d+ms|cine|dynamic|trans(?:mission|[_ ])|brain|head|"
    r"(?:^|[^a-z])seg(?:[^a-z]|$)|statistics|results|offline|topogram|screen"
)
COLUMNS = (
    "collection patient_id study_uid series_uid class class_rule choice split instances megabytes "
    "manufacturer model licence doi s3_prefix"
).split()
_BUSY = ".fetching"  # folder of the series that are on disk right now
DEFAULT_CLASSES = ["normal", "lung", "lymphoma"]  # of one scanner: else a GAN learns the scanner


def read_index() -> pd.DataFrame:
    """All PET series of the installed index.

    Raises:
        ConfigError: idc-index is not installed.
    """
    try:
        import idc_index_data
    except ImportError:
        raise ConfigError(
            "building the manifest needs the archive's index; install it with "
            "`pip install 'radiogan-reproduced[idc]'`."
        ) from None
    return pd.read_parquet(
        idc_index_data.IDC_INDEX_PARQUET_FILEPATH, filters=[("Modality", "==", "PT")]
    )


def read_labels(path: Path | str) -> pd.Series:
    """Diagnosis (our class names) per StudyInstanceUID from TCIA's clinical table, plain or gzipped.

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
            f"{path.name} is not TCIA's clinical table ({type(e).__name__}); fetch {LABELS_URL} and give "
            "its path as --labels."
        ) from None
    table = table.drop_duplicates().dropna()
    unknown = sorted(set(table["diagnosis"]) - set(DIAGNOSES))
    if unknown or table["Study UID"].duplicated().any():
        fault = "an unknown diagnosis" if unknown else "two diagnoses of one study"
        raise ConfigError(f"{path.name} has {fault}; fetch {LABELS_URL} again.")
    return table.set_index("Study UID")["diagnosis"].map(DIAGNOSES)


def usable(index: pd.DataFrame) -> pd.DataFrame:
    """The series that may be used, as far as the index can tell; the reader checks the headers again."""
    description = index["SeriesDescription"].fillna("").str.lower()
    return index[
        index["collection_id"].isin([ONE_SCANNER, *CLASS_OF])
        & (index["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.128")
        & index["instanceCount"].between(*SLICES)
        & ~description.str.contains(NOT_USABLE, regex=True)
    ]


def build(index: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The manifest: one row per usable series, with a patient-level split that keeps every class's share.

    `choice` 1 is the series to use of a study (the one with most slices), 2 … its alternatives. `class` is empty where
    the rule is `diagnosis`: those labels are TCIA's, and joined by `labelled`; here they only balance the split.
    """
    series = usable(index).sort_values(
        ["collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"]
    )
    out = pd.DataFrame(
        {
            "collection": series["collection_id"],
            "patient_id": series["PatientID"],
            "study_uid": series["StudyInstanceUID"],
            "series_uid": series["SeriesInstanceUID"],
            "class": series["collection_id"].map(CLASS_OF).fillna(""),
            "class_rule": [
                "diagnosis" if c == ONE_SCANNER else "collection" for c in series["collection_id"]
            ],
            "instances": series["instanceCount"].astype(int),
            "megabytes": series["series_size_MB"].round(6),
            "manufacturer": series["Manufacturer"].fillna(""),
            "model": series["ManufacturerModelName"].fillna(""),
            "licence": series["license_short_name"],
            "doi": series["source_DOI"],
            "s3_prefix": "s3://" + series["aws_bucket"] + "/" + series["crdc_series_uuid"] + "/",
        }
    ).reset_index(drop=True)
    order = out.sort_values(["study_uid", "instances", "series_uid"], ascending=[True, False, True])
    out["choice"] = order.groupby("study_uid").cumcount() + 1
    strata = out["collection"] + ":" + labelled(out, labels)["class"]
    out["split"] = split_by_patient(out["collection"] + ":" + out["patient_id"], strata)
    return out[COLUMNS]


def labelled(manifest: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The manifest with its empty classes filled from the clinical table.

    Raises:
        ConfigError: the table lacks studies of the manifest.
    """
    needs = manifest["class_rule"] == "diagnosis"
    joined = manifest["study_uid"].map(labels)
    if n := int((needs & joined.isna()).sum()):
        raise ConfigError(
            f"the clinical table has no diagnosis for {n} of the {needs.sum()} studies of {ONE_SCANNER}; "
            f"fetch {LABELS_URL} again."
        )
    return manifest.assign(**{"class": manifest["class"].where(~needs, joined)})


def read_manifest(path: Path | str = PUBLIC) -> pd.DataFrame:
    """public.csv with identifiers as text."""
    return pd.read_csv(
        path,
        dtype={c: str for c in COLUMNS if c not in ("choice", "instances", "megabytes")},
        keep_default_na=False,
    )


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
        raise ConfigError(
            f"no collection {unknown[0]!r} in {paths.shown(PUBLIC)}; there are "
            f"{', '.join(manifest['collection'].unique())}."
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
            f"{', '.join(exams['class'].unique())}. Head and neck and oesophagus have no open source: "
            "see data_manifest/README.md."
        )
    parts = []
    for name in classes:
        for split in ("train", "test"):
            part = exams[(exams["class"] == name) & (exams["split"] == split)]
            held_out = max(round(per_class * 0.2), 1)
            parts.append(
                part.head(
                    (per_class - held_out if split == "train" else held_out) if per_class else None
                )
            )
    return pd.concat(parts, ignore_index=True)


def counts(manifest: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The data card's table: for every class of the paper, what the one-scanner recipe and all collections hold."""
    exams = labelled(manifest, labels)
    exams = exams[exams["choice"] == 1]
    rows = []
    for name in [*PAPER, *sorted(set(exams["class"]) - set(PAPER))]:
        every = exams[exams["class"] == name]
        one = every[every["collection"] == ONE_SCANNER]
        rows.append(
            {
                "class": name,
                "paper": PAPER.get(name, 0),
                "one_scanner_studies": len(one),
                "one_scanner_patients": one["patient_id"].nunique(),
                "train": int((one["split"] == "train").sum()),
                "test": int((one["split"] == "test").sum()),
                "gigabytes": round(one["megabytes"].sum() / 1000, 2),
                "all_collections_studies": len(every),
                "shortfall": max(PAPER.get(name, 0) - len(one), 0),
            }
        )
    return pd.DataFrame(rows).set_index("class")


def stream(job: dict) -> dict:
    """Fetch one series, make its MIP, delete the series. Runs in a worker; never raises for a bad exam.

    Args:
        job: `s3_prefix, instances, bytes, endpoint, series_uid`, and `scratch`, a folder for the slices.

    Returns:
        `mip` (rows, cols) float32 SUV at 2 mm, `spacing_mm`, `note`, `again` (files asked for twice), or `reason`,
        `remedy` and `transient`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
            again = s3.fetch_series(
                job["s3_prefix"], Path(folder), job["instances"], job["bytes"], job["endpoint"]
            )
            _expect(Path(folder), job["series_uid"])
            mip, spacing, note = readers.read(folder)
        return {"mip": mip, "spacing_mm": [float(v) for v in spacing], "note": note, "again": again}
    except s3.TransferError as e:
        return {"reason": e.reason, "remedy": e.remedy, "transient": e.transient}
    except ExamError as e:
        return {
            "reason": e.reason,
            "remedy": "Nothing: it is listed and left out.",
            "transient": False,
        }
    except OSError as e:
        return {
            "reason": f"the disk refused ({type(e).__name__})",
            "remedy": "Make room, then run again.",
            "transient": True,
        }
    except Exception as e:  # one bad exam never stops the others
        return {
            "reason": f"could not be read ({type(e).__name__}: {e})",
            "remedy": "Please report it.",
            "transient": True,
        }


def _expect(folder: Path, series_uid: str) -> None:
    """The series on disk is the one of the manifest."""
    import pydicom

    first = next(iter(sorted(folder.iterdir())))
    try:
        found = pydicom.dcmread(
            first, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
        ).SeriesInstanceUID
    except (pydicom.errors.InvalidDicomError, AttributeError):
        raise ExamError("what was fetched is not DICOM") from None
    if str(found) != series_uid:
        raise ExamError("what was fetched is another series than the manifest names")


def fetch(
    exams: pd.DataFrame,
    out_dir: Path | str,
    endpoint: str = "",
    workers: int = 2,
    scheduler: str | None = None,
) -> dict:
    """Stream the chosen series into 2 mm projections and a cohort.csv beside them; continues where it was stopped.

    Args:
        exams: rows of the manifest with their classes, from `choose`.
        out_dir: folder for `<series>.mip.npz`, cohort.csv and rejects.csv.
        endpoint: of another S3 server than Amazon's.
        workers: series on disk at a time (about 0.1 GB each).
        scheduler: processes, threads or sync, on this machine.

    Returns:
        Numbers: fetched now, ready before, rejected, gigabytes moved, files asked for again.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    with readers.only_one(out / ".lock"):
        return _fetch_alone(exams, out, endpoint, workers, scheduler)


def _fetch_alone(
    exams: pd.DataFrame, out: Path, endpoint: str, workers: int, scheduler: str | None
) -> dict:
    scratch = out / _BUSY
    shutil.rmtree(scratch, ignore_errors=True)  # slices of a run that was killed
    scratch.mkdir(parents=True)
    names = [Path(p.rstrip("/")).name for p in exams["s3_prefix"]]
    files = [out / f"{name}{readers.STORED}" for name in names]
    sizes = [round(mb * 1e6) for mb in exams["megabytes"]]
    marks = [
        json.dumps([p, int(n), size])
        for p, n, size in zip(exams["s3_prefix"], exams["instances"], sizes)
    ]
    results: list[dict | None] = [readers.recall(f, m, pixels=False) for f, m in zip(files, marks)]
    todo = [i for i, r in enumerate(results) if r is None]
    jobs = [
        {
            "s3_prefix": exams["s3_prefix"].iloc[i],
            "instances": int(exams["instances"].iloc[i]),
            "bytes": sizes[i],
            "series_uid": exams["series_uid"].iloc[i],
            "endpoint": endpoint,
            "scratch": str(scratch),
        }
        for i in todo
    ]
    try:
        with Progress(len(todo), "fetching series", lines=20) as progress:
            for k, result in executors.run(stream, jobs, scheduler, workers):
                i = todo[k]
                if isinstance(result, executors.Died):
                    result = {
                        "reason": result.reason,
                        "remedy": "Use fewer workers.",
                        "transient": True,
                    }
                if not result.get("transient"):
                    readers.store(files[i], marks[i], result)
                results[i] = {key: v for key, v in result.items() if key != "mip"}
                progress.update(
                    note=f"{sum(sizes[j] for j in todo[: progress.done + 1]) / 1e9:.1f} GB"
                )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    good = [i for i, r in enumerate(results) if "reason" not in r]
    kept = exams.reset_index(drop=True)[
        ["patient_id", "class", "split", "collection", "licence", "doi"]
    ]
    cohort = kept.assign(exam_id=names, path=[f.name for f in files]).iloc[good]
    first = ["exam_id", "patient_id", "class", "path", "split"]
    paths.write_text(
        out / "cohort.csv", cohort[first + [c for c in kept if c not in first]].to_csv(index=False)
    )
    rejects = [
        {
            "exam": names[i],
            "file": exams["s3_prefix"].iloc[i],
            "reason": r["reason"],
            "remedy": r["remedy"],
        }
        for i, r in enumerate(results)
        if "reason" in r
    ]
    listed = pd.DataFrame(rejects, columns=["exam", "file", "reason", "remedy"])
    paths.write_text(out / "rejects.csv", listed.to_csv(index=False))
    now = [i for i in todo if "reason" not in results[i]]
    return {
        "fetched": len(now),
        "ready": len(good) - len(now),
        "rejected": len(rejects),
        "gigabytes": round(sum(sizes[i] for i in now) / 1e9, 3),
        "again": sum(results[i].get("again", 0) for i in now),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors are one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.data.idc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("manifest", "build public.csv"),
        ("counts", "the data card's numbers"),
        ("fetch", "stream exams into projections and a cohort.csv"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--labels", required=name != "fetch", help="TCIA's clinical table, csv or csv.gz"
        )
        if name == "manifest":
            command.add_argument("--out", type=Path, default=PUBLIC)
        if name == "fetch":
            command.add_argument("--out", type=Path, default=paths.home() / "data" / "public")
            command.add_argument("--classes", nargs="+", default=DEFAULT_CLASSES)
            command.add_argument("--collections", nargs="+", default=[ONE_SCANNER])
            command.add_argument(
                "--per-class", type=int, default=0, help="at most so many of each class; 0 = all"
            )
            command.add_argument("--workers", type=int, default=2)
            command.add_argument(
                "--endpoint", default="", help="another S3 server, such as http://127.0.0.1:9000"
            )
            command.add_argument(
                "--list", action="store_true", help="only say what would be fetched"
            )
    given = parser.parse_args(arguments)
    try:
        return {"manifest": _manifest, "counts": _counts, "fetch": _fetch}[given.command](given)
    except RadioganError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1


def _manifest(given) -> int:
    table = build(read_index(), read_labels(given.labels))
    paths.write_text(given.out, table.to_csv(index=False))
    print(
        f"{len(table)} series of {table['study_uid'].nunique()} studies → {paths.shown(given.out)}"
    )
    return 0


def _counts(given) -> int:
    print(counts(read_manifest(), read_labels(given.labels)).to_string())
    return 0


def _fetch(given) -> int:
    if given.per_class < 0 or given.workers < 0:
        raise ConfigError(
            "--per-class and --workers cannot be negative; give 0 for all and one per core."
        )
    exams = choose(given.labels, given.classes, given.collections, given.per_class)
    print(
        f"{len(exams)} exams, {exams['megabytes'].sum() / 1000:.3g} GB to transfer: "
        + ", ".join(f"{c} {(exams['class'] == c).sum()}" for c in given.classes),
        flush=True,
    )
    if given.list:
        return 0
    done = fetch(exams, given.out, given.endpoint, given.workers)
    print(
        f"{done['fetched']} exams fetched now ({done['gigabytes']} GB, {done['again']} files asked for again), "
        f"{done['ready']} were ready, {done['rejected']} rejected (rejects.csv)."
    )
    cohort = given.out / "cohort.csv"
    print(
        f"Next: make run COHORT={paths.shown(cohort) if cohort.resolve().is_relative_to(paths.home()) else cohort}"
    )
    return 0 if done["fetched"] + done["ready"] else 1


if __name__ == "__main__":
    sys.exit(main())
