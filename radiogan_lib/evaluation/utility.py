"""Are generated exams of use? The class that was asked for, training on synthetic exams, and adding them to few real ones.

The judge is trained on real, on generated, or on both, and is always tested on held-out real exams. A generator that
copies scores well here: read beside memorization.py. Explained in notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

import functools

import numpy as np

from radiogan_lib.evaluation.classifier import Judge, side_by_side, train_judge
from radiogan_lib.evaluation.features import check_groups, check_images, check_labels
from radiogan_lib.evaluation.intervals import number, resample, wilson


def _recalls(predicted: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Per class, which of its exams were recognised: {class: bool (n,)}."""
    return {int(c): predicted[labels == c] == c for c in np.unique(labels)}


def balanced_accuracy(
    predictions: list[np.ndarray], labels: np.ndarray, rounds: int = 200, seed: int = 0, groups=None
) -> dict:
    """Mean recall over classes, averaged over judges; interval: bootstrap of held-out patients within classes and of judges."""
    hits = [_recalls(p, labels) for p in predictions]
    rng, own = (
        np.random.default_rng(seed),
        {int(c): None if groups is None else groups[labels == c] for c in np.unique(labels)},
    )

    def once(draw: bool) -> float:
        chosen = resample(len(hits), rng) if draw else range(len(hits))
        recalls = []
        for c in hits[0]:
            n = len(hits[0][c])
            pick = resample(n, rng, own[c]) if draw else np.arange(n)
            recalls.append(np.mean([hits[j][c][pick].mean() for j in chosen]))
        return float(np.mean(recalls))

    return number(
        once(False),
        *np.quantile([once(True) for _ in range(rounds)], [0.025, 0.975]),
        judges=len(hits),
    )


def label_agreement(
    judge: Judge, generated, generated_labels, holdout=None, holdout_labels=None
) -> dict:
    """How often a judge trained on real exams sees the class that the generator was asked for.

    Returns:
        overall and per class with binomial intervals, `confusion` (asked × seen, shares of the asked class), and, with
        held-out exams, what the same judge reaches on real ones: the ceiling.
    """
    y = check_labels(generated_labels, len(generated), "generated")
    seen = judge.predict(generated)
    recalls = _recalls(seen, y)
    confusion = np.array(
        [
            [(seen[y == a] == b).mean() if (y == a).any() else 0.0 for b in range(judge.n_classes)]
            for a in range(judge.n_classes)
        ]
    )
    ceiling = {}
    if holdout is not None:
        real = _recalls(
            judge.predict(holdout), check_labels(holdout_labels, len(holdout), "held-out")
        )
        ceiling = {c: number(h.mean(), *wilson(int(h.sum()), len(h))) for c, h in real.items()}
    hits = int((seen == y).sum())
    return {
        "overall": number(
            hits / len(y),
            *wilson(hits, len(y)),
            ceiling=float(np.mean([v["value"] for v in ceiling.values()])) if ceiling else None,
        ),
        "classes": {
            c: number(
                h.mean(), *wilson(int(h.sum()), len(h)), ceiling=ceiling.get(c, {}).get("value")
            )
            for c, h in recalls.items()
        },
        "confusion": np.round(confusion, 4).tolist(),
    }


def augmentation_gain(
    train,
    train_labels,
    holdout,
    holdout_labels,
    synthetic: Judge,
    sizes=(10, 20, 50),
    repeats: int = 2,
    steps: int = 150,
    rounds: int = 200,
    seed: int = 0,
    groups=None,
    train_groups=None,
) -> list[dict]:
    """What generated exams add where real ones are few: balanced accuracy with and without them.

    `real` trains on k real exams per class alone; `both` starts from the judge trained on generated exams and goes on
    with the same k real exams. Same real exams, same test exams, `repeats` random draws of the k, of different patients
    (`train_groups`) as long as there are enough.

    Returns:
        one dict per size: per_class, real, both, and gain = both − real with a paired bootstrap interval.
    """
    rng = np.random.default_rng(seed)
    train, y = check_images(train, "training"), check_labels(train_labels, len(train), "training")
    holdout_labels, n = np.asarray(holdout_labels), synthetic.n_classes
    sizes = [size for size in sizes if min(np.bincount(y)[np.unique(y)]) >= size]

    def predictions(pick: np.ndarray, start: Judge | None, r: int) -> np.ndarray:
        judge = train_judge(
            train[pick],
            y[pick],
            n,
            steps=steps // 2 if start else steps,
            start=start,
            seed=seed + r,
        )
        return judge.predict(holdout)

    jobs = []
    for size in sizes:
        for r in range(repeats):
            pick = np.concatenate(
                [_choose(np.flatnonzero(y == c), size, train_groups, rng) for c in np.unique(y)]
            )
            jobs += [functools.partial(predictions, pick, start, r) for start in (None, synthetic)]
    seen = side_by_side(jobs)
    rows = []
    for k, size in enumerate(sizes):
        alone, both = (seen[2 * repeats * k + j : 2 * repeats * (k + 1) : 2] for j in (0, 1))
        rows.append(
            {
                "per_class": int(size),
                "real": balanced_accuracy(alone, holdout_labels, rounds, seed, groups),
                "both": balanced_accuracy(both, holdout_labels, rounds, seed, groups),
                "gain": _paired(alone, both, holdout_labels, rounds, seed, groups),
            }
        )
    return rows


