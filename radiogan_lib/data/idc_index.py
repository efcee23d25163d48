"""Which public FDG PET series can stand for the paper's classes: from the archive's index to data_manifest/public.csv.

The index of NCI's Imaging Data Commons comes with the package `idc-index` and is read offline. It has no diagnosis for
FDG-PET-CT-Lesions: that comes from a table which TCIA publishes and every user fetches, joined on the study. The
reasons for every rule are in data_manifest/README.md.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd

from radiogan_lib import paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data.cohort import split_by_patient

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
COLUMNS = [
    "collection",
    "patient_id",
    "study_uid",
    "series_uid",
    "class",
    "class_rule",
    "choice",
    "split",
    "instances",
    "megabytes",
    "manufacturer",
    "model",
    "licence",
    "doi",
    "s3_prefix",
]


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
