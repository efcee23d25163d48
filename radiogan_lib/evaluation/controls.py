"""Generators with a known fault: does every test say what it should?

A test is believed when it calls a copier a copier, and clears fresh exams. The five controls are made from real (or
phantom) exams alone: no network, no training. They ship so that every reader can repeat the check on their own data.
Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from radiogan_lib.evaluation.features import EvaluationError, check_images, check_labels

EXPECTED = {
    "ideal": "generalises",
    "copier": "memorises",
    "blender": "blends",
    "collapsed": "collapsed",
    "blurred": "blurred",
}
KINDS = tuple(EXPECTED)


def make_control(
    kind: str,
    train,
    fresh,
    train_labels=None,
    fresh_labels=None,
    n: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Images of a generator with a known fault.

    Args:
        kind: `ideal`: fresh exams as they are. `copier`: training exams drawn at random, 2 % noise. `blender`: two
            training exams of one class, 30 to 70 % each. `collapsed`: two fresh exams per class again and again, 2 %
            noise. `blurred`: fresh exams, smoothed by a Gaussian of 1/40 of the height.
        train, fresh: (n, h, w) SUV: training exams, and exams of the same world that are in no other set. `fresh` may
            be a function n → (images, labels).
        n: images to make; default as many as training exams (`ideal` and `blurred`: at most as many as `fresh`).

    Returns:
        images (n, h, w) float32 SUV and labels (n,) int (all 0 without labels).
    """
    if kind not in KINDS:
        raise EvaluationError(f"there is no control {kind!r}; choose one of {', '.join(KINDS)}.")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    train = check_images(train, "training")
    n = len(train) if n is None else n
    if isinstance(fresh, Callable):
        fresh, fresh_labels = fresh(n)
    fresh = check_images(fresh, "fresh")
    t_y = (
        np.zeros(len(train), np.int64)
        if train_labels is None
        else check_labels(train_labels, len(train), "training")
    )
    f_y = (
        np.zeros(len(fresh), np.int64)
        if fresh_labels is None
        else check_labels(fresh_labels, len(fresh), "fresh")
    )
    if kind in ("ideal", "blurred"):
        pick = np.arange(len(fresh))[:n]
        images, labels = fresh[pick], f_y[pick]
        if kind == "blurred":
            width = images.shape[1] / 40
            images = ndimage.gaussian_filter(images, (0, width, width))
    elif kind == "collapsed":
        few = np.concatenate([np.flatnonzero(f_y == c)[:2] for c in np.unique(f_y)])
        labels = rng.permutation(t_y)[np.arange(n) % len(t_y)]
        pick = np.array(
            [
                rng.choice(few[f_y[few] == c]) if (f_y[few] == c).any() else rng.choice(few)
                for c in labels
            ]
        )
        images = _noisy(fresh[pick], rng)
    else:
        first = rng.permutation(len(train))[np.arange(n) % len(train)]
        labels = t_y[first]
        images = _noisy(train[first], rng)
        if kind == "blender":
            second = np.array([rng.choice(np.flatnonzero(t_y == c)) for c in labels])
            share = rng.uniform(0.3, 0.7, (n, 1, 1)).astype(np.float32)
            images = (1 - share) * train[first] + share * train[second]
    return images.astype(np.float32), labels


def _noisy(images: np.ndarray, rng) -> np.ndarray:
    """Each pixel times 1 ± 2 %: no pixel is equal, every patient is recognisable."""
    return np.maximum(images * (1 + 0.02 * rng.standard_normal(images.shape)), 0).astype(np.float32)


def halves(train, train_labels=None, seed: int = 0, groups=None) -> tuple[np.ndarray, np.ndarray]:
    """Split training exams into two random halves, class by class: one plays training, the other fresh exams.

    That makes all five controls on anybody's data, without a simulator. Exams of one group (patient) stay together.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(train), int) if train_labels is None else np.asarray(train_labels)
    first, group = np.unique(
        np.arange(len(train)) if groups is None else np.asarray(groups),
        return_index=True,
        return_inverse=True,
    )[1:]
    chosen = np.zeros(len(first), bool)
    for c in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == c))
        chosen[members[: (len(members) + 1) // 2]] = True
    return np.flatnonzero(chosen[group]), np.flatnonzero(~chosen[group])


def run_controls(
    train,
    holdout,
    fresh=None,
    train_labels=None,
    holdout_labels=None,
    fresh_labels=None,
    train_groups=None,
    holdout_groups=None,
    kinds=KINDS,
    seed: int = 0,
    rounds: int = 200,
) -> list[dict]:
    """Judge every control exactly as a generator is judged (pixel features), and say whether the verdict is right.

    Without `fresh`, half of the training exams play the fresh ones (`halves`), so the controls stand at half the n.
    Groups (patients) are as in `memorization_report`; a patient's exams are all in one half.

    Returns:
        one dict per control: kind, expected, word, right, and the key numbers.
    """
    from radiogan_lib.evaluation.memorization import memorization_report
    from radiogan_lib.evaluation.quality import quality_report
    from radiogan_lib.evaluation.verdicts import verdict

    if fresh is None:
        own, other = halves(train, train_labels, seed, train_groups)
        train_groups = None if train_groups is None else np.asarray(train_groups)[own]
        train, fresh = np.asarray(train)[own], np.asarray(train)[other]
        if train_labels is not None:
            train_labels, fresh_labels = (
                np.asarray(train_labels)[own],
                np.asarray(train_labels)[other],
            )
    rows = []
    for kind in kinds:
        images, labels = make_control(kind, train, fresh, train_labels, fresh_labels, seed=seed)
        y = (
            (train_labels, holdout_labels, labels)
            if train_labels is not None and holdout_labels is not None
            else (None,) * 3
        )
        memorization = memorization_report(
            train,
            holdout,
            images,
            *y,
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            rounds=rounds,
            seed=seed,
        )
        quality = quality_report(
            train,
            holdout,
            images,
            *y,
            train_groups=train_groups,
            holdout_groups=holdout_groups,
            rounds=rounds,
            seed=seed,
        )
        result = verdict({"memorization": memorization, "quality": quality})
        rows.append(
            {
                "kind": kind,
                "expected": EXPECTED[kind],
                "word": result.word,
                "right": result.word == EXPECTED[kind],
                "membership_auc": memorization["membership_auc"],
                "copy_fraction": memorization["copy_fraction"],
                "pair_residual_ratio": memorization["pair_residual_ratio"],
                "blend_fraction": memorization["blend_fraction"],
                "coverage_ratio": quality["pixels"]["coverage_ratio"],
                "vendi_ratio": quality["pixels"]["vendi_ratio"],
                "fine_detail": quality["fine_detail"],
                "nearest_ratio": memorization["nearest_ratio"],
                "data_copying_ct": memorization["data_copying_ct"],
                "fld_gap": memorization["fld_gap"],
                "kid": quality["pixels"]["kid"],
            }
        )
    return rows
