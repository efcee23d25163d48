"""Does the generator repeat its training exams? Copies, repeated draws and blends.

A fresh exam is as near to the training exams T as held-out exams P are; a copy is nearer. All
thresholds come from the real exams themselves.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy import stats

from radiogan_lib.evaluation import preconditions
from radiogan_lib.evaluation.features import (
    EvaluationError,
    ImageSet,
    Moved,
    as_set,
    blocks,
    check_sets,
    common_shape,
    distinct,
    nearest_k,
    one_each,
    one_thread,
    pooled,
    squared,
    subsample,
)
from radiogan_lib.evaluation.statistics import ALPHA, FEW, Measure, above, auc, fraction, wilson

NEIGHBOURS = 20  # the neighbourhood that says what "near" means around an image
LIMITS = (5000, 2500, 2500)  # images of each set that the tests use; larger sets are subsampled
# lower bounds from which a test speaks; fresh exams: 0.5, 0.05
MEMBERSHIP_AUC, COPY_FRACTION = 0.52, 0.08


class Near(NamedTuple):
    """Nearest exams of images in one view: `score` (n,) in [0, 1], `d` and `i` (n, k + 1)."""

    score: np.ndarray
    d: np.ndarray
    i: np.ndarray

    @classmethod
    def of(cls, d: np.ndarray, i: np.ndarray) -> Near:
        """score = d(q, nearest exam) ÷ mean d(q, next k exams): small where one exam stands out.

        The local scale of Carlini et al. (2023): an average image, near everybody, is no copy.
        """
        rest = np.where(np.isfinite(d[:, 1:]), d[:, 1:], np.nan)
        known = rest.size and np.isfinite(rest).any(axis=1).all()
        mean = np.nanmean(rest, axis=1) if known else d[:, 0]
        return cls(np.where(mean > 0, d[:, 0] / np.where(mean > 0, mean, 1), 1.0), d, i)


class Views:
    """Images in the ways in which they are compared: whole, moved (see `Moved`), and by halves."""

    def __init__(self, images: np.ndarray, shape: tuple[int, int]):
        self.shape, self.whole, self.moved = shape, pooled(images, shape), Moved(images, shape)

    def near(self, bank: Views, k: int, apart=None) -> dict[str, Near]:
        """By view the nearest and the next k images of the bank; `apart` as in `nearest_k`."""
        return {
            "whole": Near.of(*nearest_k(self.whole, bank.whole, k + 1, apart)),
            "moved": Near.of(*self.moved.nearest(bank.moved, k + 1, apart)),
        }

    def registered(self, bank: Views, near: dict[str, Near]) -> tuple[np.ndarray, np.ndarray]:
        """`Moved.registered` with what `near` found in that bank."""
        return self.moved.registered(bank.moved, near["moved"].d, near["moved"].i)

    def halves(self, bank: Views, k: int) -> np.ndarray:
        """Score (n,) of the half of each image that is most like a copy: a side, top or bottom."""
        h, w = self.shape
        x, y = (v.whole.reshape(-1, h, w) for v in (self, bank))
        scores = []
        for half in (
            np.s_[:, : h // 2],
            np.s_[:, h - h // 2 :],
            np.s_[:, :, : w // 2],
            np.s_[:, :, w - w // 2 :],
        ):
            a, b = (v[half].reshape(len(v), -1) for v in (x, y))
            scores.append(Near.of(*nearest_k(a, b, k + 1)).score)
        return np.min(scores, axis=0)


class Reference:
    """What the real exams say about themselves; made once for every generator trained on them.

    `notes` says in words what was left out, `doubts` why the sets may not belong together.

    Args:
        train, holdout: `ImageSet`s or (n, h, w) SUV.
        shape: at which images are compared; default their common one.
    """

    @one_thread()
    def __init__(self, train, holdout, shape: tuple[int, int] | None = None, seed: int = 0):
        self.train, held = as_set(train, "training"), as_set(holdout, "held-out")
        preconditions.refuse(self.train, held)
        self.holdout, self.seed = held.take(one_each(held, seed)), seed
        self.shape = shape or common_shape(*(s.images.shape[1:] for s in (self.train, held)))
        self.kept_train, self.notes = _sampled(self.train, LIMITS[0], seed, "training")
        kept, notes = _sampled(self.holdout, LIMITS[1], seed, "held-out")
        self.notes += notes
        part = self.train.take(self.kept_train)
        self.t, self.t_y = Views(part.images, self.shape), part.labels
        self.t_one = one_each(part, seed)  # independent exams, for the membership tests
        self.k = max(1, min(NEIGHBOURS, len(part) - 2, len(kept) - 2))
        apart = np.arange(len(part)) if part.patients is None else part.patients
        self.own = self.t.near(self.t, self.k, (apart, apart))
        self._hold(kept)
        leaks = self._leaks()
        self.leak_share = len(leaks) / len(kept)
        if 0 < self.leak_share <= 0.1 and len(kept) - len(leaks) >= 5:
            left = f"{len(leaks)} held-out images that are training images were left out"
            self.notes.append(left)
            self._hold(np.delete(kept, leaks))
            leaks = []
        pairs = (self.t, self.own), (self.p, self.p_near)
        turned = [x.registered(self.t, near)[0] for x, near in pairs]
        d = {v: [near[v].d[:, 0] for _, near in pairs] for v in self.own} | {"registered": turned}
        self.radius, self.real_hits = {}, {}  # how close few real exams lie, and how many do
        for view, (own, held) in d.items():
            x = np.concatenate([own, np.delete(held, leaks)])
            x = x[np.isfinite(x)]
            self.radius[view] = 0.5 * float(np.quantile(x, 0.01)) if len(x) else 0.0
            self.real_hits[view] = int((x <= self.radius[view]).sum()), len(x)
        t, p = self.t.whole, self.p.whole
        self.between = squared(t, t)
        pairs = best_pair(p, t, between=self.between), best_pair(p, p, own=True)
        self.blend = blend_score(*pairs, self.radius["whole"])

    def _hold(self, index: np.ndarray) -> None:
        """Take these held-out exams, and find their nearest training exams in every view."""
        part = self.holdout.take(index)
        self.p_index, self.p_y, self.p = index, part.labels, Views(part.images, self.shape)
        self.k = min(self.k, max(1, len(part) - 2))
        self.p_near = self.p.near(self.t, self.k)

    def _leaks(self) -> np.ndarray:
        """Held-out exams that are training exams: exact ones, or unusually many near ones."""
        found = np.zeros(len(self.p_index), bool)
        for view, own in self.own.items():
            known = own.d[:, 0][np.isfinite(own.d[:, 0])]
            if not len(known):
                continue
            radius, d = 0.5 * np.quantile(known, 0.01), self.p_near[view].d[:, 0]
            near, exact = d <= radius, d <= 0.1 * radius
            rate = ((known <= radius).sum() + 1) / (len(known) + 1)
            if near.any() and stats.binom.sf(near.sum() - 1, len(d), rate) < 1e-3:
                found |= near
            elif not (known <= 0.1 * radius).any():
                found |= exact
        return np.flatnonzero(found)

    @functools.cached_property
    def near_auc(self) -> dict[str, Measure]:
        """By view: do held-out exams lie further from training exams than these from each other?"""
        one = self.t_one
        labels = self.p_y, None if self.t_y is None else self.t_y[one]
        pairs = {v: (self.p_near[v].d[:, 0], self.own[v].d[one, 0]) for v in self.own}
        return {v: auc(*pair, labels, 99) for v, pair in pairs.items()}

    @functools.cached_property
    def doubts(self) -> list[str]:
        """Why training and held-out exams may not belong together, in words."""
        return preconditions.between_real(self, self.seed)


def _sampled(given: ImageSet, most: int, seed: int, name: str) -> tuple[np.ndarray, list[str]]:
    """Indices of at most `most` images, and a sentence where that is not all of them."""
    kept = subsample(given, most, seed)
    said = f"{len(kept):,} of {len(given):,} {name} images were used"
    return kept, [said] if len(kept) < len(given) else []


@one_thread()
def memorization_report(
    train, holdout, generated, discriminator_scores=None, rounds=200, seed=0, reference=None
) -> dict:
    """Every memorisation and blend measure, with intervals.

    Args:
        train, holdout, generated: `ImageSet`s in linear intensity (SUV); sizes may differ.
        discriminator_scores: {"train", "holdout"}: logits of `gan.discriminator_scores`, optional.
        rounds: bootstrap rounds; permutation tests use at least 999.
        reference: `Reference` of the same training and held-out exams, if it exists already.

    Returns:
        dict: `Measure`s by name (see `statistics.MEASURES`), `facts`, `doubts`, `notes`, `n`, and
        `audit` and `blend_examples`: the most suspicious images.

    Raises:
        EvaluationError: images that are empty, not finite, or not (n, h, w).
    """
    train, holdout, generated = check_sets(train, holdout, generated)
    preconditions.refuse(train, holdout)
    if len(generated) < 5:
        fault = f"{len(generated)} generated images are too few to compare"
        raise EvaluationError(f"{fault}; give hundreds.")
    shape = common_shape(*(s.images.shape[1:] for s in (train, holdout, generated)))
    ref = reference if reference and reference.shape == shape else None
    ref = ref or Reference(train, holdout, shape, seed)
    kept, notes = _sampled(generated, LIMITS[2], seed, "generated")
    part, draws = generated.take(kept), (max(999, rounds), seed)  # of the permutation tests
    q, q_y = Views(part.images, shape), part.labels
    t_y, p_y = (ref.t_y[ref.t_one], ref.p_y) if q_y is not None else (None, None)
    near, beside = q.near(ref.t, ref.k), q.near(ref.p, ref.k)
    # blurred images lie nearer to each other than real ones: a repeat is near on their own scale
    few = (x.whole[:: 1 + len(x.whole) // 400] for x in (q, ref.t))
    alike = [np.median(squared(x, x)) for x in few]
    scale = float(np.clip(np.sqrt(alike[0] / max(alike[1], 1e-30)), 0.1, 1))
    stands = distinct(q.whole, scale * ref.radius["whole"])
    own = np.flatnonzero(stands == np.arange(len(kept)))  # repeats are no new evidence for a share
    own_y = None if q_y is None else q_y[own]
    report = {"facts": facts(ref, q, near, beside, stands, kept)}
    views = zip(("copy_fraction", "moved_fraction"), near, strict=True)
    scores = {name: [x[v].score for x in (near, ref.p_near, beside)] for name, v in views}
    pairs = (q, ref.t), (ref.p, ref.t), (q, ref.p)
    scores["part_fraction"] = [x.halves(bank, ref.k) for x, bank in pairs]
    for name, (drawn, held, other) in scores.items():
        report[name] = fraction(drawn[own], held, (own_y, p_y), other[own], *draws)
    nearest = {
        "membership_auc": [nearest_k(x.whole, q.whole)[0][:, 0] for x in (ref.t, ref.p)],
        "moved_auc": [x.moved.nearest(q.moved)[0][:, 0] for x in (ref.t, ref.p)],
    }
    for (name, (d_t, d_p)), real in zip(nearest.items(), ref.near_auc.values(), strict=True):
        report[name] = auc(-d_t[ref.t_one], -d_p, (t_y, p_y), *draws)
        report[name]["real"] = real["value"]
    repeats, (hits, n_real) = len(kept) - len(own), ref.real_hits["whole"]
    interval = wilson(repeats, len(kept))
    real = hits / max(n_real, 1)
    report["repeated_fraction"] = Measure(repeats / len(kept), *interval, real=real)
    report |= _blends(ref, q.whole[own], (own_y, p_y), kept[own], draws)
    report["doubts"] = [*ref.doubts, *preconditions.with_generated(ref, part, report)]
    report["audit"] = _audit(ref, near, kept)
    report["notes"] = [*ref.notes, *notes]
    sizes = {"train": len(train), "holdout": len(ref.p_index), "generated": len(generated)}
    report["n"] = sizes | {"distinct_generated": len(own)}
    if discriminator_scores is not None:
        one = one_each(train, seed), one_each(holdout, seed)
        known = (np.ravel(discriminator_scores[k]) for k in ("train", "holdout"))
        t, p = (scores[i] for scores, i in zip(known, one, strict=True))
        labels = train.take(one[0]).labels, holdout.take(one[1]).labels
        report["discriminator_auc"] = auc(t, p, labels, *draws)
    return report


def _audit(ref: Reference, near: dict, kept: np.ndarray) -> list[dict]:
    """The eight images most like copies; `kept`: their indices among the generated."""
    whole, moved = near.values()
    order = np.argsort(np.minimum(whole.score, moved.score), kind="stable")[:8]
    found = [(j, whole if whole.score[j] <= moved.score[j] else moved) for j in order]
    return [
        {
            "generated": int(kept[j]),
            "train": int(ref.kept_train[view.i[j, 0]]),
            "distance": float(whole.d[j, 0]),
            "score": float(view.score[j]),
        }
        for j, view in found
    ]


def facts(ref: Reference, q: Views, near: dict, beside: dict, stands, kept) -> dict:
    """Plain counts: copies by training exam, repeated images, copies of held-out exams.

    Near-exact: within half of the distance that only 1 % of real exams fall below, as it is or
    moved; exact: within a tenth of that. Images that are as near to an exam only after registration
    count where they are more than chance explains. `decides`: no chance explains the copies.
    """
    n, (whole, moved) = len(kept), near.values()
    d, i = whole.d[:, 0].copy(), ref.kept_train[whole.i[:, 0]]
    if len(ref.kept_train) < len(ref.train):  # every training exam counts here, not only the sample
        for rows in blocks(len(ref.train), 4 * q.whole.shape[1]):
            found, place = nearest_k(q.whole, pooled(ref.train.images[rows], ref.shape))
            nearer = found[:, 0] < d
            d[nearer], i[nearer] = found[nearer, 0], place[nearer, 0] + rows.start
    radius, hits = ref.radius, [ref.real_hits[v] for v in near]
    hit, moved_d = d <= radius["whole"], moved.d[:, 0]
    copies = hit | (moved_d <= radius["moved"])
    exact = (d <= 0.1 * radius["whole"]) | (moved_d <= 0.1 * radius["moved"])
    exam = np.where(hit, i, ref.kept_train[moved.i[:, 0]])
    real = max(h for h, _ in hits), min(n_real for _, n_real in hits)
    decides = beyond_chance(exam[copies], n, *real, bool(exact.any()))
    turned_d, turned_i = q.registered(ref.t, near)
    turned, turned_exam = turned_d <= radius["registered"], ref.kept_train[turned_i]
    if beyond_chance(turned_exam[turned], n, *ref.real_hits["registered"]):
        exam = np.where(copies, exam, turned_exam)
        copies, decides = copies | turned, True
    exams, counts = np.unique(exam[copies], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    p_hit = np.any([x.d[:, 0] <= radius[v] for v, x in beside.items()], axis=0)
    again, sizes = np.unique(stands, return_counts=True)
    largest = [j for j in np.argsort(-sizes, kind="stable")[:20] if sizes[j] > 1]
    return {
        "copies": int(copies.sum()),
        "exact": int((exact & copies).sum()),
        "images": n,
        "exams": [{"train": int(exams[j]), "count": int(counts[j])} for j in order[:20]],
        "n_exams": len(exams),
        "repeats": [{"generated": int(kept[again[j]]), "count": int(sizes[j])} for j in largest],
        "heldout": int((p_hit & ~copies & (stands == np.arange(n))).sum()),
        "real_resemblances": int(real[0]),
        "decides": decides,
    }


def beyond_chance(exam, n: int, known: int, n_real: int, exact: bool = False) -> bool:
    """Are n images more often near training exams than real ones are, `known` of `n_real`?

    `exam`: the training exam of each image that is near one.
    """
    exams, counts = np.unique(exam, return_counts=True)
    most = counts.max(initial=0)
    if known == 0:
        return exact or len(exams) > FEW or bool(most >= FEW)

    def p(hits):
        table = [[hits, n - hits], [known, n_real - known]]
        return stats.fisher_exact(table, "greater")[1]

    return bool(p(len(exams)) < 1e-4 or p(most) < 1e-4)


def copying(report: dict, membership=MEMBERSHIP_AUC, copies=COPY_FRACTION) -> bool:
    """Does one of the copy tests speak? The rule of the verdict and of `detectable_copies`."""
    if (report.get("facts") or {}).get("decides"):
        return True
    bounds = dict.fromkeys(("copy_fraction", "moved_fraction", "part_fraction"), copies)
    for name in ("membership_auc", "moved_auc"):
        # what held-out exams differ from training exams by themselves is no memory of the generator
        apart = ((report.get(name) or {}).get("real") or 0.5) - 0.5
        bounds[name] = membership + max(0.0, apart)
    return any(
        above(report.get(name), bound) and report[name].get("p", 1) < ALPHA
        for name, bound in bounds.items()
    )


# Blends


def segment_residual(q: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each q to the segment from a to b, and the share of b there; float64."""
    q, a, b = (np.asarray(v, np.float64) for v in (q, a, b))
    u = b - a
    along = ((q - a) * u).sum(-1) / np.maximum((u**2).sum(-1), 1e-30)
    along = np.clip(along, 0, 1)
    return np.linalg.norm(q - a - along[..., None] * u, axis=-1), along