def _choose(members: np.ndarray, size: int, groups, rng) -> np.ndarray:
    """`size` of these exams at random, one per patient as long as there are enough."""
    order = (
        rng.permutation(members) if groups is not None else rng.choice(members, size, replace=False)
    )
    if groups is not None:
        first = np.zeros(len(order), bool)
        first[np.unique(groups[order], return_index=True)[1]] = True
        order = np.concatenate([order[first], order[~first]])
    return order[:size]


def _paired(
    alone: list, both: list, labels: np.ndarray, rounds: int, seed: int, groups=None
) -> dict:
    """Difference of balanced accuracies; exams and repeats are resampled together for both, so that luck cancels."""
    rng = np.random.default_rng(seed)
    difference = np.stack(
        [(b == labels).astype(float) - (a == labels) for a, b in zip(alone, both, strict=True)]
    )
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]

    def once(draw: bool) -> float:
        rows = resample(len(difference), rng) if draw else np.arange(len(difference))
        return float(
            np.mean(
                [
                    difference[rows][
                        :,
                        m[resample(len(m), rng, None if groups is None else groups[m])]
                        if draw
                        else m,
                    ].mean()
                    for m in members
                ]
            )
        )

    return number(once(False), *np.quantile([once(True) for _ in range(rounds)], [0.025, 0.975]))


def utility_report(
    train,
    holdout,
    generated,
    train_labels,
    holdout_labels,
    generated_labels,
    train_groups=None,
    holdout_groups=None,
    judge: Judge | None = None,
    epochs: int = 30,
    sizes=(10, 20, 50),
    repeats: int = 2,
    rounds: int = 200,
    seed: int = 0,
) -> dict:
    """Label agreement, TRTR, TSTR and augmentation gain, with intervals.

    Args:
        train, holdout, generated: (n, h, w) SUV, with int labels (n,) each.
        train_groups, holdout_groups: (n,) patients, optional: intervals then resample patients, and small sets of real
            exams are of as many patients as there can be.
        judge: trained on the real exams; made here if missing.
        epochs: of the judges on all real and on all generated exams.

    Returns:
        {"label_agreement", "trtr", "tstr", "tstr_ratio", "augmentation"}: TRTR trains on real and tests on held-out
        real exams, TSTR trains on generated (the classification accuracy score of Ravuri & Vinyals, NeurIPS 2019).
    """
    n = int(max(np.max(v) for v in (train_labels, holdout_labels, generated_labels))) + 1
    p_y = check_labels(holdout_labels, len(holdout), "held-out")
    t_groups, groups = (
        check_groups(train_groups, len(train), "training"),
        check_groups(holdout_groups, len(holdout), "held-out"),
    )
    judge = judge or train_judge(train, train_labels, n, epochs=epochs, seed=seed)
    synthetic = train_judge(generated, generated_labels, n, epochs=epochs, seed=seed)
    real, synth = judge.predict(holdout), synthetic.predict(holdout)
    trtr, tstr = (balanced_accuracy([v], p_y, rounds, seed, groups) for v in (real, synth))
    return {
        "label_agreement": label_agreement(judge, generated, generated_labels, holdout, p_y),
        "trtr": trtr,
        "tstr": tstr,
        "tstr_minus_trtr": _paired([real], [synth], p_y, rounds, seed, groups),
        "chance": 1 / len(np.unique(p_y)),
        "augmentation": augmentation_gain(
            train,
            train_labels,
            holdout,
            p_y,
            synthetic,
            sizes,
            repeats,
            rounds=rounds,
            seed=seed,
            groups=groups,
            train_groups=t_groups,
        ),
    }
