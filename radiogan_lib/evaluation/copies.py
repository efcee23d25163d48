"""Copies: the two tests that decide, membership AUC and copy fraction, on features that no network has seen.

Train T, held-out P and generated Q are compared in pooled linear intensity (features.py). A fresh exam is as near to T as
P is; a copy is nearer. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.intervals import (
    auc,
    cluster_order,
    matching_weights,
    number,
    weighted_quantile,
    wilson,
)

NEIGHBOURS = 20  # the neighbourhood that says what "near" means around an image


def membership_auc(
    train,
    holdout,
    generated,
    train_labels=None,
    holdout_labels=None,
    train_groups=None,
    holdout_groups=None,
    rounds=999,
    seed=0,
) -> dict:
    """Can a stranger tell who was in the training set from the generated images alone?

    score(x) = −min over q of ‖x − q‖, AUC of T above P: 0.5 when the generator treats both alike (a distance
    version of the membership inference of Chen et al., GAN-Leaks, CCS 2020). Exact permutation null, and blind to
    blur: a blurred generator is as near to strangers as to its training exams. All arguments are features (n, d).
    """
    t, p = (distances.nearest_k(x, generated)[0][:, 0] for x in (train, holdout))
    return auc(-t, -p, train_labels, holdout_labels, train_groups, holdout_groups, rounds, seed)


def copy_scores(features: np.ndarray, bank: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """d(q, nearest exam) ÷ mean d(q, its next k exams), in [0, 1]: small only where one exam stands out.

    The local scale of Carlini et al. (Extracting training data from diffusion models, 2023). Unlike the bare
    distance it does not call a blurred or average image a copy for being near everybody.
    """
    d, _ = distances.nearest_k(features, bank, k + 1)
    return d[:, 0] / np.maximum(d[:, 1:].mean(axis=1), 1e-12)


def copy_fraction(
    generated_scores,
    holdout_scores,
    generated_labels=None,
    holdout_labels=None,
    stranger_scores=None,
    holdout_groups=None,
    rounds: int = 999,
    seed: int = 0,
) -> dict:
    """Share of generated exams below the 5 % quantile of held-out exams, with binomial interval and p-value.

    5 % is expected of fresh exams. The p-value exchanges generated and held-out exams, so that it knows how
    uncertain a 5 % quantile of few held-out exams is; the interval (Wilson) is that of the share alone. Held-out exams of
    one patient (`holdout_groups`) are exchanged together.

    With `stranger_scores`, the generated exams' copy scores against the held-out bank, p is the larger of that and of
    a paired sign test: are more exams suspicious beside training exams than beside exams that cannot have been copied?
    Smooth images lack the noise that keeps real exams apart and are suspicious beside both. The score compares
    neighbours 1 and 2 to k + 1, and so hardly depends on the size of the bank.
    """
    q, p = np.asarray(generated_scores, float), np.asarray(holdout_scores, float)
    both = generated_labels is not None and holdout_labels is not None
    weights = matching_weights(holdout_labels, generated_labels) if both else np.ones(len(p))
    threshold = weighted_quantile(p, 0.05, weights)
    hits = int((q <= threshold).sum())
    rng, pool, null = np.random.default_rng(seed), np.concatenate([q, p]), np.empty(rounds)
    for r in range(rounds):
        mixed = (
            pool[cluster_order(len(q), holdout_groups, rng)]
            if holdout_groups is not None
            else rng.permutation(pool)
        )
        null[r] = (mixed[: len(q)] <= weighted_quantile(mixed[len(q) :], 0.05)).mean()
    p_value, more = (1 + (null >= hits / len(q)).sum()) / (rounds + 1), {}
    if stranger_scores is not None:
        beside_train, beside_strangers = q <= threshold, np.asarray(stranger_scores) <= threshold
        only = [
            int((beside_train & ~beside_strangers).sum()),
            int((beside_strangers & ~beside_train).sum()),
        ]
        paired = float(stats.binom.sf(only[0] - 1, sum(only), 0.5)) if sum(only) else 1.0
        p_value, more = (
            max(p_value, paired),
            {"beside_strangers": float(beside_strangers.mean()), "p_paired": paired},
        )
    return number(
        hits / len(q), *wilson(hits, len(q)), expected=0.05, threshold=threshold, p=p_value, **more
    )
