"""The embedded cohort of the RadioGAN repository: its phantoms and their split."""

import csv
import itertools
import multiprocessing
import os
import tempfile
from pathlib import Path

from petphantom.exam import checksum
from petphantom.patient import Patient, patient_seed

# Exams per class as (training, held-out): the paper's proportions, with more of two rare classes.
COUNTS = {
    "normal": (675, 100),
    "head_neck": (422, 100),
    "oesophagus": (200, 100),
    "lung": (200, 100),
    "lymphoma": (225, 100),
}
# Exams for the final judgement: one per patient, this many a class, from these seeds on.
FINAL_FIRST, FINAL_COUNT = 700_000_000, 50


def _row(class_name: str, seed: int, patient: int, split: str) -> dict:
    return {
        "exam_id": f"phantom-{seed:05d}",
        "patient_id": f"phantom-p{patient:05d}",
        "class": class_name,
        "path": f"phantom:{class_name}/{seed}",
        "split": split,
        "seed": seed,
        "sex": Patient(seed).sex,
    }


def rows() -> list[dict]:
    """The cohort without checksums: interleaved classes, splits by patient.

    Any prefix holds the classes in nearly the cohort's proportions, with training and held-out
    exams mixed evenly.
    """
    found = []
    for index, (name, (train, test)) in enumerate(COUNTS.items()):
        total, given, seen = train + test, 0, 0
        split_of: dict[int, str] = {}
        for k in range(total):
            seed = 10000 * index + k
            patient = patient_seed(seed)
            exams = sum(patient_seed(seed + j) == patient for j in (0, 1) if k + j < total)
            if patient not in split_of:
                due = round((seen + exams) * test / total) - given
                split_of[patient] = "test" if due >= exams else "train"
                given += exams if split_of[patient] == "test" else 0
                seen += exams
            row = _row(name, seed, patient, split_of[patient])
            found.append((k / total, index, row))
    found.sort(key=lambda item: item[:2])
    return [row for _, _, row in found]


def final_rows() -> list[dict]:
    """Exams for the final test of a model: seeds that no training, tuning or threshold has used."""
    found = []
    for index, name in enumerate(COUNTS):
        seeds = (s for s in itertools.count(FINAL_FIRST + 1000 * index) if patient_seed(s) == s)
        found += [_row(name, s, s, "test") for s in itertools.islice(seeds, FINAL_COUNT)]
    return found


def write_manifest(path: Path | str, workers: int | None = None, final: bool = False) -> Path:
    """Write the cohort as csv with the SHA-256 of every exam, atomically.

    Args:
        path: the file, such as data_manifest/synthetic.csv.
        workers: processes that make the exams; None for one per core.
        final: the exams for the final judgement (`final_rows`) instead of the cohort.
    """
    path, table = Path(path), final_rows() if final else rows()
    jobs = [(row["class"], row["seed"]) for row in table]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for row, value in zip(table, pool.starmap(checksum, jobs, chunksize=16), strict=True):
            row["sha256"] = value
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        with open(part, "w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        os.replace(part, path)
    return path
