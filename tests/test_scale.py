"""The same results from threads, processes and a Dask cluster; bounded work in flight; a worker's
death is survived."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from scale_helpers import dies, square

import petphantom
from radiogan_lib import config, paths
from radiogan_lib.config import ConfigError
from radiogan_lib.data import executors
from radiogan_lib.data.dataset import load, prepare

N = 12


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))


def settings(**more):
    return config.load(
        "smoke", train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0, workers=2, **more
    )


def cohort(n=N):
    rows = [
        (f"e{i}", f"p{i}", c, f"phantom:{c}/{20000 + i}", "test" if i >= n - 4 else "train")
        for i in range(n)
        for c in [petphantom.CLASSES[i % 2]]
    ]
    return pd.DataFrame(rows, columns=["exam_id", "patient_id", "class", "path", "split"])


@pytest.mark.parametrize("scheduler", [None, "processes", "threads", "sync"])
def test_every_item_comes_back_once(scheduler):
    got = dict(executors.run(square, list(range(25)), scheduler, workers=2))
    assert got == {i: i * i for i in range(25)}
    assert list(executors.run(square, [], scheduler)) == []


@pytest.mark.parametrize("scheduler", ["proceses", "dask", 7])
def test_an_unknown_scheduler_is_named(scheduler):
    with pytest.raises(ConfigError, match="processes, threads, sync.*tcp://"):
        list(executors.run(square, [1], scheduler))


def test_work_in_flight_is_bounded_when_the_reader_is_slow():
    started, lock, worst, taken = [0], threading.Lock(), 0, 0

    def count(_):
        with lock:
            started[0] += 1

    for _ in executors.run(count, list(range(60)), "threads", workers=3):
        taken += 1
        time.sleep(0.002)
        worst = max(worst, started[0] - taken)
    assert taken == 60 and worst <= 3 * executors.IN_FLIGHT


def test_a_process_that_dies_costs_one_item_at_most(tmp_path):
    once = str(tmp_path / "once")
    items = [(i, {3: "always", 7: once}.get(i, "")) for i in range(12)]
    got = dict(executors.run(dies, items, "processes", workers=2))
    assert isinstance(got.pop(3), executors.Died)
    assert got == {i: i for i in range(12) if i != 3}  # 7 died once and came back


def test_an_item_that_waited_beside_the_culprit_has_its_second_try(tmp_path):
    """Both are in the broken pool; the second dies for the first time only when it is alone."""
    items = [(0, "always"), (1, str(tmp_path / "once"))]
    got = dict(
        executors.run(dies, items, "processes", workers=1)
    )  # one worker: the second has only waited
    assert isinstance(got[0], executors.Died) and got[1] == 1


def test_a_cluster_without_workers_gets_new_ones():
    with executors._local_client(1) as client:
        (nanny,) = client.cluster.workers.values()
        client.cluster.sync(nanny.close)
        assert client.submit(square, 3).result(timeout=120) == square(3)


def test_an_abandoned_run_leaves_no_process():
    import multiprocessing

    running = executors.run(square, list(range(50)), "processes", workers=2)
    next(running)
    running.close()
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert multiprocessing.active_children() == []


def test_schedulers_make_the_same_dataset(tmp_path):
    sha = set()
    for scheduler in ("sync", "threads", "processes"):
        assert prepare(cohort(), tmp_path / scheduler, settings(), scheduler).prepared == N
        sha.add(load(tmp_path / scheduler).sha256)
    assert len(sha) == 1


def test_a_plain_script_may_call_prepare_at_its_top_level(tmp_path):
    cohort(8).to_csv(tmp_path / "cohort.csv", index=False)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from radiogan_lib import config, data
        sizes = dict(train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0)
        cfg = config.load("smoke", workers=2, **sizes)
        report = data.prepare({str(tmp_path / "cohort.csv")!r}, {str(tmp_path / "out")!r}, cfg)
        print("prepared", report.prepared)
    """)
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(paths.REPO)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("prepared 8") == 1


