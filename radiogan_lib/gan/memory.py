"""Memory that stays with the process between two steps of a training.

Every step allocates and frees the same few hundred MB of activations. glibc, the C library of most Linux systems, gives
large blocks back to the system as soon as they are free, and the system hands out zeroed pages again in the next step:
on one virtual machine more than half of a training's processor time went there, on another nothing (benchmarks/README.md).
Nothing is computed otherwise. Explained in docs/devices.md.
"""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h: the option's number, its value, and the variable with which a user sets it.
OPTIONS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 2_000_000_000),  # free memory at the heap's end that is kept
    "MALLOC_TOP_PAD_": (
        -2,
        256 << 20,
    ),  # what a heap grows by, and what is left of it when all of it is free
    "MALLOC_MMAP_THRESHOLD_": (
        -3,
        32 << 20,
    ),  # smaller blocks come from the heap and stay; glibc's own upper limit
}


def keep() -> bool:
    """Let the C library keep freed memory for the next step.

    Whoever set one of glibc's variables (`MALLOC_TRIM_THRESHOLD_` …) has decided otherwise, and nothing is changed.

    Returns:
        Whether the C library took it. False on systems without glibc, which do not need it or offer it.
    """
    if sys.platform != "linux" or any(name in os.environ for name in OPTIONS):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return all([set_option(number, value) for number, value in OPTIONS.values()])
