"""Kills, cuts and losses: nothing finished is lost, nothing half-written is read, the same call
again ends with the same artefacts.

These are the short versions; `benchmarks/faults.py` kills each kind of work twenty times and more.
Not repeated here: `test_training.py` (SIGKILL in training, to the bit; damaged states),
`test_scale.py` (no worker survives its parent; a worker that dies), `test_dataset.py` (damaged
cache, two runs at once), `test_idc.py` (cut, short, flipped and refused transfers) and
`test_bad_input.py` (full and read-only disks).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from survived import COUNTS
from test_scale import cluster  # noqa: F401  a Dask scheduler and two workers

from radiogan_lib import batch, notebooks, paths
from radiogan_lib.data import dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fault_tools  # noqa: E402


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def count(what, kills, completed):
    table = COUNTS["killed and continued"]
    table.extend([("what", "kills", "completed, identical")] if not table else [])
    table.append((what, kills, completed))


def test_preparation_killed_at_random_moments(tmp_path):
    job = fault_tools.Preparation(tmp_path, n=8)
    got = fault_tools.hammered(
        job.work,
        job.finished,
        lambda hit: hit < 6,
        job.seconds,
        np.random.default_rng(1),
        job.check,
    )
    count("preparation", got["kills"], got["completed"])
    assert got["kills"] == 6 and got["completed"] >= 1


def test_download_killed_at_random_moments(tmp_path):
    pytest.importorskip("moto")
    pytest.importorskip("boto3")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = fault_tools.s3_server(port)
    try:
        url = f"http://127.0.0.1:{port}"
        job = fault_tools.Download(
            tmp_path, url, fault_tools.uploaded_series(url, tmp_path / "dicom")
        )
        got = fault_tools.hammered(
            job.work,
            job.finished,
            lambda hit: hit < 4,
            job.seconds,
            np.random.default_rng(2),
            job.check,
        )
    finally:
        server.terminate()
        server.wait(20)
    count("download", got["kills"], got["completed"])
    assert got["completed"] >= 1


def newest(folder):
    """The files of a folder, newest first."""
    return sorted(
        (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"),
        key=lambda p: -p.stat().st_mtime_ns,
    )


@pytest.mark.parametrize("keep", [0, 0.5, 0.98])
def test_a_prepared_dataset_whose_newest_files_are_cut_off(tmp_path, keep):
    job = fault_tools.Preparation(tmp_path, n=6)
    job.work()
    for file in newest(job.out):
        shutil.rmtree(tmp_path / "hurt", ignore_errors=True)
        shutil.copytree(job.out, tmp_path / "hurt")
        place = tmp_path / "hurt" / file.relative_to(job.out)
        os.truncate(place, int(keep * place.stat().st_size))
        dataset.prepare(job.table, tmp_path / "hurt", fault_tools.settings(), "sync")
        assert dataset.load(tmp_path / "hurt").sha256 == job.reference, file.name
    count(f"files of a dataset cut to {keep:.0%}", len(newest(job.out)), len(newest(job.out)))


def test_a_training_whose_files_are_cut_off_ends_the_same(tmp_path):
    from gan_tools import blobs, small

    from radiogan_lib import gan

    cfg = small(epochs=3)
    whole = gan.train(cfg, blobs(cfg), tmp_path / "whole", checkpoint_seconds=0)
    names = [
        "generator.keras",
        "history.csv",
        "checkpoints/state-000003.npz",
        "checkpoints/state-000003.json",
    ]
    for name in names:
        hurt = tmp_path / "hurt"
        shutil.rmtree(hurt, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", hurt)
        os.truncate(hurt / name, (hurt / name).stat().st_size // 2)
        if name.startswith("checkpoints"):
            (hurt / "generator.keras").unlink()  # the power went before the export
        again = gan.train(cfg, blobs(cfg), hurt, checkpoint_seconds=0)
        assert again.finished and list(again.history.epoch) == [1, 2, 3], name
        assert all(
            np.array_equal(a, b)
            for a, b in zip(
                whole.generator.get_weights(), again.generator.get_weights(), strict=True
            )
        ), name
    count("files of a training cut in half", len(names), len(names))


def test_a_kernel_killed_under_papermill_is_reported_in_seconds(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("RADIOGAN_NOTEBOOKS", str(tmp_path / "notebooks"))
    fault_tools.notebook(
        tmp_path / "notebooks",
        "00_a.ipynb",
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, "
        "'w').write(str(os.getpid()))\ntime.sleep(1800)",
    )
    killed = []

    def kill():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        killed.append(time.monotonic())
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    code = batch.main(["--profile", "smoke"])
    seconds = time.monotonic() - killed[0]
    said = capsys.readouterr().err
    COUNTS["a kernel killed under papermill"] += [("reported after, s", round(seconds, 1))]
    assert code == 1 and "kernel died" in said and "00_a.ipynb" in said
    assert seconds < 120  # it once was half an hour; on an idle machine it is a few seconds


def test_a_damaged_record_of_what_is_finished_means_run_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("RADIOGAN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr(notebooks, "run", lambda path, out, *_: paths.write_text(out, "{}"))
    fault_tools.notebook(tmp_path / "notebooks", "00_a.ipynb", "1")
    record = tmp_path / "home" / "runs" / "smoke" / "batch.json"
    assert batch.main(["--profile", "smoke"]) == 0 and record.exists()
    whole = record.read_text()
    for content in (whole[:20], "", "[]", '{"00_a.ipynb": 3}', '{"00_a.ipynb": {"stamp": 1}}'):
        record.write_text(content)
        assert batch.main(["--profile", "smoke"]) == 0
        assert "running" in capsys.readouterr().out
    assert batch.main(["--profile", "smoke"]) == 0
    assert "finished before" in capsys.readouterr().out


def test_a_dask_worker_killed_in_the_middle_of_a_preparation(cluster, tmp_path):  # noqa: F811
    table = fault_tools.cohort(12)
    dataset.prepare(table, tmp_path / "here", fault_tools.settings(), "sync")
    victim = next(iter(cluster.run(os.getpid).values()))

    def kill():
        while len(list((tmp_path / "out/cache").glob("[!.]*.npz"))) < 3:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    report = dataset.prepare(table, tmp_path / "out", fault_tools.settings(), cluster)
    killer.join(5)
    if report.rejected:  # an exam that was in the lost worker; it is tried again by the same call
        report = dataset.prepare(table, tmp_path / "out", fault_tools.settings(), "sync")
    assert not killer.is_alive() and report.rejected == 0
    assert dataset.load(tmp_path / "out").sha256 == dataset.load(tmp_path / "here").sha256
    count("Dask worker", 1, 1)
