"""benchmarks/training.py at a tiny size: that it prints its table, and that its roofline counts
what a step must do."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "training.py"
TINY = [
    "--profile",
    "smoke",
    "--doublings",
    "3",
    "--steps",
    "1",
    "--turns",
    "2",
    "--batch-size",
    "4",
]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("training_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(*arguments, engine="tensorflow"):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *TINY, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"KERAS_BACKEND": engine},
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


def test_ours_and_the_usual_loop_side_by_side():
    """The usual loop makes sure by itself that both of its networks were trained."""
    out = _run("--only", "cut", "usual")
    assert re.search(r"40 x 24 +ours +\d", out), out
    assert all(re.search(rf"40 x 24 +{name} +\d.* x \(\d", out) for name in ("cut", "usual")), out


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_the_command_for_a_gpu_on_a_cpu():
    out = _run(
        "--only",
        "ours",
        "--precision",
        "mixed_bfloat16",
        "--peak-tflops",
        "989",
        "--bandwidth-tb",
        "4.8",
        engine="jax",
    )
    assert (
        "mixed_bfloat16, engine jax" in out
        and "of the card's roofline; 300 epochs of 1606 exams" in out
    )


def test_the_roofline_by_hand(benchmark):
    s = {
        "batch_size": 2,
        "generator_kernel": 3,
        "precision": "float32",
        "generator_channels": 7,
        "generator_widths": [4],
        "discriminator_widths": [6],
    }
    generator = 2 * (
        5 * 3 * 9 * 8 * 4 + 10 * 6 * 9 * 4
    )  # multiplications of one pass over a batch of two
    discriminator = 2 * (5 * 3 * 9 * 2 * 6)
    assert benchmark.least_seconds(s, 1e-12, 1e9) == 2 * (
        3 * generator + 8 * discriminator
    )  # a card of one operation a second
    values = 3 * 2 * (15 * 8 + 60 * 4 + 60 * (4 + 1)) + 8 * 2 * (60 * 2 + 15 * 6)
    assert benchmark.least_seconds(s, 1e9, 1e-12) == 4 * values
