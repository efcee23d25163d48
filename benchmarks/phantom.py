"""How long one phantom takes, what it costs in memory, and against smoothing alone with SciPy.

    python benchmarks/phantom.py [exams]

Ratios are the result; seconds depend on the machine. One thread, one process.
"""

import os
import resource
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

import petphantom  # noqa: E402


def seconds(function, jobs) -> float:
    """Median processor seconds per call: what one core needs, whoever else is using the machine."""
    times = []
    for job in jobs:
        start = time.process_time()
        function(*job)
        times.append(time.process_time() - start)
    return float(np.median(times))


def main(exams: int = 10) -> None:
    petphantom.make("normal", 0, 8.0)
    jobs = [
        (name, 10000 * k + 7000 + i)
        for i in range(max(1, exams // 5))
        for k, name in enumerate(petphantom.CLASSES)
    ]
    for spacing, label, limit in ((None, "168 x 168 x 429", 1.0), (4.0, "4 mm isotropic", 0.15)):
        ours = seconds(petphantom.make, [(*job, spacing) for job in jobs])
        image = np.asarray(petphantom.make("normal", 0, spacing).dataobj)
        sigma = [6 / 2.3548 / d for d in petphantom.grid(spacing)[1]]
        scipy = seconds(ndimage.gaussian_filter, [(image, sigma)] * 3)
        print(
            f"{label:18s} {ours:6.3f} s an exam (wanted: {limit} s); SciPy's Gaussian "
            "filter of the same volume "
            f"alone: {scipy:6.3f} s, {scipy / ours:.1f} x the whole exam"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:.0f} MB (wanted: < 1000)")


if __name__ == "__main__":
    main(*[int(a) for a in sys.argv[1:2]])
