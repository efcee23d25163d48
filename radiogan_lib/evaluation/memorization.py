"""Does the generator repeat its training exams? Tests against held-out real exams, which it cannot have copied.

Train T, held-out P and generated Q are compared in pooled linear intensity (features.py). A fresh exam is as near to T as
P is; a copy is nearer. Which measures can be believed, and which cannot, is in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from radiogan_lib.evaluation import distances
from radiogan_lib.evaluation.blending import blend_report
from radiogan_lib.evaluation.features import PCA, check_images, check_labels, common
from radiogan_lib.evaluation.intervals import auc, matching_weights, number, weighted_quantile, wilson

NEIGHBOURS = 20  # the neighbourhood that says what "near" means around an image


def membership_auc(train, holdout, generated, train_labels=None, holdout_labels=None, rounds=999, seed=0) -> dict:
    """Can a stranger tell who was in the training set from the generated images alone?

    score(x) = −min over q of ‖x − q‖, AUC of T above P: 0.5 when the generator treats both alike (a distance
    version of the membership inference of Chen et al., GAN-Leaks, CCS 2020). Exact permutation null, and blind to
    blur: a blurred generator is as near to strangers as to its training exams. All arguments are features (n, d).
    """
    t, p = (distances.nearest_k(x, generated)[0][:, 0] for x in (train, holdout))
    return auc(-t, -p, train_labels, holdout_labels, rounds, seed)


def copy_scores(features: np.ndarray, bank: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """d(q, nearest exam) ÷ mean d(q, its next k exams), in [0, 1]: small only where one exam stands out.

    The local scale of Carlini et al. (Extracting training data from diffusion models, 2023). Unlike the bare
    distance it does not call a blurred or average image a copy for being near everybody.
    """
    d, _ = distances.nearest_k(features, bank, k + 1)
    return d[:, 0] / np.maximum(d[:, 1:].mean(axis=1), 1e-12)


def copy_fraction(generated_scores, holdout_scores, generated_labels=None, holdout_labels=None, stranger_scores=None,
                  rounds: int = 999, seed: int = 0) -> dict:
    """Share of generated exams below the 5 % quantile of held-out exams, with binomial interval and p-value.

    5 % is expected of fresh exams. The p-value exchanges generated and held-out exams, so that it knows how
    uncertain a 5 % quantile of few held-out exams is; the interval (Wilson) is that of the share alone.

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
        mixed = rng.permutation(pool)
        null[r] = (mixed[: len(q)] <= weighted_quantile(mixed[len(q):], 0.05)).mean()
    p_value, more = (1 + (null >= hits / len(q)).sum()) / (rounds + 1), {}
    if stranger_scores is not None:
        beside_train, beside_strangers = q <= threshold, np.asarray(stranger_scores) <= threshold
        only = [int((beside_train & ~beside_strangers).sum()), int((beside_strangers & ~beside_train).sum())]
        paired = float(stats.binom.sf(only[0] - 1, sum(only), 0.5)) if sum(only) else 1.0
        p_value, more = max(p_value, paired), {"beside_strangers": float(beside_strangers.mean()), "p_paired": paired}
    return number(hits / len(q), *wilson(hits, len(q)), expected=0.05, threshold=threshold, p=p_value, **more)


def nearest_ratio(dq, dp, rounds: int, rng) -> dict:
    """Median d(Q, T) ÷ median d(P, T): 1 for fresh exams, 0 for copies; also below 1 for blur, so never decisive."""
    draws = [np.median(rng.choice(dq, len(dq))) / max(np.median(rng.choice(dp, len(dp))), 1e-12) for _ in range(rounds)]
    return number(np.median(dq) / max(np.median(dp), 1e-12), *np.quantile(draws, [0.025, 0.975]))


