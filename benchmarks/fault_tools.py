"""Work that is killed at a random moment and started again: for the campaign (faults.py) and for
tests/test_faults.py."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

import petphantom
import petsuv
from radiogan_lib import config, data, paths
from radiogan_lib.data.dataset import load, prepare
from radiogan_lib.notebooks import KERNEL

sys.path.insert(0, str(paths.REPO / "data_manifest"))
import fetch_public  # noqa: E402


def settings(**more):
    return config.load(
        "smoke", **{"train_exams": [0], "test_exams": [0], "phantom_spacing_mm": 10.0, **more}
    )


def cohort(n: int) -> pd.DataFrame:
    """n coarse phantoms of two classes."""
    kinds = petphantom.CLASSES
    rows = [
        (f"e{i}", f"p{i}", c, f"phantom:{c}/{20000 + i}", "test" if i >= n - 4 else "train")
        for i in range(n)
        for c in [kinds[i % 2]]
    ]
    return pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"])


def forked(work, kill_after_s: float | None) -> bool:
    """Run `work` in a fork of this process, SIGKILL it after a time; whether it had finished by
    itself.

    A fork starts at once, so that the kill falls into the work and not into Python's start. Not for
    TensorFlow.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        # tqdm's lock is shared by all forks: one that is killed while it holds it stops the others
        os.environ["RADIOGAN_HEADLESS"] = "1"
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after_s is not None:
        deadline = time.monotonic() + kill_after_s
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def hammered(work, finished, more, seconds: float, rng, check) -> dict:
    """Start `work` and kill it, again and again, each time at a random moment of the next
    `seconds`; then let it end.

    Args:
        work: a function without arguments; whatever it has done must count the next time.
        finished: whether everything is there (then the folder is emptied by `check` for the next
            round).
        more: whether another try is wanted after so many kills that hit a running process.
        seconds: what the whole work takes undisturbed.
        rng: moments come from it.
        check: called after every kill with whether all is finished; raises if something
            half-written can be read.

    Returns:
        Counts: kills, completed (times that the work reached its end).
    """
    hit = rounds = 0
    while more(hit):
        by_itself = forked(work, float(rng.uniform(0.01, max(0.05, seconds))))
        hit += not by_itself
        rounds += bool(finished())
        check(bool(finished()))
    if not finished():
        assert forked(work, None), "the work did not end when it was left alone"
        rounds += 1
        check(True)
    return {"kills": hit, "completed": rounds}


class Preparation:
    """Preparation of phantoms, with what must hold at every moment."""

    def __init__(self, folder: Path, n: int = 12):
        self.table, self.out, self.n, self.kept = cohort(n), folder / "out", n, 0
        started = time.monotonic()
        prepare(self.table, folder / "reference", settings(), "sync")
        self.seconds, self.reference = time.monotonic() - started, load(folder / "reference").sha256

    def work(self):
        prepare(self.table, self.out, settings(), "sync")

    def finished(self):
        return (self.out / "dataset.json").exists()

    def check(self, finished):
        whole = [f for f in self.out.glob("cache/*.npz") if not f.name.startswith(".")]
        for f in whole:  # a file under its own name is whole
            with np.load(f, allow_pickle=False) as stored:
                assert stored["mip"].shape == (40, 24)
        assert len(whole) >= self.kept, "something finished was lost"
        self.kept = len(whole)
        if finished:
            assert load(self.out).sha256 == self.reference, (
                "the dataset differs from the undisturbed one"
            )
            shutil.rmtree(self.out)
            self.kept = 0


class Download:
    """Series from an S3 server on loopback into projections."""

    def __init__(self, folder: Path, url: str, series: pd.DataFrame):
        self.url, self.series, self.out, self.kept = url, series, folder / "public", 0
        started = time.monotonic()
        fetch_public.fetch(series, folder / "reference", url, scheduler="sync")
        self.seconds, self.reference = (
            time.monotonic() - started,
            self._content(folder / "reference"),
        )

    @staticmethod
    def _content(folder):
        """Of every projection its pixels (a zip file also holds the time), and the cohort."""
        pixels = {}
        for f in sorted(folder.glob("[!.]*.mip.npz")):
            with np.load(f, allow_pickle=False) as stored:
                pixels[f.name] = stored["mip"].tobytes()
        return pixels, (folder / "cohort.csv").read_text() if (
            folder / "cohort.csv"
        ).exists() else ""

    def work(self):
        fetch_public.fetch(self.series, self.out, self.url, scheduler="sync")

    def finished(self):
        return (self.out / "cohort.csv").exists()

    def check(self, finished):
        pixels, table = self._content(self.out)
        assert all(self.reference[0][name] == content for name, content in pixels.items()), (
            "a projection differs"
        )
        assert len(pixels) >= self.kept, "something finished was lost"
        self.kept = len(pixels)
        if finished:
            assert (pixels, table) == self.reference
            assert not (self.out / ".fetching").exists() or not list(
                (self.out / ".fetching").iterdir()
            )
            shutil.rmtree(self.out)
            self.kept = 0


