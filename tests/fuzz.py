"""A seeded mutational fuzzer for the readers: `python tests/fuzz.py nifti 20000 1` prints what came
of 20000 inputs as JSON.

It runs in a process of its own whose address space is limited, so that a reader that trusts a
length in a file is found out. Inputs start from sound files; each has one to six mutations. The
same seed gives the same inputs.
"""

from __future__ import annotations

import collections
import gzip
import json
import os
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
LIMIT_GB = 3  # address space; the interpreter with NumPy, pandas and pydicom takes about one of it
PATIENCE_S = 20  # for one input
NUMBERS = (
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**63 - 1,
)
WORDS = {
    "text": [
        b",",
        b";",
        b'"',
        b"'",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
        b"~",
        b"../",
        b"/",
        b"train",
        b"test",
        b"phantom:lung/1",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b"&a ",
        b"*a",
        b"!!python/name:os.system",
        b"- ",
        b"? ",
        b"1e999",
        b".nan",
        b"null",
        b"true",
        b"-1",
        b"9" * 40,
        "é☢".encode(),
        b"x" * 300,
    ],
    "dicom": [
        b"DICM",
        b"SQ",
        b"UN",
        b"OB",
        b"DS",
        b"IS",
        b"\xff\xff\xff\xff",
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\xdd\xe0",
        b"\\",
        b"^",
        b"BQML",
        b"1e999",
        b"nan",
        b"1.2.840.10008.1.2.4.90",
        b"1.2.840.10008.1.2.1.99",
    ],
    "nifti": [
        b"n+1\0",
        b"ni1\0",
        b"n+2\0",
        struct.pack("<f", float("nan")),
        struct.pack("<f", float("inf")),
        struct.pack("<f", 1e38),
    ],
}


def mutated(raw: bytes, rng: np.random.Generator, words: list[bytes], hot: int = 0) -> bytes:
    """One to six mutations; half of them fall into the first `hot` bytes (a header)."""
    out = bytearray(raw)
    for _ in range(rng.integers(1, 7)):
        if not out:
            break
        end = min(hot, len(out)) if hot and rng.random() < 0.5 else len(out)
        i, kind = int(rng.integers(end)), int(rng.integers(9))
        n = int(min(2 ** rng.integers(0, 9), len(out) - i))
        if kind == 0:
            out[i] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[i] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        elif kind == 2:
            del out[i : i + n]
        elif kind == 3:
            out[i:i] = out[i : i + n]
        elif kind == 4 and rng.random() < 0.3:
            del out[i:]
        elif kind == 5:
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice(len(NUMBERS)))
            out[i : i + width] = (NUMBERS[value] % 2 ** (8 * width)).to_bytes(
                width, str(rng.choice(["little", "big"]))
            )
        elif kind == 6:
            j = int(rng.integers(len(out)))
            out[i : i + n] = out[j : j + n]
        elif kind == 7:
            word = words[int(rng.integers(len(words)))]
            out[i:i] = word
        else:
            word = words[int(rng.integers(len(words)))]
            out[i : i + len(word)] = word
    return bytes(out)


