"""The embedded cohort: which phantoms make it up, how they are split, and their checksums.

`python -m radiogan_lib.data.phantom --manifest` writes data_manifest/synthetic.csv again.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
from pathlib import Path

from radiogan_lib import paths
from radiogan_lib.data import anatomy
from radiogan_lib.data.phantom import checksum

MANIFEST = paths.REPO / "data_manifest" / "synthetic.csv"
# Exams per class as (training, held-out): the paper's proportions, with more of the two rare classes.
COUNTS = {
    "normal": (675, 100),
    "head_neck": (422, 100),
    "oesophagus": (200, 100),
    "lung": (200, 100),
    "lymphoma": (225, 100),
}


def manifest_rows() -> list[dict]:
    """The embedded cohort without checksums: interleaved classes, splits by patient.

    Any prefix holds the classes in nearly the cohort's proportions, with training and held-out exams mixed evenly.
    """
    rows = []
    for index, (name, (train, test)) in enumerate(COUNTS.items()):
        total, given, seen = train + test, 0, 0
        split_of: dict[int, str] = {}
        for k in range(total):
            seed = 10000 * index + k
            patient = anatomy.patient_seed(seed)
            exams = sum(anatomy.patient_seed(seed + j) == patient for j in (0, 1) if k + j < total)
            if patient not in split_of:
                due = round((seen + exams) * test / total) - given
                split_of[patient] = "test" if due >= exams else "train"
                given += exams if split_of[patient] == "test" else 0
                seen += exams
            rows.append(
                (
                    k / total,
                    index,
                    {
                        "exam_id": f"phantom-{seed:05d}",
                        "patient_id": f"phantom-p{patient:05d}",
                        "class": name,
                        "path": f"phantom:{name}/{seed}",
                        "split": split_of[patient],
                        "seed": seed,
                        "sex": anatomy.Patient(seed).sex,
                    },
                )
            )
    rows.sort(key=lambda r: r[:2])
    return [r[2] for r in rows]


def write_manifest(
    path: Path = MANIFEST, workers: int | None = None, checksums: bool = True
) -> Path:
    """Write the embedded cohort's csv; with checksums it makes every exam once."""
    rows = manifest_rows()
    if checksums:
        jobs = [(r["class"], r["seed"]) for r in rows]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for row, value in zip(rows, pool.starmap(checksum, jobs, chunksize=16)):
                row["sha256"] = value
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return paths.write_text(Path(path), text.getvalue())
