"""The long fault campaign: every kind of work is killed at random moments and still ends well.

    python benchmarks/faults.py --kills 20                    # all: half an hour on two cores
    python benchmarks/faults.py --only preparation download   # some
    python benchmarks/faults.py --minutes 5                   # as many as fit: a busy machine

Prints one row per kind of work: SIGKILLs that hit it, how often it was completed, and that the
artefacts were those of an undisturbed run. Any difference, any loss of something finished, and any
file that could be read half-written ends the program with an error. The counts of the last campaign
are in docs/reliability.md; the short versions of the same tests are in tests/test_faults.py.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fault_tools  # noqa: E402

KINDS = ("preparation", "download", "batch", "dask", "training")


def preparation(folder: Path, more, rng) -> tuple[int, int, str]:
    job = fault_tools.Preparation(folder)
    got = fault_tools.hammered(job.work, job.finished, more, job.seconds, rng, job.check)
    return got["kills"], got["completed"], f"mips.npy sha256 {job.reference[:12]}"


def download(folder: Path, more, rng) -> tuple[int, int, str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = fault_tools.s3_server(port)
    try:
        url = f"http://127.0.0.1:{port}"
        job = fault_tools.Download(folder, url, fault_tools.uploaded_series(url, folder / "dicom"))
        got = fault_tools.hammered(job.work, job.finished, more, job.seconds, rng, job.check)
    finally:
        server.terminate()
        server.wait(30)
    return got["kills"], got["completed"], "pixels of every projection, cohort.csv"


BATCH = """
import os
os.environ["RADIOGAN_NOTEBOOKS"] = {books!r}
from radiogan_lib import batch
def work(_):
    return batch.main(["--profile", "smoke"])
"""


def batch(folder: Path, more, rng) -> tuple[int, int, str]:
    """Three tiny notebooks; the batch process is killed, its kernels must end by themselves."""
    import psutil

    books, runs = folder / "notebooks", folder / "home" / "runs" / "smoke"
    books.mkdir(parents=True)
    for k in range(3):
        fault_tools.notebook(
            books,
            f"0{k}_n.ipynb",
            "from radiogan_lib import config, paths",
            f"import time\ntime.sleep(0.5)\n"
            f"_ = paths.write_text(paths.run_dir(config.load('smoke')) / 'made{k}.txt', "
            f"'whole {k}' * 1000)",
            makes=[f"{{run}}/made{k}.txt"],
        )
    hit, completed = 0, 0
    with fault_tools.Forge(BATCH.format(books=str(books))) as forge:
        started = time.monotonic()
        forge.attempt("")
        seconds = time.monotonic() - started
        shutil.rmtree(runs)
        while more(hit) or runs.exists() or not completed:
            fresh, started = not runs.exists(), time.monotonic()
            by_itself, kernels = forge.attempt(
                "", float(rng.uniform(0, seconds)) if more(hit) else None
            )
            hit += not by_itself
            if by_itself and fresh:  # the first run may have met a busier machine
                seconds = min(seconds, time.monotonic() - started)
            _, alive = psutil.wait_procs(kernels, timeout=300)
            assert not alive, "a kernel outlived its batch run"
            for k in range(3):
                made = runs / f"made{k}.txt"
                assert not made.exists() or made.read_text() == f"whole {k}" * 1000
            if by_itself:
                completed += 1
                assert all(
                    (runs / name).is_file()
                    for k in range(3)
                    for name in (f"0{k}_n.ipynb", f"made{k}.txt")
                )
                shutil.rmtree(runs)
    return hit, completed, "three notebooks and their files; no kernel left"


def dask(folder: Path, more, rng) -> tuple[int, int, str]:
    """One of two workers is killed in the middle of each preparation."""
    import dask
    from distributed import Client, LocalCluster

    from radiogan_lib.data.dataset import load, prepare

    table, hit, completed = fault_tools.cohort(16), 0, 0
    prepare(table, folder / "reference", fault_tools.settings(), "sync")
    # A worker is a fork of a process that has loaded distributed, not a new interpreter.
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    while more(hit):
        out = folder / f"out{hit}"
        # A cluster of its own for every kill: what is asked is whether the exams survive, not how
        # often Dask's nanny revives a worker.
        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs=50,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(2, timeout=120)
            pids, wanted = sorted(client.run(os.getpid).values()), int(rng.integers(1, 12))
            (folder / "victim").write_text(str(pids[hit % 2]))
            pid = os.fork()
            if pid == 0:  # the killer: waits for a random number of finished exams
                while len(list(out.glob("cache/[!.]*.npz"))) < wanted:
                    time.sleep(0.005)
                os.kill(int((folder / "victim").read_text()), signal.SIGKILL)
                os._exit(0)
            report = prepare(table, out, fault_tools.settings(), client)
            os.waitpid(pid, 0)
        if report.rejected:
            report = prepare(table, out, fault_tools.settings(), "sync")
        assert report.rejected == 0 and load(out).sha256 == load(folder / "reference").sha256
        hit, completed = hit + 1, completed + 1
    return hit, completed, "mips.npy sha256"


def training(folder: Path, more, rng, epochs: int = 6) -> tuple[int, int, str]:
    """A training is killed and goes on from its last state until it has all its epochs; then the
    next one begins."""
    whole, hurt, hit, completed = folder / "whole", folder / "hurt", 0, 0
    with fault_tools.training(epochs) as forge:
        started = time.monotonic()
        forge.attempt(whole)
        seconds = time.monotonic() - started
        while more(hit) or hurt.exists() or not completed:
            fresh, started = not hurt.exists(), time.monotonic()
            by_itself, _ = forge.attempt(
                hurt, float(rng.uniform(0, seconds)) if more(hit) else None
            )
            hit += not by_itself
            if by_itself and fresh:  # the first run may have met a busier machine
                seconds = min(seconds, time.monotonic() - started)
            if by_itself:
                completed += 1
                assert fault_tools.same_training(whole, hurt, epochs)
                shutil.rmtree(hurt)
    return hit, completed, "every variable of the last state, history"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="no new kill of a kind after so long; the table tells how many there were",
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.update(NO_PROXY="127.0.0.1", TF_CPP_MIN_LOG_LEVEL="3", RADIOGAN_HEADLESS="1")
    print(f"{'work':14s}{'SIGKILLs':>10s}{'completed':>11s}{'minutes':>9s}  identical", flush=True)
    for kind in given.only:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RADIOGAN_HOME"] = str(Path(folder) / "home")
            started = time.monotonic()

            def more(hit, until=started + 60 * given.minutes):
                return hit < given.kills and time.monotonic() < until

            kills, completed, what = globals()[kind](
                Path(folder), more, np.random.default_rng(given.seed)
            )
            print(
                f"{kind:14s}{kills:10d}{completed:11d}{(time.monotonic() - started) / 60:9.1f} "
                f" {what}",
                flush=True,
            )


if __name__ == "__main__":
    main()
