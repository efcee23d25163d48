"""How preparing a cohort scales: memory per worker from 10 to 1,000 exams, exams per second by
workers and scheduler.

    python benchmarks/preparation.py [--exams 10 100 1000] [--spacing-mm 8] [--workers 1 2]

Phantoms, so it needs no data; every worker makes its exam, projects it and returns the canvas.
Memory is the peak resident set of any worker process and of the process that calls `prepare`,
sampled ten times a second.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import psutil

import petphantom
from radiogan_lib import config, data


class Memory:
    """Peak resident memory, MB, of this process and of its largest child while the block runs."""

    def __enter__(self) -> Memory:
        self.here = self.worker = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while not self.stop.wait(0.1):
            self.here = max(self.here, me.memory_info().rss / 1e6)
            for child in me.children(recursive=True):
                try:
                    self.worker = max(self.worker, child.memory_info().rss / 1e6)
                except psutil.Error:
                    pass

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join()


def cohort(n: int) -> pd.DataFrame:
    rows = [
        (f"e{i}", f"p{i}", c, f"phantom:{c}/{70000 + i}", "test" if i % 5 == 4 else "train")
        for i in range(n)
        for c in [petphantom.CLASSES[i // 5 % 2]]
    ]
    return pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"])


def once(n: int, spacing_mm: float, workers: int, scheduler) -> dict:
    cfg = config.load(
        "teach", train_exams=[0], test_exams=[0], phantom_spacing_mm=spacing_mm, workers=workers
    )
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        started = time.perf_counter()
        report = data.prepare(cohort(n), Path(folder), cfg, scheduler)
        first = time.perf_counter() - started
        started = time.perf_counter()
        again = data.prepare(cohort(n), Path(folder), cfg, scheduler)
        second = time.perf_counter() - started
    assert (report.prepared, again.prepared, again.reused) == (n, 0, n)
    return {
        "exams": n,
        "scheduler": scheduler or "processes",
        "workers": workers,
        "seconds": round(first, 1),
        "exams_per_s": round(n / first, 1),
        "again_s": round(second, 2),
        "worker_peak_MB": "-" if scheduler else round(memory.worker),
        "caller_peak_MB": round(memory.here),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exams", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--spacing-mm", type=float, default=8.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    rows = [once(n, given.spacing_mm, given.workers[-1], None) for n in given.exams]
    middle = sorted(given.exams)[len(given.exams) // 2]
    rows += [once(middle, given.spacing_mm, w, None) for w in given.workers[:-1]]
    rows += [
        once(middle, given.spacing_mm, given.workers[-1], "threads"),
        once(middle, given.spacing_mm, 1, "sync"),
    ]
    print(pd.DataFrame(rows).to_string(index=False))
    peaks = [r["worker_peak_MB"] for r in rows[: len(given.exams)]]
    print(
        f"\nmemory per worker, {given.exams[-1]} exams against {given.exams[0]}: "
        f"{peaks[-1] / peaks[0]:.2f} times"
    )


if __name__ == "__main__":
    main()
