"""What the evaluation costs, part by part: python benchmarks/evaluation.py [--dataset DIR]
[--large]

A prepared dataset's training exams, with as many noisy blends of them as "generated" exams. --large
adds the nearest neighbours of 10,000 against 10,000 images and the memory that they take.
"""

import argparse
import resource
import time

import numpy as np

from radiogan_lib import config, data, evaluation, paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="")
    parser.add_argument("--large", action="store_true")
    a = parser.parse_args()
    if a.large:
        from radiogan_lib.evaluation.features import nearest_k
        from radiogan_lib.evaluation.memorisation import best_pair

        x, y = np.random.default_rng(0).random((2, 10_000, 960), dtype=np.float32)
        clock("10,000 against 10,000, nearest", lambda: nearest_k(x, y, 21))
        clock("64 best pairs of 10,000", lambda: best_pair(x[:64], y))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{peak:.2f} GiB at most, of which the images are {(x.nbytes + y.nbytes) / 2**30:.2f}"
        )
        return
    folder = paths.need(a.dataset or paths.dataset_dir(config.load("teach")), "01_data_preparation")
    train, holdout = data.load(folder, split="train"), data.load(folder, split="test")
    generated = evaluation.make_control("blender", train, holdout)
    sets = train, holdout, generated
    print(
        f"{len(train)} training, {len(holdout)} held-out, {len(generated)} generated, "
        f"{train.suv.shape[1:]}"
    )
    start = time.perf_counter()
    clock("memorisation and blends", lambda: evaluation.memorization_report(*sets))
    clock("smallest detectable share", lambda: evaluation.detectable_copies(*sets[:2]))
    clock("five controls at half n", lambda: evaluation.run_controls(*sets[:2]))
    epochs = config.load("teach").classifier_epochs
    classifier = clock(
        "classifier of real exams", lambda: evaluation.train_classifier(train, epochs=epochs)
    )
    clock("quality in two spaces, per class", lambda: evaluation.quality_report(*sets, classifier))
    use = clock(
        "use: agreement, TSTR, augmentation", lambda: evaluation.utility_report(*sets, classifier)
    )
    print(f"TRTR {use['trtr']['value']:.3f} [{use['trtr']['low']:.3f}, {use['trtr']['high']:.3f}]")
    print(f"all: {time.perf_counter() - start:.0f} s")


def clock(name, f):
    """Run, print the seconds, return the result."""
    start = time.perf_counter()
    result = f()
    print(f"{time.perf_counter() - start:7.1f} s  {name}", flush=True)
    return result


if __name__ == "__main__":
    main()
