"""Builds public.csv from the index of NCI's Imaging Data Commons, and counts what is open.

    python data_manifest/build_public.py manifest --labels TABLE
    python data_manifest/build_public.py counts --labels TABLE

The index comes with the package `idc-index` and is read offline. The reasons for every rule are in
README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from fetch_public import ONE_SCANNER, PUBLIC, labelled, read_labels, read_manifest

from radiogan_lib import paths
from radiogan_lib.config import ConfigError, RadioganError
from radiogan_lib.data.cohort import split_by_patient

# Elsewhere everybody in a collection has the same disease. Left out: collections of mixed cancers
# without a diagnosis in the index (eay131, varepop_apollo), of other tracers, of animals and
# phantoms, and of rotating pictures (cmb_gec).
LUNG = """
acrin_nsclc_fdg_pet nsclc_radiogenomics lung_pet_ct_dx rider_lung_pet_ct anti_pd_1_lung tcga_luad
tcga_lusc cptac_luad cptac_lscc cmb_lca
""".split()
CLASS_OF = dict.fromkeys(LUNG, "lung") | {
    "soft_tissue_sarcoma": "sarcoma",
    "cc_tumor_heterogeneity": "cervix",
}
PAPER = {"normal": 675, "head_neck": 422, "oesophagus": 97, "lung": 189, "lymphoma": 225}
SLICES = (150, 700)  # fewer is no torso, more is several passes or gates in one series
# Names of series that are not attenuation-corrected, not axial, not one static frame, or no
# emission at all.
NOT_USABLE = (
    r"(?:^|[^a-z])(?:nac|nc|no[ _]?ac|non[ _-]?ac|no[ _]?atten?\w*|noattn)(?:[^a-z]|$)|nac\.|_nac|"
    r"nac_|wbnac|un[ -]?cor|unattn|without|mip|proj|cor(?:onal)?(?:s|[ _]|$)|"
    r"sag(?:ittal)?(?:s|[ _]|$)|tomo(?:[^a-z]|$)|mpr|"
    r"gat(?:e|ed|ing)|resp|bin\d|\dbin|phase|\d+ms|cine|dynamic|trans(?:mission|[_ ])|brain|head|"
    r"(?:^|[^a-z])seg(?:[^a-z]|$)|statistics|results|offline|topogram|screen"
)
COLUMNS = (
    "collection patient_id study_uid series_uid class class_rule choice split instances megabytes "
    "manufacturer model licence doi s3_prefix"
).split()


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
    file = idc_index_data.IDC_INDEX_PARQUET_FILEPATH
    return pd.read_parquet(file, filters=[("Modality", "==", "PT")])


def usable(index: pd.DataFrame) -> pd.DataFrame:
    """The series that may be used, as far as the index can tell; the reader checks again."""
    description = index["SeriesDescription"].fillna("").str.lower()
    return index[
        index["collection_id"].isin([ONE_SCANNER, *CLASS_OF])
        & (index["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.128")
        & index["instanceCount"].between(*SLICES)
        & ~description.str.contains(NOT_USABLE, regex=True)
    ]


def build(index: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The manifest: one row per usable series, split by patient so that classes keep their share.

    `choice` 1 is the series to use of a study (the one with most slices), 2 … its alternatives.
    `class` is empty where the rule is `diagnosis`: those labels are TCIA's, and joined by
    `labelled`; here they only balance the split.
    """
    order = ["collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"]
    series = usable(index).sort_values(order, ignore_index=True)
    one_scanner = series["collection_id"] == ONE_SCANNER
    prefix = "s3://" + series["aws_bucket"] + "/" + series["crdc_series_uuid"] + "/"
    out = pd.DataFrame(
        {
            "collection": series["collection_id"],
            "patient_id": series["PatientID"],
            "study_uid": series["StudyInstanceUID"],
            "series_uid": series["SeriesInstanceUID"],
            "class": series["collection_id"].map(CLASS_OF).fillna(""),
            "class_rule": one_scanner.map({True: "diagnosis", False: "collection"}),
            "instances": series["instanceCount"].astype(int),
            "megabytes": series["series_size_MB"].round(6),
            "manufacturer": series["Manufacturer"].fillna(""),
            "model": series["ManufacturerModelName"].fillna(""),
            "licence": series["license_short_name"],
            "doi": series["source_DOI"],
            "s3_prefix": prefix,
        }
    )
    best = out.sort_values(["study_uid", "instances", "series_uid"], ascending=[True, False, True])
    out["choice"] = best.groupby("study_uid").cumcount() + 1
    strata = out["collection"] + ":" + labelled(out, labels)["class"]
    out["split"] = split_by_patient(out["collection"] + ":" + out["patient_id"], strata)
    return out[COLUMNS]


def counts(manifest: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The data card's table: what the one-scanner recipe and all collections hold of a class."""
    exams = labelled(manifest, labels)
    exams = exams[exams["choice"] == 1]
    rows = {}
    for name in [*PAPER, *sorted(set(exams["class"]) - set(PAPER))]:
        every = exams[exams["class"] == name]
        one = every[every["collection"] == ONE_SCANNER]
        rows[name] = {
            "paper": PAPER.get(name, 0),
            "one_scanner_studies": len(one),
            "one_scanner_patients": one["patient_id"].nunique(),
            "train": int((one["split"] == "train").sum()),
            "test": int((one["split"] == "test").sum()),
            "gigabytes": round(one["megabytes"].sum() / 1000, 2),
            "all_collections_studies": len(every),
            "shortfall": max(PAPER.get(name, 0) - len(one), 0),
        }
    integers = dict.fromkeys((k for k in rows["lung"] if k != "gigabytes"), int)
    return pd.DataFrame.from_dict(rows, orient="index").astype(integers).rename_axis("class")


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors are one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["manifest", "counts"])
    parser.add_argument("--labels", required=True, help="TCIA's clinical table, csv or csv.gz")
    parser.add_argument("--out", type=Path, default=PUBLIC, help="of the manifest")
    given = parser.parse_args(arguments)
    try:
        labels = read_labels(given.labels)
        if given.command == "counts":
            print(counts(read_manifest(), labels).to_string())
            return 0
        table = build(read_index(), labels)
        paths.write_text(given.out, table.to_csv(index=False))
    except RadioganError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1
    studies = table["study_uid"].nunique()
    print(f"{len(table)} series of {studies} studies → {paths.shown(given.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
