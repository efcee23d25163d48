"""Do the three sets belong together? What is asked before any measure is believed.

A membership test compares training with held-out exams. It means something only where both are of one world and different exams, and where
the generated images are in the same units. Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from radiogan_lib.evaluation.features import EvaluationError, ImageSet, area_average, pooled
from radiogan_lib.evaluation.quality import appearance, coverage_density, two_sample_scores
from radiogan_lib.evaluation.statistics import ALPHA, FEW, auc, fraction


def refuse(train: ImageSet, holdout: ImageSet) -> None:
    """Raise EvaluationError where no comparison can mean anything: too few or equal real images, other units."""
    for s, name in ((train, "training"), (holdout, "held-out")):
        if len(s) < 5:
            raise EvaluationError(
                f"{len(s)} {name} images are too few to compare; give at least 10, better hundreds."
            )
    for s, name in ((train, "training"), (holdout, "held-out")):
        low, high = ends(s.images)
        sample = s.images[:: max(1, len(s) // 2000)].reshape(-1, s.images[0].size)
        if high <= low or len(np.unique(sample, axis=0)) < 5:
            raise EvaluationError(
                f"the {name} images are all equal, or nearly so; there is nothing to compare them by."
            )
    a, b = ends(train.images), ends(holdout.images)
    ratio = (b[1] - b[0]) / (a[1] - a[0])
    if not 1 / 3 < ratio < 3:
        raise EvaluationError(
            f"the held-out images span {b[0]:.3g} to {b[1]:.3g}, the training images {a[0]:.3g} to {a[1]:.3g}; bring both to the same units."
        )


def ends(images: np.ndarray) -> tuple[float, float]:
    """The 1st and 99.5th percentile of a sample of pixels."""
    sample = images[:: max(1, len(images) // 500)].astype(np.float64)
    low, high = np.quantile(sample, [0.01, 0.995])
    return float(low), float(high)


def between_real(ref, seed: int = 0) -> list[str]:
    """Do training and held-out exams come from the same world, and are they different exams?"""
    if ref.leak_share > 0.1:
        return [f"{ref.leak_share:.0%} of the held-out images are training images"]
    found = []
    for view in ("whole", "moved"):
        own = ref.own[view].score
        copies = fraction(ref.p_near[view].score, own, (ref.p_y, ref.t_y), None, 999, seed)
        if copies["low"] > 0.1 and copies["p"] < 0.002:
            return [
                f"{copies['value']:.0%} of the held-out images look like copies of training images"
            ]
    one = ref.t_one
    labels = ref.p_y, None if ref.t_y is None else ref.t_y[one]
    near = auc(ref.p_near["whole"].d[:, 0], ref.own["whole"].d[one, 0], labels, 99)
    components = PCA(min(32, *ref.t.shape), svd_solver="full").fit(ref.t)
    part_t, part_p = ref.train.take(ref.kept_train[one]), ref.holdout.take(ref.p_index)
    spectra = part_t.images.shape[1:] == part_p.images.shape[1:]
    told = [
        appearance(s, x, components, spectra) for s, x in ((part_t, ref.t[one]), (part_p, ref.p))
    ]
    scored, told_apart = two_sample_scores(*told, seed), None  # type: ignore[call-arg]
    if scored is not None:
        score, _, side = scored
        told_apart = auc(score[side == 1], score[side == 0], labels, 99)
    for m, least, two_sided in ((near, 0.05, True), (told_apart, 0.06, False)):
        if m is None or m["value"] is None:
            continue
        away = abs(m["value"] - 0.5) if two_sided else m["value"] - 0.5
        if away > least and away > 3.3 / 1.96 * (m["high"] - m["low"]) / 2:
            what = "lie further from training images than these from each other"
            what = what if two_sided else "can be told from training images"
            if two_sided and m["value"] < 0.5:
                what = "lie nearer to training images than these to each other"
            found.append(f"held-out images {what} (AUC {m['value']:.2f})")
    return found


def with_generated(ref, generated: ImageSet, memorization: dict) -> list[str]:
    """Are the generated images in the same units, and not made from the held-out exams?"""
    found, real, drawn = [], ends(ref.train.images), ends(generated.images)
    span = drawn[1] - drawn[0]
    scale = (real[1] - real[0]) / span if span > 0 else 1.0
    moved = abs(real[0] - drawn[0] * scale) / (real[1] - real[0])
    if span > 0 and (not 0.5 <= scale <= 2 or moved > 0.5):
        mapped = area_average(generated.images[:1000], ref.shape)
        before = coverage_density(ref.p, pooled(mapped, ref.shape))[0].mean()
        mapped = (mapped - drawn[0]) * scale + real[0]
        after = coverage_density(ref.p, pooled(mapped, ref.shape))[0].mean()
        if after > 0.5 and before < 0.5 * after:
            found.append(
                f"generated images span {drawn[0]:.3g} to {drawn[1]:.3g}, training images {real[0]:.3g} to {real[1]:.3g}, "
                "and are alike once rescaled: bring them to the same units"
            )
    heldout = (memorization.get("facts") or {}).get("heldout", 0)
    if heldout >= FEW and heldout > 3 * memorization["facts"]["real_resemblances"]:
        found.append(f"{heldout} generated images are held-out images")
    for name in ("membership_auc", "moved_auc"):
        m = memorization.get(name) or {}
        if m.get("high") is not None and m["high"] < 0.48 and m.get("p_below", 1) < ALPHA:
            found.append(
                f"generated images are nearer to held-out than to training images (AUC {m['value']:.2f}): were the sets swapped, or the "
                "generator trained on both?"
            )
            break
    return found
