"""The manifest of the real pictures, and the search for them in whatever is committed.

`python tests/real_pictures.py FOLDER` writes data_manifest/real.csv from the folder with the
pictures and their csv.
"""

import base64
import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageSequence
from scipy.fft import dctn

from radiogan_lib import paths
from radiogan_lib.data import fit_to_canvas, pictures

MANIFEST = paths.REPO / "data_manifest" / "real.csv"
REPOSITORY_FOLDER = "tumor-segmentation/data"  # of github.com/amboltio/DM-i-AI-2023
FIELDS = {"fingerprint": (900.0, 540.0), "fingerprint_whole": (1280.0, 768.0)}
WINDOW = 0.7  # share of the window that figures show as black
AIR = 0.06  # share of the shown range below which a pixel is background
SMALLEST = (40, 18)  # pixels; a smaller picture shows nobody
# Of 191 bits. Different exams differ in 0.19 or more; an exam shown in a figure differs from itself
# in 0.06 as a rule.
SAME = 0.14
BASIS = {
    "normal": "folder controls: no PET-positive malignant lesion in TCIA's "
    "clinical table (NEGATIVE)",
    "tumour": "folder patients; which of the three cancers is not known",
}
MATCHED = (
    "folder patients; heights matched in order with the slice counts of TCIA's clinical table "
    "(posterior above 0.99)"
)


def body(shown: np.ndarray) -> np.ndarray | None:
    """The part of a picture (0 air, 1 black) that holds the body; None where there is none of a
    body's shape."""
    inside = shown > AIR
    rows, columns = (np.flatnonzero(inside.mean(axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    cut = shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if cut.shape[0] < SMALLEST[0] or cut.shape[1] < SMALLEST[1]:
        return None
    return cut if 0.9 < cut.shape[0] / cut.shape[1] < 6 else None


def fingerprint(shown: np.ndarray) -> np.ndarray | None:
    """191 bits: which coarse waves (DCT) of the body are stronger than the median; no picture can
    be made of them."""
    cut = body(shown)
    if cut is None:
        return None
    small = np.asarray(
        Image.fromarray(cut.astype(np.float32)).resize((40, 64), Image.Resampling.BOX)
    )
    waves = dctn(np.sqrt(np.clip(small, 0, None)), norm="ortho")[:16, :12].ravel()[1:]
    return waves > np.median(waves)


def text(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()


def bits(value: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(value), np.uint8))[:191].astype(bool)


def known() -> np.ndarray:
    """(n, 191) fingerprints of the manifest, both fields of view."""
    manifest = pd.read_csv(MANIFEST, dtype=str)
    return np.stack([bits(v) for name in FIELDS for v in manifest[name]])


def panels(shown: np.ndarray, depth: int = 9) -> list[np.ndarray]:
    """The picture and, again and again, its parts between empty rows or columns, or lines."""
    found = [shown]
    if depth == 0 or min(shown.shape) < SMALLEST[1] or shown.shape[0] < SMALLEST[0]:
        return []
    for axis in (1, 0):
        empty = (shown > AIR).mean(axis) <= 0.004
        full = ~empty & ((shown > 0.6).mean(axis) < 0.85)  # the line of a frame separates like air
        edges = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]]).astype(int)))
        parts = list(zip(edges[::2], edges[1::2]))
        if parts and parts != [(0, shown.shape[1 - axis])]:
            for start, end in parts:
                part = shown[start:end] if axis == 1 else shown[:, start:end]
                found += panels(part, depth - 1)
            return found
    return found


def exams_in(image: Image.Image, fingerprints: np.ndarray) -> int:
    """How many parts of an image, dark or bright as high uptake, look like one of the exams."""
    grey = np.asarray(image.convert("RGBA").convert("RGB").convert("L"), np.float32) / 255
    hits = 0
    for shown in (1 - grey, grey):
        for part in panels(shown):
            own = fingerprint(part)
            hits += own is not None and bool(((fingerprints != own).mean(1) < SAME).any())
    return hits


_EMBEDDED = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)(?:[A-Za-z0-9+/=\s]|\\n){200,}")


def images_of(path: Path) -> list[Image.Image]:
    """Every image in a file: the file itself, or what a notebook or page holds in base64; all
    frames."""
    if path.suffix.lower() in pictures.IMAGES:
        sources = [path.read_bytes()]
    else:
        content = path.read_text(encoding="utf-8", errors="ignore")
        if path.suffix == ".ipynb":  # outputs may be nested as text in text: unpack one level
            content = "\0".join(_strings(json.loads(content)))
        sources = [
            base64.b64decode(re.sub(r"\\n|\s", "", m) + "==") for m in _EMBEDDED.findall(content)
        ]
    found = []
    for source in sources:
        with Image.open(io.BytesIO(source)) as image:
            found += [frame.copy() for frame in ImageSequence.Iterator(image)]
    return found


def _strings(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return (
            ["".join(value)]
            if all(isinstance(v, str) for v in value)
            else sum(map(_strings, value), [])
        )
    return sum(map(_strings, value.values()), []) if isinstance(value, dict) else []


def digest(path: Path) -> str:
    """SHA-256 of a picture's grey values: the same for an RGBA file and its grey copy."""
    return hashlib.sha256(np.ascontiguousarray(pictures.read(path).values).tobytes()).hexdigest()


def row(folder: Path, exam) -> dict:
    """One line of the manifest."""
    kind = "patients" if exam.path.split("/")[-1].startswith("patient") else "controls"
    shown = pictures.project(folder / exam.path)
    row_mm, column_mm = pictures.KNOWN_MM
    made = {
        "exam_id": exam.exam_id,
        "patient_id": exam.patient_id,
        "class": exam.label,
        "path": f"{REPOSITORY_FOLDER}/{kind}/imgs/{Path(exam.path).name}",
        "split": exam.split,
        "row_mm": str(row_mm),
        "column_mm": str(column_mm),
        "suv_white": pictures.UNCALIBRATED,
        "suv_black": pictures.UNCALIBRATED,
        "dark_is_high": "yes",
        "sha256": digest(folder / exam.path),
        "licence": "CC BY 4.0",
        "doi": "10.7937/gkr0-xv29",
        "label_rests_on": BASIS.get(exam.label, MATCHED),
    }
    for name, field in FIELDS.items():
        canvas = (160, 96) if field[0] < 1000 else (228, 137)
        small = fit_to_canvas(shown.values, canvas, field, shown.pixel_mm)
        made[name] = text(fingerprint(np.clip(small / WINDOW, 0, 1)))
    return made


if __name__ == "__main__":
    source = Path(sys.argv[1])
    exams = pd.read_csv(source / "cohort.csv").rename(columns={"class": "label"})
    table = pd.DataFrame([row(source, exam) for exam in exams.itertuples()])
    paths.write_text(MANIFEST, table.to_csv(index=False))
