"""Load: thousands of exams, many explorers, hundreds of notebook runs.

Memory, processes, open files and ports must not grow.

    python benchmarks/load.py                       # 5000 exams, 20 explorers, 200 notebook runs
    python benchmarks/load.py --exams 500 --explorers 5 --runs 20   # a few minutes
    python benchmarks/load.py --only exams          # one part

Each part prints what this process and its children hold after a tenth of the work, half-way, at
nine tenths and when all is done. A part that ends with more processes, open files or ports than it
began with, or with memory that grew by more than a quarter between the first tenth and the end,
ends the program with an error. The figures of the last run are in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import petphantom

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

GROWTH, SLACK_MB = 1.25, 30  # memory at the end against the first tenth; allocators keep some pages
MARKS = (0.1, 0.5, 0.9)
ME = psutil.Process()


def held() -> dict:
    """Memory of this process and its children in MB, how many children, open files, and sockets."""
    children = ME.children(recursive=True)
    child_mb = 0.0
    for child in children:
        try:
            child_mb += child.memory_info().rss / 2**20
        except psutil.Error:
            continue
    return {
        "own_mb": round(ME.memory_info().rss / 2**20),
        "children_mb": round(child_mb),
        "children": len(children),
        "files": ME.num_fds(),
        "ports": len(ME.net_connections(kind="inet")),
    }


class Watch:
    """Takes a reading when the share of finished work passes each mark; prints a table."""

    def __init__(self, what: str, total: int):
        self.what, self.total, self.rows, self.started = (
            what,
            total,
            [("start", held())],
            time.monotonic(),
        )

    def at(self, done: int) -> None:
        left = [m for m in MARKS if f"{m:.0%}" not in dict(self.rows)]
        if left and done >= left[0] * self.total:
            self.rows.append((f"{left[0]:.0%}", held()))

    def end(self) -> None:
        gc.collect()
        seconds = time.monotonic() - self.started
        self.rows.append(("end", held()))
        print(
            f"\n{self.what}: {self.total} in {seconds:.0f} s "
            f"({seconds / self.total * 1000:.0f} ms each)"
        )
        print(
            "  {:8s}{:>10s}{:>14s}{:>10s}{:>8s}{:>8s}".format(
                "", "own MB", "children MB", "children", "files", "ports"
            )
        )
        for name, r in self.rows:
            print(
                "  "
                f"{name:8s}{r['own_mb']:10d}{r['children_mb']:14d}{r['children']:10d}{r['files']:8d}{r['ports']:8d}",
                flush=True,
            )
        table, last = dict(self.rows), self.rows[-1][1]
        first = table.get("10%", table["start"])
        for name in ("children", "ports"):
            assert last[name] <= table["start"][name], f"{self.what}: {name} were left behind"
        assert last["files"] <= max(first["files"], table["start"]["files"]) + 2, (
            f"{self.what}: open files grew"
        )
        assert last["own_mb"] <= GROWTH * first["own_mb"] + SLACK_MB, f"{self.what}: memory grew"


def exams(count: int, folder: Path) -> None:
    """Coarse phantoms through preparation with worker processes; the cache folder tells how far it
    is."""
    from radiogan_lib import config, data

    table = phantoms(count)
    cfg = config.load("smoke", train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0, workers=2)
    # What is imported once is not growth, nor is the one helper process that Python keeps beside
    # spawned workers.
    data.prepare(table.iloc[:30], folder / "warm", cfg)
    watch, ended = Watch("exams prepared", count), threading.Event()

    def look():
        while not ended.wait(0.5):
            watch.at(len(list((folder / "out" / "cache").glob("[!.]*.npz"))))

    looker = threading.Thread(target=look)
    looker.start()
    report = data.prepare(table, folder / "out", cfg)
    ended.set()
    looker.join()
    assert (report.prepared, report.rejected) == (count, 0) and len(
        data.load(folder / "out")
    ) == count
    watch.end()


def phantoms(count: int):
    """A cohort of embedded phantoms, all classes in turn."""
    import pandas as pd

    kinds = petphantom.CLASSES
    rows = [
        (
            f"e{i}",
            f"p{i}",
            kinds[i % 5],
            f"phantom:{kinds[i % 5]}/{i}",
            "test" if i % 5 == i % 25 else "train",
        )
        for i in range(count)
    ]
    return pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"])


def walks(explorers: int, folder: Path) -> None:
    """Explorers of the shipped weights, all open at once; each is asked for 50 walks, by moving one
    of its controls each time."""
    from dataclasses import replace

    from radiogan_lib import data, gan
    from radiogan_lib.lab import latent
    from radiogan_lib.lab.widget import explorer

    run, rng = gan.load_shipped(), np.random.default_rng(0)
    data.prepare(
        phantoms(50),
        folder / "set",
        replace(run.config, train_exams=(0,), test_exams=(0,), phantom_spacing_mm=10.0),
        "sync",
    )
    train = data.load(folder / "set", "train")
    opened = [
        explorer(run.generator, run.class_names, train, start=(0, k), end=(1, k))
        for k in range(explorers)
    ]
    total = 50 * explorers

    def ask(k):
        x, before = opened[k % explorers], opened[k % explorers].view.value
        other = int(rng.integers(1, len(run.class_names)))
        moves = [
            (x.seed_a, int(rng.integers(2**31))),
            (x.seed_b, int(rng.integers(2**31))),
            (x.class_a, (x.class_a.value + other) % len(run.class_names)),
            (x.class_b, (x.class_b.value + other) % len(run.class_names)),
            (x.kind, latent.KINDS[(latent.KINDS.index(x.kind.value) + 1) % 4]),
            (x.truncation, float(rng.uniform(0.5, 1))),
        ]
        control, value = moves[rng.integers(len(moves))]
        control.value = value
        assert (
            x.frames.shape[0] == 10
            and np.isfinite(x.frames).all()
            and "Not possible" not in x.caption.value
        )
        return x.view.value != before

    for k in range(2 * explorers):
        ask(k)
    watch, changed = Watch(f"walks of {explorers} explorers", total), 0
    for k in range(total):
        changed += ask(k)
        watch.at(k + 1)
    watch.end()
    # A seed that a walk does not use (the end's, in a walk of labels) may be moved without a new
    # picture.
    assert changed > total / 2, "the explorers did not answer"


def notebooks(runs: int, folder: Path) -> None:
    """The same small notebook, again and again, through the batch runner's own door."""
    import nbformat

    from radiogan_lib.notebooks import KERNEL, run

    nb = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    nb.cells = [
        nbformat.v4.new_code_cell("seed: int = 0  # s", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import numpy as np\nprint('…', seed, np.random.default_rng(seed).random((200, "
            "200)).sum())"
        ),
    ]
    nbformat.write(nb, folder / "tiny.ipynb")

    def once(k):
        run(folder / "tiny.ipynb", folder / "out.ipynb", {"seed": k}, 120)

    sys.stdout, kept = open(os.devnull, "w"), sys.stdout
    try:
        for k in range(2):
            once(k)
        watch = Watch("notebook runs", runs)
        for k in range(runs):
            once(k)
            watch.at(k + 1)
    finally:
        sys.stdout.close()
        sys.stdout = kept
    time.sleep(1)
    watch.end()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exams", type=int, default=5000)
    parser.add_argument("--explorers", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("exams", "walks", "notebooks"),
        default=["exams", "walks", "notebooks"],
    )
    given = parser.parse_args()
    sizes = {"exams": given.exams, "walks": given.explorers, "notebooks": given.runs}
    os.environ.update(RADIOGAN_HEADLESS="1", TF_CPP_MIN_LOG_LEVEL="3")
    for part in given.only:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RADIOGAN_HOME"] = folder
            globals()[part](sizes[part], Path(folder))


if __name__ == "__main__":
    main()
