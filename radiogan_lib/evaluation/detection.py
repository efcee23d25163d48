"""What would have been noticed: copies are planted among fresh exams, and the verdict's own rule is asked.

A verdict that finds nothing is worth as much as what it could have found. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.copies import NEIGHBOURS, copy_fraction
from radiogan_lib.evaluation.features import check_images, common
from radiogan_lib.evaluation.intervals import auc


@distances.one_thread
def detectable_copies(
    train,
    holdout,
    shares=(0.0, 0.02, 0.05, 0.1, 0.2, 0.5),
    trials: int = 20,
    likeness: float = 0.5,
    power: float = 0.8,
    most: int = 1500,
    seed: int = 0,
) -> dict:
    """Which share of copies would have been noticed at this number of exams? By planting them.

    All real exams are shuffled into a training half, a set of "generated" ones that are fresh by construction, and as
    many held-out exams as there are; then a share of the generated ones is replaced by copies, and the verdict's own
    rule is asked. Training and generated sets are half as large as in the real test: the answer errs on the careful
    side.

    Args:
        likeness: how far a copy lies from its exam, in units of a stranger's median distance: 0 is exact.
        power: a share counts as detectable when it and every larger one is noticed in this share of trials.

    Returns:
        dict with `shares`, `rates` (noticed, per share; the first, 0, is the false alarm rate), `smallest` (None if
        even the largest share goes unnoticed) and the sizes used.
    """
    from radiogan_lib.evaluation.verdicts import copying

    features = np.concatenate(
        common(check_images(train, "training"), check_images(holdout, "held-out"))
    )
    rng = np.random.default_rng(seed)
    n_hold = max(2, round(len(holdout) * min(1.0, most / len(features))))
    features = features[rng.permutation(len(features))[:most]]
    half = (len(features) - n_hold) // 2
    if half < 2 * NEIGHBOURS // 3 or n_hold < 5:
        return {
            "shares": list(shares),
            "rates": [None] * len(shares),
            "smallest": None,
            "n_train": half,
            "n_holdout": n_hold,
            "trials": 0,
            "likeness": likeness,
            "power": power,
        }
    d2 = distances.squared(features, features)
    k = max(1, min(NEIGHBOURS, half - 1, n_hold - 1))
    noticed = np.zeros(len(shares))
    for _ in range(trials):
        order = rng.permutation(len(features))
        t, g, p = order[:half], order[half : 2 * half], order[2 * half : 2 * half + n_hold]
        offset = (likeness * np.median(np.sqrt(d2[np.ix_(p, t)].min(axis=1)))) ** 2
        score_p = _scores(d2[np.ix_(p, t)], k)
        for s, share in enumerate(shares):
            planted = round(share * half)
            source = np.concatenate(
                [t[:planted], g[planted:]]
            )  # t and g are in random order already
            add = np.where(
                np.arange(half) < planted, offset, 0
            )  # independent noise adds its square to every distance
            to_t = d2[np.ix_(source, t)] + add[:, None]
            score_q = _scores(to_t, k)
            strangers = _scores(d2[np.ix_(source, p)] + add[:, None], k)
            near = [np.sqrt((d2[np.ix_(x, source)] + add).min(axis=1)) for x in (t, p)]
            noticed[s] += copying(
                {
                    "membership_auc": auc(-near[0], -near[1], rounds=199, seed=seed),
                    "copy_fraction": copy_fraction(
                        score_q, score_p, stranger_scores=strangers, rounds=199, seed=seed
                    ),
                }
            )
    rates = (noticed / trials).tolist()
    smallest = None
    for share, rate in zip(reversed(shares), reversed(rates), strict=True):
        if share == 0 or rate < power:
            break
        smallest = share
    return {
        "shares": list(shares),
        "rates": rates,
        "smallest": smallest,
        "n_train": half,
        "n_holdout": n_hold,
        "trials": trials,
        "likeness": likeness,
        "power": power,
    }


def _scores(d2: np.ndarray, k: int) -> np.ndarray:
    """`copy_scores` from squared distances (n, m)."""
    d = np.sqrt(np.partition(d2, k, axis=1)[:, : k + 1])
    d.sort(axis=1)
    return d[:, 0] / np.maximum(d[:, 1:].mean(axis=1), 1e-12)