def data_copying(train, holdout, generated, dq, dp, seed: int = 0, cell: int = 20) -> dict:
    """C_T of Meehan, Chaudhuri and Dasgupta (AISTATS 2020): Mann–Whitney Z of d(Q, T) against d(P, T), cell by cell.

    Far below 0: generated exams are nearer to T than real strangers are. Averages over cells with at least `cell`
    held-out and generated exams, weighted by held-out exams. A blurred generator can trigger it: secondary.
    """
    from sklearn.cluster import KMeans

    pca = PCA(train, 16)  # cells only; the distances stay in the data-independent space
    n_cells = max(1, min(8, len(holdout) // (2 * cell)))
    means = KMeans(n_cells, n_init=4, random_state=seed).fit(pca(train))
    cell_q, cell_p = means.predict(pca(generated)), means.predict(pca(holdout))
    total = weight = 0.0
    for c in range(n_cells):
        q, p = dq[cell_q == c], dp[cell_p == c]
        if len(p) < cell or len(q) < cell:
            continue
        u = stats.mannwhitneyu(q, p).statistic
        z = (u - len(q) * len(p) / 2) / np.sqrt(len(q) * len(p) * (len(q) + len(p) + 1) / 12)
        total, weight = total + len(p) * z, weight + len(p)
    return number(total / weight if weight else None, cells=int(n_cells), holdout_used=int(weight))


def fld_gap(train, holdout, generated, steps: int = 30) -> dict:
    """Generalisation gap of the feature likelihood divergence (Jiralerspong et al., NeurIPS 2023), in 64 components.

    Q becomes a mixture of Gaussians, one per image, whose widths are fitted on T by expectation-maximisation; the gap
    is 100·(NLL(T) − NLL(P)) / d. Negative: the mixture fits T better, as it does when images sit on training
    exams. Its value for fresh exams is not 0 (widths are fitted on T): compare with the controls. Secondary.
    """
    pca = PCA(train)
    t, p, q = (pca(x).astype(np.float64) for x in (train, holdout, generated))
    scale = t.std()
    t, p, q = t / scale, p / scale, q / scale
    d = t.shape[1]
    d2 = distances.squared(t.astype(np.float32), q.astype(np.float32)).astype(np.float64)
    var = np.full(len(q), np.median(d2.min(axis=1)) / d)

    def loglik(d2):
        joint = -0.5 * d2 / var - 0.5 * d * np.log(2 * np.pi * var) - np.log(len(q))
        peak = joint.max(axis=1, keepdims=True)
        return joint, peak[:, 0] + np.log(np.exp(joint - peak).sum(axis=1))

    for _ in range(steps):
        joint, total = loglik(d2)
        r = np.exp(joint - total[:, None])  # (train, generated) responsibilities
        mass = r.sum(axis=0)
        var = np.where(mass > 1e-3, (r * d2).sum(axis=0) / np.maximum(mass, 1e-3) / d, var)
        var = np.maximum(var, 1e-3)
    nll_t = -loglik(d2)[1]
    nll_p = -loglik(distances.squared(p.astype(np.float32), q.astype(np.float32)).astype(np.float64))[1]
    half = 1.96 * 100 / d * np.sqrt(nll_t.var() / len(t) + nll_p.var() / len(p))
    gap = 100 * (nll_t.mean() - nll_p.mean()) / d
    return number(gap, gap - half, gap + half)


def discriminator_overfit(train_scores, holdout_scores, train_labels=None, holdout_labels=None, rounds: int = 999,
                          seed: int = 0) -> dict:
    """Does the discriminator know its exams by heart? AUC of its logits on training above held-out exams.

    0.5: it cannot tell them apart; 1: it has learned the training set, the root of memorisation where exams are few
    (Karras et al., NeurIPS 2020). It is about the discriminator; the generator may still be innocent.

    Args:
        train_scores, holdout_scores: (n,), (m,) logits D(x, y) of `gan.discriminator_scores`.

    Returns:
        {"discriminator_auc": measure with interval and permutation p, "mean_train", "mean_holdout": mean logits}.
    """
    t, p = np.ravel(np.asarray(train_scores, float)), np.ravel(np.asarray(holdout_scores, float))
    return {"discriminator_auc": auc(t, p, train_labels, holdout_labels, rounds, seed),
            "mean_train": float(t.mean()), "mean_holdout": float(p.mean())}


@distances.one_thread
def memorization_report(train, holdout, generated, train_labels=None, holdout_labels=None, generated_labels=None,
                        discriminator_scores: dict | None = None, rounds: int = 200, seed: int = 0) -> dict:
    """Every memorisation and blend measure, with intervals.

    Args:
        train, holdout, generated: (n, h, w) linear SUV; sizes may differ, all are area-averaged to one small shape.
        train_labels, …: int (n,), optional: comparisons are then made within classes.
        discriminator_scores: {"train", "holdout"} logits, optional.
        rounds: bootstrap rounds; permutation tests use at least 999.
        seed: everything random below follows from it.

    Returns:
        dict name → {value, low, high, …} (95 % intervals), plus `audit` and `blend_examples`.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    names = ("training", "held-out", "generated")
    images = [check_images(x, n) for x, n in zip((train, holdout, generated), names, strict=True)]
    labels = [None if y is None else check_labels(y, len(x), n)
              for x, y, n in zip(images, (train_labels, holdout_labels, generated_labels), names, strict=True)]
    t, p, q = common(*images)
    t_y, p_y, q_y = labels if all(y is not None for y in labels) else (None, None, None)
    rng, many = np.random.default_rng(seed), max(999, rounds)
    dq, near = distances.nearest_k(q, t)
    dp, _ = distances.nearest_k(p, t)
    dq, dp = dq[:, 0], dp[:, 0]
    k = max(1, min(NEIGHBOURS, len(t) - 1, len(p) - 1))
    score_q, score_p, strangers = copy_scores(q, t, k), copy_scores(p, t, k), copy_scores(q, p, k)
    # A repeated draw is no new evidence: shares are counted over distinct generated exams.
    own = distances.distinct(q, 0.3 * float(np.median(dp)))
    own_y = None if q_y is None else q_y[own]
    blends = blend_report(t, p, q[own], p_y, own_y, rounds, seed)
    for example in blends["examples"]:
        example["generated"] = int(own[example["generated"]])
    order = np.argsort(score_q, kind="stable")[:8]
    report = {
        "membership_auc": membership_auc(t, p, q, t_y, p_y, many, seed),
        "copy_fraction": copy_fraction(score_q[own], score_p, own_y, p_y, strangers[own], many, seed),
        "copy_fraction_distance": copy_fraction(dq[own], dp, own_y, p_y, rounds=many, seed=seed),
        "nearest_ratio": nearest_ratio(dq, dp, rounds, rng),
        "data_copying_ct": data_copying(t, p, q, dq, dp, seed),
        "fld_gap": fld_gap(t, p, q),
        **{k: v for k, v in blends.items() if k != "examples"},
        "audit": [{"generated": int(k), "train": int(near[k, 0]), "distance": float(dq[k]), "score": float(score_q[k])}
                  for k in order],
        "blend_examples": blends["examples"],
        "n": {"train": len(t), "holdout": len(p), "generated": len(q), "distinct_generated": len(own)},
    }
    if discriminator_scores is not None:
        report |= discriminator_overfit(discriminator_scores["train"], discriminator_scores["holdout"], t_y, p_y, many, seed)
    return report


@distances.one_thread
def detectable_copies(train, holdout, shares=(0.0, 0.02, 0.05, 0.1, 0.2, 0.5), trials: int = 20, likeness: float = 0.5,
                      power: float = 0.8, most: int = 1500, seed: int = 0) -> dict:
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

    features = np.concatenate(common(check_images(train, "training"), check_images(holdout, "held-out")))
    rng = np.random.default_rng(seed)
    n_hold = max(2, round(len(holdout) * min(1.0, most / len(features))))
    features = features[rng.permutation(len(features))[:most]]
    half = (len(features) - n_hold) // 2
    if half < 2 * NEIGHBOURS // 3 or n_hold < 5:
        return {"shares": list(shares), "rates": [None] * len(shares), "smallest": None, "n_train": half, "n_holdout": n_hold,
                "trials": 0, "likeness": likeness, "power": power}
    d2 = distances.squared(features, features)
    k = max(1, min(NEIGHBOURS, half - 1, n_hold - 1))
    noticed = np.zeros(len(shares))
    for _ in range(trials):
        order = rng.permutation(len(features))
        t, g, p = order[:half], order[half: 2 * half], order[2 * half: 2 * half + n_hold]
        offset = (likeness * np.median(np.sqrt(d2[np.ix_(p, t)].min(axis=1)))) ** 2
        score_p = _scores(d2[np.ix_(p, t)], k)
        for s, share in enumerate(shares):
            planted = round(share * half)
            source = np.concatenate([t[:planted], g[planted:]])  # t and g are in random order already
            add = np.where(np.arange(half) < planted, offset, 0)  # independent noise adds its square to every distance
            to_t = d2[np.ix_(source, t)] + add[:, None]
            score_q = _scores(to_t, k)
            strangers = _scores(d2[np.ix_(source, p)] + add[:, None], k)
            near = [np.sqrt((d2[np.ix_(x, source)] + add).min(axis=1)) for x in (t, p)]
            noticed[s] += copying({"membership_auc": auc(-near[0], -near[1], rounds=199, seed=seed),
                                   "copy_fraction": copy_fraction(score_q, score_p, stranger_scores=strangers, rounds=199, seed=seed)})
    rates = (noticed / trials).tolist()
    smallest = None
    for share, rate in zip(reversed(shares), reversed(rates), strict=True):
        if share == 0 or rate < power:
            break
        smallest = share
    return {"shares": list(shares), "rates": rates, "smallest": smallest, "n_train": half, "n_holdout": n_hold,
            "trials": trials, "likeness": likeness, "power": power}


def _scores(d2: np.ndarray, k: int) -> np.ndarray:
    """`copy_scores` from squared distances (n, m)."""
    d = np.sqrt(np.partition(d2, k, axis=1)[:, : k + 1])
    d.sort(axis=1)
    return d[:, 0] / np.maximum(d[:, 1:].mean(axis=1), 1e-12)
