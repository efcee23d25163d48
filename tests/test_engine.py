"""What `engine.prepare` asks of TensorFlow, and `engine.keep_memory` of the C library; a user's own
choice stands."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap

import pytest

from radiogan_lib.gan import engine

VARIABLES = {*engine.GLIBC_OPTIONS, engine.THREADS_VARIABLE}  # a user's own
GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc"
)
STEPS = """
    import resource
    from radiogan_lib.gan import engine

    def step():  # like the activations of one step: large, used, freed together
        blocks = [b"x" * (25 << 20) for _ in range(4)]

    def faults():
        step(), step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            step()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    print(faults(), engine.keep_memory(), faults())
"""


def _python(code, *words, **variables):
    """What a Python of its own prints."""
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *words],
        env={k: v for k, v in os.environ.items() if k not in VARIABLES} | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return out.stdout.split()


@GLIBC
def test_steps_do_not_fetch_their_memory_again():
    usual, kept, ours = _python(STEPS)
    assert kept == "True" and int(ours) < 100 < int(usual) / 10


def test_a_users_own_choice_stands(monkeypatch):
    asked = []
    monkeypatch.setattr("ctypes.CDLL", lambda *_: asked.append("mallopt"))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert engine.keep_memory() is False and not asked


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert engine.keep_memory() is False


# What may be asked of one Python: two cores or more, `prepare` or not, a user's variable or none.
CASES = {
    "two cores": (("2", "prepare"), {}, 1),
    "four cores": (("4", "prepare"), {}, 0),
    "the user decided": (("2", "prepare"), {engine.THREADS_VARIABLE: "2"}, 0),
    "an import decides nothing": (("2",), {}, 0),
}
THREADS = """
    import json, os, sys
    from radiogan_lib import machine
    from radiogan_lib.gan import engine
    import tensorflow as tf

    def threads(words, variables):
        os.environ.update(variables)
        machine.cores = lambda: int(words[0])
        if "prepare" in words:
            engine.prepare()
        x = tf.ones((64, 64))
        float(tf.reduce_sum(x @ x))
        engine.prepare()  # too late for threads, and no error
        return tf.config.threading.get_intra_op_parallelism_threads()

    cases = json.loads(sys.argv[1])
    for words, variables in cases:
        if len(cases) == 1 or os.fork() == 0:  # threads are decided once a process
            print(threads(words, variables), flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""


@pytest.fixture(scope="module")
def found():
    """{case: threads of one operation}, of a fresh process each: forks of one that has loaded
    TensorFlow and computed nothing, where that is safe."""
    asked = [case[:2] for case in CASES.values()]
    together = [asked] if sys.platform == "linux" else [[case] for case in asked]
    printed = [n for cases in together for n in _python(THREADS, json.dumps(cases))]
    return dict(zip(CASES, map(int, printed), strict=True))


@pytest.mark.skipif(not engine.on_tensorflow(), reason="JAX has no such setting")
@pytest.mark.parametrize("case", CASES)
def test_few_cores_run_whole_operations_unless_the_user_decided(found, case):
    assert found[case] == CASES[case][2]
