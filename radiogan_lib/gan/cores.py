"""Two cores share a step of the training by taking different operations, not halves of the same one.

TensorFlow cuts every operation into as many parts as there are cores *and* runs as many operations at once: on two cores
four threads then wait for each other, and the small operations of a small canvas are not worth cutting. A step has enough
operations that do not need one another (looks at real and at generated images, gradients of weights and of inputs) to fill
two cores with whole ones: a fifth to a quarter faster at 80 × 48, up to a tenth slower at 160 × 96, where operations are
larger (benchmarks/README.md). Nothing is computed otherwise, except that a sum is no longer taken in two parts. Explained
in docs/devices.md.
"""

from __future__ import annotations

import os

from radiogan_lib import machine

VARIABLE = "TF_NUM_INTRAOP_THREADS"  # TensorFlow reads it once, with its first operation
FEW = 2  # measured on two cores only; with more, TensorFlow's own choice stays


def share() -> bool:
    """Ask TensorFlow not to cut its operations, on a machine of few cores. Whoever set the variable has decided.

    Returns:
        Whether it was asked now.
    """
    if VARIABLE in os.environ or machine.cores() > FEW:
        return False
    os.environ[VARIABLE] = "1"
    return True
