"""Public FDG PET from NCI's Imaging Data Commons: `python -m radiogan_lib.data.idc`.

    manifest  build data_manifest/public.csv from the installed idc-index
    counts    what is open for each class of the paper, beside the paper's counts
    fetch     series → SUV → 2 mm MIP → delete the series; makes a cohort.csv for notebook 01

Only projections stay on disk, so 826 exams (90 GB to transfer) need well under 1 GB. What is finished is never fetched
again, and a dataset with other settings is prepared from the projections without the network.
Explained in data_manifest/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from radiogan_lib import paths
from radiogan_lib.config import ConfigError, RadioganError
from radiogan_lib.data import idc_index
from radiogan_lib.data.idc_fetch import fetch, stream

__all__ = ["fetch", "main", "stream"]

DEFAULT_CLASSES = [
    "normal",
    "lung",
    "lymphoma",
]  # of one scanner: otherwise a GAN learns the scanner (README)


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
            command.add_argument("--out", type=Path, default=idc_index.PUBLIC)
        if name == "fetch":
            command.add_argument("--out", type=Path, default=paths.home() / "data" / "public")
            command.add_argument("--classes", nargs="+", default=DEFAULT_CLASSES)
            command.add_argument("--collections", nargs="+", default=[idc_index.ONE_SCANNER])
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
    table = idc_index.build(idc_index.read_index(), idc_index.read_labels(given.labels))
    paths.write_text(given.out, table.to_csv(index=False))
    print(
        f"{len(table)} series of {table['study_uid'].nunique()} studies → {paths.shown(given.out)}"
    )
    return 0


def _counts(given) -> int:
    print(
        idc_index.counts(idc_index.read_manifest(), idc_index.read_labels(given.labels)).to_string()
    )
    return 0


def _fetch(given) -> int:
    if given.per_class < 0 or given.workers < 0:
        raise ConfigError(
            "--per-class and --workers cannot be negative; give 0 for all and one per core."
        )
    exams = idc_index.choose(given.labels, given.classes, given.collections, given.per_class)
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
