"""What `engine.prepare` asks of TensorFlow, and `engine.keep_memory` of the C library; a user's own
choice stands."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from radiogan_lib.gan import engine

GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc"
)
STEPS = """
    import resource, sys
    from radiogan_lib.gan import engine
    kept = engine.keep_memory() if "keep" in sys.argv else None

    def step():  # like the activations of one step: large, used, freed together
        blocks = [b"x" * (25 << 20) for _ in range(4)]

    step(), step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(*words, **variables):
    code = "\n".join(line[4:] for line in STEPS.splitlines())
    clean = {k: v for k, v in os.environ.items() if k not in engine.GLIBC_OPTIONS}
    out = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    kept, faults = out.stdout.split()
    return kept, int(faults)


@GLIBC
def test_steps_do_not_fetch_their_memory_again():
    (_, usual), (kept, ours) = _run(), _run("keep")
    assert kept == "True" and ours < 100 < usual / 10


def test_a_users_own_choice_stands():
    assert _run("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert engine.keep_memory() is False


THREADS = """
    import os, sys
    from radiogan_lib import machine
    from radiogan_lib.gan import engine
    machine.cores = lambda: int(sys.argv[1])
    if len(sys.argv) > 2:
        engine.prepare()
    import tensorflow as tf
    x = tf.ones((64, 64))
    float(tf.reduce_sum(x @ x))
    engine.prepare()  # too late for threads, and no error
    print(tf.config.threading.get_intra_op_parallelism_threads())
"""


def _threads(*words, **variables):
    code = "\n".join(line[4:] for line in THREADS.splitlines())
    clean = {k: v for k, v in os.environ.items() if k != engine.THREADS_VARIABLE}
    out = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=clean | {"TF_CPP_MIN_LOG_LEVEL": "3"} | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return int(out.stdout)


@pytest.mark.skipif(not engine.on_tensorflow(), reason="JAX has no such setting")
@pytest.mark.parametrize(
    "words, variables, wanted",
    [
        (("2", "prepare"), {}, 1),
        (("4", "prepare"), {}, 0),
        (("2", "prepare"), {engine.THREADS_VARIABLE: "2"}, 0),
        (("2",), {}, 0),  # an import decides nothing
    ],
)
def test_few_cores_run_whole_operations_unless_the_user_decided(words, variables, wanted):
    assert _threads(*words, **variables) == wanted