def reader_of(name: str, folder: Path):
    """(seeds, words, hot, call): sound inputs, and the call that a user would make with one mutated
    input."""
    import bad_exams as bad
    import pandas as pd

    from radiogan_lib import config, data
    from radiogan_lib.data import cohort, dataset

    if name in ("nifti", "nifti-gz"):
        import nibabel as nib

        seeds = [
            cls(bad.body(), bad.AFFINE).to_bytes() for cls in (nib.Nifti1Image, nib.Nifti2Image)
        ]
        seeds.append(nib.Nifti1Image((bad.body() * 100).astype(">i2"), bad.AFFINE).to_bytes())
        path = folder / ("a.nii" if name == "nifti" else "a.nii.gz")

        def call(raw):
            path.write_bytes(
                raw if name == "nifti" else gzip.compress(raw, 1) if len(raw) % 2 else raw
            )
            data.read_mip(path)
            data.read_suv(path)

        if name == "nifti-gz":  # half are packed after the mutation, half before it
            seeds += [gzip.compress(s, 6) for s in seeds for _ in range(2)]
        return seeds, WORDS["nifti"], 352, call
    if name == "dicom":
        series = bad.series(folder, NumberOfSlices=None)
        files = bad.slices(series)[:5]
        for file in bad.slices(series)[5:]:
            file.unlink()
        seeds = [b"".join(struct.pack("<I", len(f.read_bytes())) + f.read_bytes() for f in files)]
        sound = [f.read_bytes() for f in files]
        rng = np.random.default_rng(0)

        def call(raw):
            """The same mutation in every slice (a header that is wrong throughout), or in one slice
            only."""
            first = raw[4:]
            everywhere = rng.random() < 0.6
            for k, (file, whole) in enumerate(zip(files, sound)):
                changed = whole
                if k == 0 or everywhere:
                    changed = (
                        _same_edit(sound[0], first[: len(sound[0]) + 600], whole)
                        if k
                        else first[: len(sound[0])]
                    )
                file.write_bytes(changed)
            data.read_suv(series)

        return seeds, WORDS["dicom"], 1400, call
    if name == "csv":
        rows = [
            ("a", "p1", "x", "a.nii.gz", "train"),
            ("b", "p2", "y", "b, c.nii.gz", "train"),
            ("c", "p3", "x", "phantom:lung/3", "test"),
            ("d", "p4", "y", "~/d", "test"),
        ]
        text = pd.DataFrame(
            rows, columns=["exam_id", "patient_id", "class", "path", "split"]
        ).to_csv(index=False)
        seeds = [
            text.encode(),
            text.replace(",", ";").encode(),
            text.encode("utf-16"),
            text.replace(",split", "").encode(),
        ]
        cfg = config.load("smoke")

        def call(raw):
            (folder / "cohort.csv").write_bytes(raw)
            got = cohort.capped(cohort.read(folder / "cohort.csv"), cfg)
            assert len(got.class_names) >= 2 and set(got.exams["split"]) <= {"train", "test"}
            assert not any("\n" in v or "\r" in v for v in got.exams["class"])

        return seeds, WORDS["text"], 60, call
    if name == "yaml":
        seeds = [p.read_bytes() for p in sorted(config.PROFILES.glob("*.yaml"))]
        config.PROFILES = folder

        def call(raw):
            (folder / "mine.yaml").write_bytes(raw)
            config.from_dict(config.load("mine").as_dict() | {"profile": "mine"})

        return seeds, WORDS["text"], 0, call
    if name == "json":
        frame = pd.DataFrame(
            [
                (f"e{i}", f"p{i}", "ab"[i % 2], f"phantom:lung/{i}", "test" if i > 2 else "train")
                for i in range(4)
            ],
            columns=["exam_id", "patient_id", "class", "path", "split"],
        )
        dataset.prepare(
            frame,
            folder / "set",
            config.load("smoke", train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0),
            "sync",
        )
        path = folder / "set" / "dataset.json"

        def call(raw):
            path.write_bytes(raw)
            mips = dataset.load(folder / "set")
            assert (
                mips.images.shape[1:3] == mips.canvas
                and len(mips.labels) == len(mips)
                and repr(mips)
            )

        return [path.read_bytes()], WORDS["text"], 0, call
    raise SystemExit(f"no reader {name}")


def _same_edit(before: bytes, after: bytes, other: bytes) -> bytes:
    """What turned `before` into `after`, done to `other` (slices of one series have their elements
    at nearly the same places)."""
    start = next(
        (i for i, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after))
    )
    back = next((i for i, (a, b) in enumerate(zip(before[::-1], after[::-1])) if a != b), 0)
    back = min(back, len(before) - start, len(after) - start, len(other) - start)
    return other[:start] + after[start : len(after) - back] + other[max(start, len(other) - back) :]


def main(name: str, count: int, seed: int) -> dict:
    """Run; the result is printed by the last line of this file."""
    from petsuv import ExamError
    from radiogan_lib.config import RadioganError

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB << 30,) * 2)

    class Late(BaseException):
        pass

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    tally, crashes, longest = collections.Counter(), {}, 0.0
    os.environ["RADIOGAN_HEADLESS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RADIOGAN_HOME"] = folder
        seeds, words, hot, call = reader_of(name, Path(folder))
        for s in seeds[:1]:
            call(s)  # a sound input is read
        rng = np.random.default_rng(seed)
        for _ in range(count):
            raw = mutated(seeds[int(rng.integers(len(seeds)))], rng, words, hot)
            started = time.monotonic()
            signal.alarm(PATIENCE_S)
            try:
                call(raw)
                tally["read"] += 1
            except (RadioganError, ExamError) as e:
                tally["refused"] += 1
                if "\n" in str(e) or len(str(e)) > 1800:
                    tally["crashed"] += 1
                    crashes.setdefault(f"not one sentence: {str(e)[:120]!r}", raw[:3000].hex())
            except (Exception, Late) as e:  # noqa: BLE001 - whatever else comes out is what this program looks for
                tally["crashed"] += 1
                where = traceback.extract_tb(e.__traceback__)[-1]
                near = [
                    f for f in traceback.extract_tb(e.__traceback__) if "radiogan_lib" in f.filename
                ][-1:]
                crashes.setdefault(
                    f"{type(e).__name__} at {where.name}; "
                    f"{[f'{f.name}:{f.lineno}' for f in near]}: {str(e)[:100]}",
                    raw[:3000].hex(),
                )
            finally:
                signal.alarm(0)
            longest = max(longest, time.monotonic() - started)
    peak = peak_mb()
    return {
        "reader": name,
        "inputs": count,
        **{k: tally[k] for k in ("read", "refused", "crashed")},
        "crashes": crashes,
        "peak_mb": round(peak),
        "longest_s": round(longest, 2),
    }


def peak_mb() -> float:
    """Most memory that this process ever held. Not ru_maxrss where it can be helped: a child's
    starts at its parent's size."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
