"""Runs: what is on disk, resume to the bit after SIGKILL, damaged states, and faults in one
sentence."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gan_tools import BLAS_THREADS, EVERYTHING, blobs, small

from radiogan_lib import gan
from radiogan_lib.gan import radiogan, training

HERE = Path(__file__).parent


def _weights(model):
    return [np.array(w) for w in model.get_weights()]


def _equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One undisturbed training with every switch on, made by a process of its own."""
    folder = tmp_path_factory.mktemp("run")
    _finish(_start(folder, "small(**EVERYTHING, epochs=3)", 12))
    return gan.load_run(folder), small(**EVERYTHING, epochs=3)


def test_a_run_folder_holds_what_it_should(finished):
    run, cfg = finished
    d = run.directory
    for name in (
        "config.json",
        "provenance.json",
        "history.csv",
        "generator.keras",
        "discriminator.keras",
    ):
        assert (d / name).is_file(), name
    told = json.loads((d / "provenance.json").read_text())
    assert told["dataset_sha256"] == "0" * 64 and told["class_names"] == [
        "class 0",
        "class 1",
        "class 2",
    ]
    assert told["keras"] and told["engine"] in told and told["devices"]
    assert os.environ.get("HOME", "/root") not in json.dumps(told)  # no folder of this machine
    assert list(run.history.epoch) == [1, 2, 3] and run.finished
    assert {"d_loss", "g_loss", "d_accuracy", "label_agreement", "diversity", "health"} <= set(
        run.history
    )
    grids, epochs = gan.samples_over_epochs(run)
    assert (
        grids.shape == (3, 4, 3, 40, 24)
        and epochs == [1, 2, 3]
        and 0 <= grids.min()
        and grids.max() <= 30
    )
    assert len(list((d / "samples").glob("*.png"))) == 3
    assert not [p for p in d.rglob("*.part*")]
    assert gan.sample(run.generator, [0, 1, 2]).shape == (3, 40, 24)
    scores = gan.discriminator_scores(run, blobs(cfg).suv, blobs(cfg).labels)
    assert scores.shape == (36,) and np.isfinite(scores).all()


def test_a_finished_run_is_returned_at_once(finished):
    run, cfg = finished
    before = (run.directory / "generator.keras").stat().st_mtime_ns
    again = gan.train(cfg, blobs(cfg), run.directory)
    assert (run.directory / "generator.keras").stat().st_mtime_ns == before
    assert _equal(_weights(run.generator), _weights(again.generator))


def test_another_experiment_in_the_same_folder_is_refused(finished):
    run, cfg = finished
    with pytest.raises(gan.RunError, match="seed"):
        gan.train(small(**EVERYTHING, epochs=3, seed=1), blobs(cfg), run.directory)
    other = blobs(cfg)
    other.sha256 = "1" * 64
    with pytest.raises(gan.RunError, match="dataset_sha256"):
        gan.train(cfg, other, run.directory)


SCRIPT = """
    import sys
    sys.path.insert(0, {here!r})
    from fuzz import peak_mb
    from gan_tools import EVERYTHING, blobs, small
    from radiogan_lib import config, gan
    cfg = {cfg}
    gan.train(cfg, blobs(cfg, per_class={per_class}), sys.argv[1], checkpoint_seconds=0)
    print(round(1024 * peak_mb()))
"""


def _start(folder, cfg, per_class):
    code = textwrap.dedent(SCRIPT.format(here=str(HERE), cfg=cfg, per_class=per_class))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process) -> int:
    """Wait for its end; returns its largest memory in KB (on Linux)."""
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return int(out.split()[-1])


