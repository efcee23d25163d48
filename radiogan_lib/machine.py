"""What this process may use of the machine it runs on."""

from __future__ import annotations

import os


def cores() -> int:
    """CPU cores that this process may use; a container or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
