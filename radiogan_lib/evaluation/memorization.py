"""Does the generator repeat its training exams? Every memorisation and blend measure of one generator, in one report.

The tests that decide are in copies.py and blending.py, those that are only reported in secondary.py. Which can be believed,
and which cannot, is in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.blending import blend_report
from radiogan_lib.evaluation.copies import NEIGHBOURS, copy_fraction, copy_scores, membership_auc
from radiogan_lib.evaluation.features import check_groups, check_sets, common
from radiogan_lib.evaluation.intervals import auc
from radiogan_lib.evaluation.secondary import data_copying, fld_gap, nearest_ratio


def discriminator_overfit(
    train_scores,
    holdout_scores,
    train_labels=None,
    holdout_labels=None,
    train_groups=None,
    holdout_groups=None,
    rounds: int = 999,
    seed: int = 0,
) -> dict:
    """Does the discriminator know its exams by heart? AUC of its logits on training above held-out exams.

    0.5: it cannot tell them apart; 1: it has learned the training set, the root of memorisation where exams are few
    (Karras et al., NeurIPS 2020). It is about the discriminator; the generator may still be innocent.

    Args:
        train_scores, holdout_scores: (n,), (m,) logits D(x, y) of `gan.discriminator_scores`.

    Returns:
        {"discriminator_auc": measure with interval and permutation p, "mean_train", "mean_holdout": mean logits}.
    """
    t, p = np.ravel(np.asarray(train_scores, float)), np.ravel(np.asarray(holdout_scores, float))
    return {
        "discriminator_auc": auc(
            t, p, train_labels, holdout_labels, train_groups, holdout_groups, rounds, seed
        ),
        "mean_train": float(t.mean()),
        "mean_holdout": float(p.mean()),
    }


@distances.one_thread
def memorization_report(
    train,
    holdout,
    generated,
    train_labels=None,
    holdout_labels=None,
    generated_labels=None,
    train_groups=None,
    holdout_groups=None,
    discriminator_scores: dict | None = None,
    rounds: int = 200,
    seed: int = 0,
) -> dict:
    """Every memorisation and blend measure, with intervals.

    Args:
        train, holdout, generated: (n, h, w) linear SUV; sizes may differ, all are area-averaged to one small shape.
        train_labels, …: int (n,), optional: comparisons are then made within classes.
        train_groups, holdout_groups: (n,) patients, optional: exams of one patient are then resampled and permuted
            together, since they are no independent evidence.
        discriminator_scores: {"train", "holdout"} logits, optional.
        rounds: bootstrap rounds; permutation tests use at least 999.
        seed: everything random below follows from it.

    Returns:
        dict name → {value, low, high, …} (95 % intervals), plus `audit` and `blend_examples`.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    images, (t_y, p_y, q_y) = check_sets(
        train, holdout, generated, train_labels, holdout_labels, generated_labels
    )
    groups = (
        check_groups(train_groups, len(images[0]), "training"),
        check_groups(holdout_groups, len(images[1]), "held-out"),
    )
    t, p, q = common(*images)
    rng, many = np.random.default_rng(seed), max(999, rounds)
    dq, near = distances.nearest_k(q, t)
    dp, _ = distances.nearest_k(p, t)
    dq, dp = dq[:, 0], dp[:, 0]
    k = max(1, min(NEIGHBOURS, len(t) - 1, len(p) - 1))
    score_q, score_p, strangers = copy_scores(q, t, k), copy_scores(p, t, k), copy_scores(q, p, k)
    # A repeated draw is no new evidence: shares are counted over distinct generated exams.
    own = distances.distinct(q, 0.3 * float(np.median(dp)))
    own_y = None if q_y is None else q_y[own]
    blends = blend_report(t, p, q[own], p_y, own_y, groups[1], rounds, seed)
    for example in blends["examples"]:
        example["generated"] = int(own[example["generated"]])
    order = np.argsort(score_q, kind="stable")[:8]
    report = {
        "membership_auc": membership_auc(t, p, q, t_y, p_y, *groups, many, seed),
        "copy_fraction": copy_fraction(
            score_q[own], score_p, own_y, p_y, strangers[own], groups[1], many, seed
        ),
        "copy_fraction_distance": copy_fraction(
            dq[own], dp, own_y, p_y, holdout_groups=groups[1], rounds=many, seed=seed
        ),
        "nearest_ratio": nearest_ratio(dq, dp, rounds, rng, groups[1]),
        "data_copying_ct": data_copying(t, p, q, dq, dp, seed),
        "fld_gap": fld_gap(t, p, q),
        **{k: v for k, v in blends.items() if k != "examples"},
        "audit": [
            {
                "generated": int(k),
                "train": int(near[k, 0]),
                "distance": float(dq[k]),
                "score": float(score_q[k]),
            }
            for k in order
        ],
        "blend_examples": blends["examples"],
        "n": {
            "train": len(t),
            "holdout": len(p),
            "generated": len(q),
            "distinct_generated": len(own),
        },
    }
    if discriminator_scores is not None:
        report |= discriminator_overfit(
            discriminator_scores["train"],
            discriminator_scores["holdout"],
            t_y,
            p_y,
            *groups,
            many,
            seed,
        )
    return report
