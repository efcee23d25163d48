"""Freed memory stays with a process that trains: fewer pages are asked of the system again and again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from radiogan_lib.gan import memory

GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc"
)
STEPS = """
    import resource, sys
    from radiogan_lib.gan import memory
    kept = memory.keep() if "keep" in sys.argv else None

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
    clean = {k: v for k, v in os.environ.items() if k not in memory.OPTIONS}
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
    assert memory.keep() is False
