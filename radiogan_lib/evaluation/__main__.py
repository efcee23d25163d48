"""python -m radiogan_lib.evaluation: does a generator, of any making, memorise or generalise?

Example:
    python -m radiogan_lib.evaluation --train train/ --holdout test/ --generated samples.npy --out report/

Each of the three is a folder (PNG, JPEG, TIFF, .npy, NIfTI; subfolders are classes) or one .npy or .npz file. Held-out images
must be real ones that the generator never saw. Sizes may differ: all are area-averaged to one small size, at most 40
pixels on the longer side. TensorFlow is loaded only with --use.
"""

from __future__ import annotations

import argparse
import sys

from radiogan_lib.config import RadioganError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 a fault that the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, what in (
        ("train", "what the generator was trained on"),
        ("holdout", "real images that it never saw"),
        ("generated", "what it drew"),
    ):
        parser.add_argument(
            f"--{name}", required=True, metavar="PATH", help=f"{what}: folder, .npy or .npz"
        )
    parser.add_argument(
        "--out",
        default="report",
        metavar="DIR",
        help="folder for metrics.json, report.html, MODEL_CARD.md",
    )
    parser.add_argument(
        "--use",
        action="store_true",
        help="also label agreement, TSTR and augmentation gain (needs classes)",
    )
    parser.add_argument(
        "--light", action="store_true", help="show high values light (photographs), not dark (PET)"
    )
    parser.add_argument(
        "--no-controls",
        action="store_true",
        help="leave out the five controls made of your training images",
    )
    parser.add_argument("--rounds", type=int, default=200, help="bootstrap and permutation rounds")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    try:
        return _run(a)
    except RadioganError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def _run(a: argparse.Namespace) -> int:
    from radiogan_lib.evaluation import EvaluationError, evaluate, read_images, write_report

    sets = [
        read_images(getattr(a, n), t)
        for n, t in (("train", "training"), ("holdout", "held-out"), ("generated", "generated"))
    ]
    images, labels, names = zip(*sets, strict=True)
    known = [n for n in names if n]
    if known and any(n != known[0] for n in known):
        raise EvaluationError(
            "the class folders differ between the three sets: "
            + "; ".join(", ".join(n) for n in known)
            + "."
        )
    if any(y is None for y in labels):
        labels = (None, None, None)
        if a.use:
            raise EvaluationError(
                "--use needs classes in all three sets: subfolders, or `labels` in an .npz file."
            )
    smallest = min(map(len, images))
    if smallest < 10:
        raise EvaluationError(
            f"one of the sets holds {smallest} images; give at least 10 of each, better hundreds."
        )
    print(
        f"{len(images[0])} training, {len(images[1])} held-out, {len(images[2])} generated images",
        flush=True,
    )
    report = evaluate(
        *images,
        *labels,
        class_names=known[0] if known and labels[0] is not None else None,
        utility=True if a.use else None,
        controls=not a.no_controls,
        rounds=a.rounds,
        seed=a.seed,
        invert=not a.light,
        provenance={
            "command": "python -m radiogan_lib.evaluation",
            "seed": a.seed,
            "rounds": a.rounds,
        },
    )
    written = write_report(report, a.out)
    print(report["verdict"]["sentence"])
    print(f"{written['page']} holds the report, {written['metrics'].name} beside it the numbers.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
