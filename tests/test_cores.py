"""How TensorFlow uses two cores: whole operations side by side, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from radiogan_lib import machine
from radiogan_lib.gan import cores


@pytest.mark.parametrize(
    "have,set_to,wanted",
    [(1, None, "1"), (2, None, "1"), (4, None, None), (2, "2", "2"), (2, "0", "0")],
)
def test_few_cores_and_no_word_of_the_user(monkeypatch, have, set_to, wanted):
    monkeypatch.setenv(cores.VARIABLE, set_to or "")
    if set_to is None:
        monkeypatch.delenv(cores.VARIABLE)
    monkeypatch.setattr(machine, "cores", lambda: have)
    assert cores.share() is (set_to is None and wanted is not None)
    assert os.environ.get(cores.VARIABLE) == wanted


def test_tensorflow_hears_of_it():
    """TensorFlow's own pool for the parts of an operation has no thread left: the process has fewer than without."""
    if machine.cores() != 2 or not os.path.isdir("/proc/self/task"):
        pytest.skip(
            "this machine does not have two cores, or is no Linux system to count threads on"
        )
    code = (
        "import os, sys\nif 'gan' in sys.argv: import radiogan_lib.gan\nimport tensorflow as tf\nx = tf.ones((64, 64))\n"
        "float(tf.reduce_sum(x @ x)); print(len(os.listdir('/proc/self/task')))"
    )
    clean = {k: v for k, v in os.environ.items() if k != cores.VARIABLE} | {
        "TF_CPP_MIN_LOG_LEVEL": "3"
    }
    threads = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, *words],
                env=clean,
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            ).stdout
        )
        for words in ((), ("gan",))
    ]
    assert threads[1] < threads[0]