def s3_server(port: int) -> subprocess.Popen:
    """A real S3 server (moto) in a process of its own on loopback."""
    import urllib.request

    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
            return server
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError("the S3 server did not start")


def uploaded_series(url: str, folder: Path, n: int = 3) -> pd.DataFrame:
    """n coarse phantoms as DICOM series in a bucket, and the manifest rows that describe them."""
    import boto3
    import pydicom

    bucket = "idc-open-data"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_bucket(Bucket=bucket)
    rows = []
    for i in range(n):
        place = folder / f"s{i}"
        petsuv.write_phantom_series(data.read_suv(f"phantom:lung/{30010 + i}", 20.0), place, seed=i)
        files = sorted(place.glob("*.dcm"))
        for file in files:
            client.put_object(
                Bucket=bucket,
                Key=f"series-{i}/{file.name}",
                Body=file.read_bytes(),
                ACL="public-read",
            )
        rows.append(
            {
                "collection": "c",
                "patient_id": f"p{i}",
                "study_uid": "s",
                "series_uid": pydicom.dcmread(files[0]).SeriesInstanceUID,
                "class": "ab"[i % 2],
                "split": "test" if i > 1 else "train",
                "instances": len(files),
                "megabytes": sum(f.stat().st_size for f in files) / 1e6,
                "licence": "CC BY 4.0",
                "doi": "10.0/0",
                "s3_prefix": f"s3://{bucket}/series-{i}/",
            }
        )
    return pd.DataFrame(rows)


class Forge:
    """A process that has loaded what some work needs and forks itself for every try, so that kills
    fall into the work and no try pays for the loading.

    The work is a function `work(word)` in `code`. Nothing may be computed while the code is loaded:
    a TensorFlow that has begun to work cannot be forked.
    """

    TAIL = """
import os
import sys
print("loaded", flush=True)
for word in sys.stdin:
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        code = 1
        try:
            code = work(word.strip()) or 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

    def __init__(self, code: str):
        # Unbuffered: `attempt` looks whether a line is there before it reads it.
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + self.TAIL],
            cwd=paths.REPO,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._line() == "loaded", "what the work needs cannot be loaded"

    def _line(self) -> str:
        return self.process.stdout.readline().decode().strip()

    def _ends_within(self, seconds: float | None) -> bool:
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def attempt(self, word, kill_after_s: float | None = None) -> tuple[bool, list]:
        """Whether the work ended by itself, and the processes that it had started when it was
        killed.

        Raises:
            AssertionError: the work was not killed and ended with an error.
        """
        import psutil

        self.process.stdin.write(f"{word}\n".encode())
        pid, started = int(self._line()), []
        if not self._ends_within(kill_after_s):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in this moment
                victim = psutil.Process(pid)
                started = victim.children(recursive=True)
                victim.kill()
        code = int(self._line())
        assert code in (0, -signal.SIGKILL), f"the work ended with code {code}"
        return code == 0, started

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


TRAIN = """
import keras  # and TensorFlow with it
import numpy as np
import pandas as pd
from radiogan_lib import config, gan
from radiogan_lib.data.dataset import MipDataset
gan.train  # naming it loads its modules
cfg = config.load("smoke", recipe="paper", ema=0.9, epochs={epochs}, doublings=2)
labels = np.arange(36) % 3
images = np.random.default_rng(0).gamma(1 + labels[:, None, None], size=(36, *cfg.canvas))
images = images.astype("float32")
exams = pd.DataFrame(dict(exam_id=range(36), patient_id=range(36), split="train"))
exams["class"] = [f"class {{c}}" for c in labels]
mips = MipDataset(images, exams, ["class 0", "class 1", "class 2"], (900.0, 540.0), 30.0, "0" * 64)
def work(folder):
    gan.train(cfg, mips, folder, checkpoint_seconds=0)
"""


def training(epochs: int = 6) -> Forge:
    """Small trainings into the folders that it is told."""
    return Forge(TRAIN.format(epochs=epochs))


def same_training(a: Path, b: Path, epochs: int = 6) -> bool:
    """Equal to the last bit: every variable of the last state (weights, optimizer, averages,
    noise), and the history without its clock."""
    one, two = (
        np.load(d / "checkpoints" / f"state-{epochs:06d}.npz", allow_pickle=False) for d in (a, b)
    )
    clock = ["seconds", "images_per_s", "movement"]
    left, right = (
        pd.read_csv(d / "history.csv").drop(columns=clock, errors="ignore") for d in (a, b)
    )
    return (
        one.files == two.files
        and all(np.array_equal(one[k], two[k]) for k in one.files)
        and left.equals(right)
    )


def notebook(folder, name, *cells, makes=()):
    """A small notebook for the batch runner."""
    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": KERNEL, "radiogan": {"needs": [], "makes": list(makes)}}
    )
    nb.cells = [
        nbformat.v4.new_code_cell(
            'profile: str = "smoke"  # p\nsettings: dict = {}  # s',
            metadata={"tags": ["parameters"]},
        )
    ]
    nb.cells += [nbformat.v4.new_code_cell(c) for c in cells]
    nbformat.write(nb, folder / name)