def test_a_run_that_is_killed_leaves_no_worker_and_no_lock_and_is_continued(tmp_path):
    psutil = pytest.importorskip("psutil")
    table = cohort(120)  # many, so that it is not over before a busy machine looks
    table.to_csv(tmp_path / "cohort.csv", index=False)
    script = textwrap.dedent(f"""
        from radiogan_lib import config, data
        sizes = dict(train_exams=[0], test_exams=[0], phantom_spacing_mm=10.0)
        cfg = config.load("smoke", workers=2, **sizes)
        data.prepare({str(tmp_path / "cohort.csv")!r}, {str(tmp_path / "out")!r}, cfg)
    """)
    run = subprocess.Popen(
        [sys.executable, "-c", script], cwd=paths.REPO, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "out/cache").glob("[!.]*.npz"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    report = prepare(
        table.iloc[:16].assign(split=["train"] * 12 + ["test"] * 4),
        tmp_path / "out",
        settings(),
        "sync",
    )
    assert report.reused >= 4 and report.prepared + report.reused == 16


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A real scheduler and two worker processes on loopback."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask")
    env = os.environ | {
        "PYTHONPATH": f"{paths.REPO}{os.pathsep}{Path(__file__).parent}",
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }

    def start(module, *args):
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *args],
            env=env,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def worker(name):
        return start(
            "dask_worker",
            "--scheduler-file",
            "s.json",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--name",
            name,
            "--memory-limit",
            "0",
            "--local-directory",
            str(folder),
        )

    running = [
        start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            "s.json",
        ),
        worker("one"),
        worker("two"),
    ]
    from distributed import Client

    client = Client(scheduler_file=str(folder / "s.json"), timeout=60, set_as_default=False)
    client.wait_for_workers(2, timeout=60)
    yield client
    client.close()
    for process in running:
        os.killpg(process.pid, signal.SIGTERM)
    for process in running:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_dask_by_address_makes_the_same_dataset(cluster, tmp_path):
    before = cluster.run(lambda dask_worker: dask_worker.state.executed_count)
    report = prepare(cohort(), tmp_path / "dask", settings(), cluster.scheduler.address)
    after = cluster.run(lambda dask_worker: dask_worker.state.executed_count)
    prepare(cohort(), tmp_path / "here", settings(), "sync")
    assert report.prepared == N and load(tmp_path / "dask").sha256 == load(tmp_path / "here").sha256
    assert len(after) == 2 and all(after[w] > before[w] for w in after)  # both workers took part


def test_dask_by_client(cluster, tmp_path):
    assert prepare(cohort(8), tmp_path / "out", settings(), cluster).prepared == 8
    assert cluster.status == "running"  # the user's client stays open


def test_dask_bad_exam_is_a_reject(cluster, tmp_path):
    table = cohort(10)
    table.loc[0, "path"] = str(tmp_path / "missing.nii.gz")
    report = prepare(table, tmp_path / "out", settings(), cluster)
    assert (report.prepared, report.rejected) == (9, 1)


def test_dask_worker_that_dies_costs_one_item_at_most(cluster, tmp_path):
    items = [(i, {3: "always", 7: str(tmp_path / "once")}.get(i, "")) for i in range(10)]
    got = dict(executors.run(dies, items, cluster))
    assert isinstance(got.pop(3), executors.Died)
    assert got == {i: i for i in range(10) if i != 3}
    cluster.wait_for_workers(2, timeout=60)  # the nannies bring the workers back


def test_dask_workers_with_other_code_are_found_out(cluster, tmp_path, monkeypatch):
    from radiogan_lib.data import readers

    monkeypatch.setattr(readers.projection, "VERSION", 99)
    with pytest.raises(config.RadioganError, match="another version of this library"):
        prepare(cohort(8), tmp_path / "out", settings(), cluster)


def test_no_dask_scheduler_there(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_S", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        list(executors.run(square, [1], "tcp://127.0.0.1:9"))