def _killed_and_resumed(whole, broken, cfg, per_class=12) -> int:
    """Train again, with SIGKILL after the first checkpoint; it must end with the bits of the
    undisturbed run `whole`."""
    process = _start(broken, cfg, per_class)
    deadline = time.monotonic() + 900
    while (
        not list((broken / "checkpoints").glob("state-*.json"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "generator.keras").exists(), "it finished before it could be killed"
    memory = _finish(_start(broken, cfg, per_class))
    newest = sorted(p.name for p in (whole / "checkpoints").glob("state-*.npz"))[-1]
    a, b = (np.load(d / "checkpoints" / newest) for d in (whole, broken))
    assert a.files == b.files
    assert not [k for k in a.files if not np.array_equal(a[k], b[k])]
    runs = [gan.load_run(d) for d in (whole, broken)]
    assert _equal(_weights(runs[0].generator), _weights(runs[1].generator))
    # `movement` has no former measure right after a restart.
    timing = ["seconds", "images_per_s", "movement"]
    pd.testing.assert_frame_equal(
        runs[0].history.drop(columns=timing), runs[1].history.drop(columns=timing)
    )
    return memory


def test_killed_and_started_again_it_ends_bit_exact(finished, tmp_path):
    """Weights, optimizer, average, noise and order are as if nothing had happened."""
    _killed_and_resumed(finished[0].directory, tmp_path, "small(**EVERYTHING, epochs=3)")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in KB on Linux")
def test_the_papers_size_on_a_processor_resumes_to_the_bit_in_little_memory(tmp_path, monkeypatch):
    """640 × 384, the paper's widths and recipe, batch 8."""
    for name in BLAS_THREADS:  # as many threads, and as much memory, as a user's training has
        monkeypatch.delenv(name, raising=False)
    cfg = 'config.load("paper", batch_size=8, epochs=2, samples_every=2)'
    whole = tmp_path / "whole"
    kilobytes = _finish(_start(whole, cfg, 4))  # one step an epoch
    kilobytes = max(kilobytes, _killed_and_resumed(whole, tmp_path / "broken", cfg, 4))
    print(f"largest memory: {kilobytes / 2**20:.2f} GB")
    assert kilobytes < 2.5 * 2**20


def test_a_damaged_state_is_never_loaded(tmp_path, capsys):
    cfg = small()
    game = radiogan.compiled(cfg, 3)
    game.generator.get_layer("to_image").bias.assign([1.0])
    training.save(game, tmp_path, 1)
    game.generator.get_layer("to_image").bias.assign([2.0])
    training.save(game, tmp_path, 2)
    newest = tmp_path / "state-000002.npz"
    newest.write_bytes(newest.read_bytes()[:-100])  # as a crash of the machine may leave it
    fresh = radiogan.compiled(cfg, 3)
    assert training.restore(fresh, tmp_path) == 1
    assert float(fresh.generator.get_layer("to_image").bias[0]) == 1.0
    assert "state-000002.npz" in capsys.readouterr().out
    (tmp_path / "state-000001.json").unlink()  # killed between the two files
    untouched = radiogan.compiled(cfg, 3)
    assert training.restore(untouched, tmp_path) == 0
    assert float(untouched.generator.get_layer("to_image").bias[0]) == 0.0


def test_only_the_two_newest_states_are_kept(tmp_path):
    game = radiogan.compiled(small(), 3)
    for epoch in (1, 2, 3, 10):
        training.save(game, tmp_path, epoch)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"state-{e:06d}.{x}" for e in (3, 10) for x in ("json", "npz")
    ]


def test_nan_ends_with_what_to_change(tmp_path):
    cfg = small(learning_rate=1e-3)
    exams = blobs(cfg)
    exams.suv = exams.suv.copy()
    exams.suv[0, 0, 0] = np.nan
    with pytest.raises(gan.TrainingError, match="epoch 1: lower learning_rate"):
        gan.train(cfg, exams, tmp_path)
    assert not training.states(tmp_path / "checkpoints")  # nothing poisoned is kept


def test_out_of_memory_ends_with_what_to_change(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(radiogan.RadioGAN, "fit", full)
    cfg = small()
    with pytest.raises(gan.TrainingError, match="halve batch_size"):
        gan.train(cfg, blobs(cfg), tmp_path)


def test_ctrl_c_leaves_a_usable_run(tmp_path, monkeypatch):
    cfg = small(ema=0.9, epochs=3, samples_every=3)
    original = training.Recorder.on_epoch_begin

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    monkeypatch.setattr(training.Recorder, "on_epoch_begin", stop)
    with pytest.raises(KeyboardInterrupt, match="after epoch 2 of 3"):
        gan.train(cfg, blobs(cfg), tmp_path, checkpoint_seconds=0)
    run = gan.load_run(tmp_path)
    assert not run.finished and len(run.history) == 2
    assert gan.sample(run.generator, [0]).shape == (1, 40, 24)
    monkeypatch.undo()
    assert gan.train(cfg, blobs(cfg), tmp_path).finished


def test_the_step_cools_down_over_the_last_share_of_the_training():
    from radiogan_lib.gan.training import learning_rate

    cfg = small(epochs=10, cooldown=0.5, learning_rate=1e-3)
    steps = [learning_rate(cfg, epoch) for epoch in range(10)]
    assert steps[:6] == [1e-3] * 6 and np.allclose(steps[6:], [8e-4, 6e-4, 4e-4, 2e-4])
    assert {learning_rate(small(epochs=10, learning_rate=1e-3), epoch) for epoch in range(10)} == {
        1e-3
    }


def test_batches_follow_seed_and_epoch_and_can_be_balanced():
    images, labels = (
        np.arange(60, dtype="float32").reshape(60, 1, 1, 1),
        np.repeat([0, 1, 2], [40, 15, 5]),
    )
    plain = training.Batches(images, labels, 8, seed=3)
    assert len(plain) == 7
    seen = np.concatenate([plain[i][0][0].ravel() for i in range(7)])
    assert len(set(seen)) == 56
    assert plain.num_batches is None and not np.array_equal(plain.order(0), plain.order(4))
    resumed = training.Batches(images, labels, 8, seed=3, first_epoch=4)
    for i in (0, 6, 7, 13, 3):  # across an epoch's end, and back
        ((image, label),) = resumed[i]
        np.testing.assert_array_equal(image, plain[4 * 7 + i][0][0])
        np.testing.assert_array_equal(label, plain[4 * 7 + i][0][1])
    fair = training.Batches(images, labels, 9, seed=3, balanced=True)
    for i in range(len(fair)):
        ((image, label),) = fair[i]
        assert list(np.bincount(label, minlength=3)) == [3, 3, 3]
        np.testing.assert_array_equal(labels[image.ravel().astype(int)], label)
    assert len(training.Batches(images[:3], labels[:3], 8, seed=0)) == 1  # fewer exams than a batch


def test_recalibrated_statistics_are_the_mean_over_batches():
    """Averaged weights need statistics of their own; the moving ones of training belong to other
    weights."""
    generator = gan.build_generator(small(label_init=1.0), 3)
    gan.recalibrate(generator, [0, 1, 2], seed=0, batches=8, batch_size=64)
    z = np.random.default_rng(5).normal(size=(300, 8)).astype("float32")
    y = np.random.default_rng(6).integers(0, 3, 300).astype("int32")
    batch, moving = (np.asarray(generator([z, y], training=t)) for t in (True, False))
    assert np.abs(batch - moving).mean() < 0.15 * batch.std()
    assert generator.get_layer("up1_norm").momentum == 0.8


def test_unreadable_runs_are_explained(tmp_path):
    with pytest.raises(gan.RunError, match="03_training"):
        gan.load_run(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "provenance.json").write_text(json.dumps({"class_names": ["a"]}))
    for name in ("generator.keras", "discriminator.keras"):
        (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(gan.RunError, match="delete the folder"):
        gan.load_run(tmp_path)


def test_a_training_starts_from_an_earlier_run(finished, tmp_path):
    """Weights of the same name and shape are taken; a known class keeps its vector, a new one gets
    the mean."""
    run, cfg = finished
    other = dataclasses.replace(cfg, seed=9, start_from=str(run.directory))
    names = [run.class_names[1], "melanoma"]
    model = radiogan.compiled(other, 2, 30.0)
    training.start_from(model, other.start_from, names)
    same = model.generator.get_layer("up1").get_weights()
    assert _equal(same, run.generator.get_layer("up1").get_weights())
    for name in ("generator", "discriminator"):
        table = getattr(run, name).get_layer("label_embedding").get_weights()[0]
        got = getattr(model, name).get_layer("label_embedding").get_weights()[0]
        assert np.array_equal(got, np.stack([table[1], table.mean(0)]))
    with pytest.raises(gan.RunError, match="start_from"):
        training.start_from(
            radiogan.compiled(small(doublings=2), 3, 30.0), str(run.directory), names
        )
    with pytest.raises(gan.RunError, match="nowhere"):
        training.start_from(model, str(tmp_path / "nowhere"), names)


def test_a_run_keeps_only_the_name_of_the_run_that_it_started_from(tmp_path):
    cfg = small(start_from="/home/jane_doe/first")
    exams = blobs(cfg)
    for _ in range(2):  # a new folder, and the same experiment again
        training.claim(tmp_path, cfg, exams, ["cpu:0"])
    assert "jane" not in (tmp_path / "config.json").read_text()
    with pytest.raises(gan.RunError, match="start_from"):
        training.claim(tmp_path, small(start_from="second"), exams, ["cpu:0"])


def test_the_shipped_real_generator_opens_without_its_discriminator():
    run = gan.load_shipped("real")
    assert run.discriminator is None and run.generator.output_shape[1:3] == (160, 96)
    assert {"normal", "lung", "lymphoma"} < set(run.class_names)
    with pytest.raises(gan.RunError, match="discriminator.keras is missing"):
        gan.load_run(run.directory)
