"""python -m radiogan_lib.evaluation: does a generator, of any making, memorise or generalise?

Example:
    python -m radiogan_lib.evaluation --train train/ --holdout test/ --generated samples.npy --out
    report/

Each of the three is a folder (PNG, JPEG, TIFF, .npy, NIfTI, one image per file; subfolders are
classes) or one .npy or .npz file. Held-out images must be real ones that the generator was not
trained on. Sizes may differ: all are area-averaged to one small size, at most 40 pixels on the
longer side. TensorFlow is loaded only with --use.
"""

import argparse
import sys
from dataclasses import replace

from radiogan_lib import machine
from radiogan_lib.config import RadioganError

SETS = (
    ("train", "training", "what the generator was trained on"),
    ("holdout", "held-out", "real images that it was not trained on"),
    ("generated", "generated", "what it drew"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 a fault that the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    for name, _, what in SETS:
        add(f"--{name}", required=True, metavar="PATH", help=f"{what}: folder, .npy or .npz")
    add(
        "--out",
        default="report",
        metavar="DIR",
        help="for metrics.json, report.html, MODEL_CARD.md",
    )
    flags = {
        "--use": "also label agreement, TSTR and gain (needs classes)",
        "--light": "show high values light (photographs), not dark (PET)",
        "--no-controls": "leave out the five controls of known fault",
    }
    for name, what in flags.items():
        add(name, action="store_true", help=what)
    add("--rounds", type=int, default=200, help="bootstrap and permutation rounds, at least 10")
    add("--seed", type=int, default=0, help="from 0")
    machine.forgiving_output()
    machine.hush_tensorflow()
    a = parser.parse_args(arguments)
    try:
        machine.keras_backend()  # a Keras that cannot work is told before any work is done
        return _run(a)
    except RadioganError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def _run(a: argparse.Namespace) -> int:
    from radiogan_lib.evaluation import EvaluationError, evaluate, read_images, write_report
    from radiogan_lib.evaluation.images import described

    sets, known = [], []
    for name, title, _ in SETS:
        given, names = read_images(getattr(a, name), title)
        print(described(given, title, names), flush=True)
        sets.append(given)
        known += [names] if names else []
        if len(given) < 10:
            fault = f"there are {len(given)} {title} images"
            raise EvaluationError(f"{fault}; give at least 10 of each, better hundreds.")
    if any(n != known[0] for n in known):
        each = "; ".join(", ".join(n) for n in known)
        raise EvaluationError(f"the class folders differ between the three sets: {each}.")
    if any(s.labels is None for s in sets):
        if a.use:
            fault = "--use needs classes in all three sets"
            raise EvaluationError(f"{fault}: subfolders, or `labels` in an .npz file.")
        sets, known = [replace(s, labels=None) for s in sets], []
    settings = {"command": "python -m radiogan_lib.evaluation", "seed": a.seed, "rounds": a.rounds}
    parts = {"controls": not a.no_controls, "provenance": settings, "utility": a.use}
    names = known[0] if known else None
    report = evaluate(*sets, parts, names, a.rounds, a.seed, invert=not a.light)
    written = write_report(report, a.out)
    print(report["verdict"]["sentence"])
    for note in report["memorization"]["notes"]:
        print(f"Note: {note}.")
    print(f"{written['page']} holds the report, {written['metrics'].name} beside it the numbers.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