def best_pair(
    features, bank, first: int = 128, between=None, own: bool = False
) -> dict[str, np.ndarray]:
    """The two bank rows whose segment comes nearest to each row: min ‖q − (1 − α) tᵢ − α tⱼ‖.

    One end is searched among the `first` nearest bank rows, the other among all: a blend lies at
    most half the pair's distance from its nearer end. Needs only distances: (q − tᵢ)·(tⱼ − tᵢ) =
    (d²(q,i) + d²(i,j) − d²(q,j)) / 2.

    Args:
        features: (n, d) pooled linear intensity. bank: (m, d), m ≥ 2. between: (m, m) squared
            distances of the bank, if known. own: features are the bank; no row explains itself.

    Returns:
        arrays (n,): residual, single (distance to the nearest row), i (nearer end), j, alpha (share
        of j).
    """
    n, m = len(features), len(bank)
    first = max(1, min(first, m - own))
    between = squared(bank, bank) if between is None else between
    out = {k: np.empty(n, np.float32) for k in ("residual", "single", "alpha")}
    out |= {k: np.empty(n, np.int64) for k in ("i", "j")}
    for rows in blocks(n, first * m * 12 + m * 8):
        q = features[rows]
        d2 = squared(q, bank)  # (block, m)
        if own:
            d2[np.arange(len(q)), np.arange(rows.start, rows.stop)] = np.inf
        near = np.argpartition(d2, first - 1, axis=1)[:, :first]
        d2_i = np.take_along_axis(d2, near, axis=1)  # (block, first)
        d2_ij = between[near]  # (block, first, m)
        dot = (d2_i[:, :, None] + d2_ij - d2[:, None, :]) / 2
        alpha = np.clip(dot / np.maximum(d2_ij, 1e-12), 0, 1)
        dot[~np.isfinite(dot)] = 0
        r2 = d2_i[:, :, None] - 2 * alpha * dot + alpha**2 * d2_ij
        best = r2.reshape(len(q), -1).argmin(axis=1)
        i, j = near[np.arange(len(q)), best // m], best % m
        residual, share = segment_residual(q, bank[i], bank[j])
        swap = share > 0.5
        out["residual"][rows], out["alpha"][rows] = residual, np.where(swap, 1 - share, share)
        out["i"][rows], out["j"][rows] = np.where(swap, j, i), np.where(swap, i, j)
        out["single"][rows] = np.linalg.norm(q - bank[d2.argmin(axis=1)], axis=1)
    return out


def blend_score(beside_train: dict, beside_holdout: dict, radius: float) -> np.ndarray:
    """How much better two training exams explain an image than two held-out ones do.

    A log ratio (n,), far below 0 for blends. Compared is ρ₂ ÷ the distance to the nearest exam, so
    that a blurred image, near every blend of either set, is none. A copy (within `radius`) is 0.
    """
    left, right = (
        np.maximum(np.maximum(s["residual"], 1e-9) / np.maximum(s["single"], 1e-9), 1e-3)
        for s in (beside_train, beside_holdout)
    )
    return np.where(beside_train["single"] <= radius, 0.0, np.log(left) - np.log(right))


def _blends(ref: Reference, q: np.ndarray, labels, index: np.ndarray, draws: tuple) -> dict:
    """Blend fraction and the images most like a blend; `index`: of q among the generated."""
    pairs = best_pair(q, ref.t.whole, between=ref.between)
    score = blend_score(pairs, best_pair(q, ref.p.whole), ref.radius["whole"])
    examples = [
        {
            "generated": int(index[j]),
            "first": int(ref.kept_train[pairs["i"][j]]),
            "second": int(ref.kept_train[pairs["j"][j]]),
            "share_of_second": float(pairs["alpha"][j]),
            "score": float(score[j]),
        }
        for j in np.argsort(score, kind="stable")[:8]
    ]
    found = fraction(score, ref.blend, labels, None, *draws)
    return {"blend_fraction": found, "blend_examples": examples}


# Detection


SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # of copies that are planted
LIKENESS = 0.5  # how far a copy is from its exam, in a held-out exam's median distances
POWER = 0.8  # how often copies must be noticed
MOST = 1500  # images that take part


@one_thread()
def detectable_copies(train, holdout, trials: int = 20, seed: int = 0) -> dict:
    """From which share on would copies of different exams have been noticed? By planting them.

    All real exams are shuffled into a training half, fresh ones and held-out ones; copies,
    `LIKENESS` from their exam, replace a share of the fresh ones, and the verdict's test of copies
    as they are is asked. Sets are half as large as in the real test: the answer errs on the careful
    side.

    Returns:
        `shares`, `rates` (noticed, per share; at 0 the false alarms), `smallest` (the share from
        which on 80 % are noticed, or None) and the sizes used.
    """
    images = [as_set(x, n).images for x, n in ((train, "training"), (holdout, "held-out"))]
    shape = common_shape(*(x.shape[1:] for x in images))
    rng, total = np.random.default_rng(seed), sum(map(len, images))
    n_hold = max(2, round(len(images[1]) * min(1.0, MOST / total)))
    chosen = rng.permutation(total)[:MOST]
    of_train = chosen < len(images[0])
    parts = images[0][chosen[of_train]], images[1][chosen[~of_train] - len(images[0])]
    features = np.concatenate([pooled(x, shape) for x in parts])
    features = features[rng.permutation(len(features))]
    half = (len(features) - n_hold) // 2
    found = {"shares": list(SHARES), "rates": [None] * len(SHARES), "smallest": None}
    found |= {"n_train": half, "n_holdout": n_hold, "trials": 0, "likeness": LIKENESS}
    found["power"] = POWER
    if half < 2 * NEIGHBOURS // 3 or n_hold < 5:
        return found
    d2 = squared(features, features)
    k = max(1, min(NEIGHBOURS, half - 1, n_hold - 1))
    noticed = np.zeros(len(SHARES))
    for _ in range(trials):
        order = rng.permutation(len(features))
        t, g, p = order[:half], order[half : 2 * half], order[2 * half : 2 * half + n_hold]
        offset = (LIKENESS * np.median(np.sqrt(d2[np.ix_(p, t)].min(axis=1)))) ** 2
        score_p = _scores(d2[np.ix_(p, t)], k)
        for s, part in enumerate(SHARES):
            planted = round(part * half)
            source = np.concatenate([t[:planted], g[planted:]])  # both are in random order already
            # noise adds its square to every distance
            add = np.where(np.arange(half) < planted, offset, 0)
            beside = [_scores(d2[np.ix_(source, x)] + add[:, None], k) for x in (t, p)]
            near = [np.sqrt((d2[np.ix_(x, source)] + add).min(axis=1)) for x in (t, p)]
            membership = auc(-near[0], -near[1], rounds=499, seed=seed)
            copies = fraction(beside[0], score_p, (None, None), beside[1], 499, seed)
            noticed[s] += copying({"membership_auc": membership, "copy_fraction": copies})
    found |= {"rates": (noticed / trials).tolist(), "trials": trials}
    for part, rate in zip(reversed(SHARES), reversed(found["rates"]), strict=True):
        if part == 0 or rate < POWER:
            break
        found["smallest"] = part
    return found


def _scores(d2: np.ndarray, k: int) -> np.ndarray:
    """`Near.score` from squared distances (n, m)."""
    d = np.sqrt(np.partition(d2, k, axis=1)[:, : k + 1])
    d.sort(axis=1)
    return d[:, 0] / np.maximum(d[:, 1:].mean(axis=1), 1e-12)
