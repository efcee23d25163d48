"""Do the three sets belong together? Asked before any measure is believed."""

import numpy as np
from sklearn.model_selection import cross_val_predict

from radiogan_lib.evaluation.features import EvaluationError, ImageSet, area_average, pooled
from radiogan_lib.evaluation.quality import appearance, coverage_density, two_samples
from radiogan_lib.evaluation.statistics import ALPHA, FEW, above, auc, fraction


def refuse(train: ImageSet, holdout: ImageSet) -> None:
    """Raise EvaluationError at too few or equal real images, or at other units."""
    for s, name in ((train, "training"), (holdout, "held-out")):
        if len(s) < 5:
            fault = f"{len(s)} {name} images are too few to compare"
            raise EvaluationError(f"{fault}; give at least 10, better hundreds.")
        low, high = ends(s.images)
        sample = s.images[:: max(1, len(s) // 2000)].reshape(-1, s.images[0].size)
        if high - low < 1e-12 or len(np.unique(sample, axis=0)) < 5:
            fault = f"the {name} images are all equal, or nearly so"
            raise EvaluationError(f"{fault}; there is nothing to compare them by.")
    a, b = ends(train.images), ends(holdout.images)
    ratio = (b[1] - b[0]) / (a[1] - a[0])
    if not 1 / 3 < ratio < 3:
        spans = f"the held-out images span {b[0]:.3g} to {b[1]:.3g}, the training images"
        spans += f" {a[0]:.3g} to {a[1]:.3g}"
        raise EvaluationError(f"{spans}; bring both to the same units.")


def ends(images: np.ndarray) -> tuple[float, float]:
    """The 1st and 99.5th percentile of a sample of pixels."""
    sample = images[:: max(1, len(images) // 500)].astype(np.float64)
    low, high = np.quantile(sample, [0.01, 0.995])
    return float(low), float(high)


def between_real(ref, seed: int = 0) -> list[str]:
    """Do training and held-out exams come from the same world, and are they different exams?"""
    if ref.leak_share > 0.1:
        return [f"{ref.leak_share:.0%} of the held-out images are training images"]
    t, one, found = ref.t.whole, ref.t_one, []
    labels = ref.p_y, None if ref.t_y is None else ref.t_y[one]
    for view, near in ref.near_auc.items():
        own, held = ref.own[view].score, ref.p_near[view].score
        copies = fraction(held, own, (ref.p_y, ref.t_y), None, 999, seed)
        if above(copies, 0.1) and copies["p"] < 0.002:
            share = f"{copies['value']:.0%}"
            return [f"{share} of the held-out images look like copies of training images"]
        other = fraction(own[one], held, labels[::-1], None, 999, seed)
        if clear(near, 0.05) or (above(other, 0.1) and other["p"] < 0.002):
            far = "nearer to" if near["value"] < 0.5 else "further from"
            lie = f"held-out images lie {far} training images than these lie from each other"
            found.append(f"{lie} (AUC {near['value']:.2f})")
            break
    sets = ref.train.take(ref.kept_train[one]), ref.holdout.take(ref.p_index)
    spectra = len({s.images.shape[1:] for s in sets}) == 1
    told = appearance(sets, (t[one], ref.p.whole), t, 32, spectra)
    if given := two_samples(*told, seed=seed):
        score, held = cross_val_predict(**given, method="decision_function"), given["y"] == 1
        m = auc(score[held], score[~held], labels, 99)
        if m["value"] > 0.5 and clear(m, 0.06):
            found.append(f"held-out images can be told from training images (AUC {m['value']:.2f})")
    for name, known, held in zip(DESCRIPTORS, *(descriptors(s.images) for s in sets), strict=True):
        m = auc(held, known, labels, 99)
        if clear(m, 0.06, 4.2):
            differ = f"held-out images differ from training images in {name}"
            found.append(f"{differ} (AUC {m['value']:.2f})")
            break
    return found


DESCRIPTORS = ("mean", "spread", "largest values", "height of their centre", "side of their centre")


def descriptors(images: np.ndarray) -> np.ndarray:
    """Simple numbers of each image that another scanner, unit or crop would change: (5, n)."""
    x = images.reshape(len(images), -1).astype(np.float64)
    mass = images - images.min(axis=(1, 2), keepdims=True) + 1e-12
    total = mass.sum(axis=(1, 2))
    rows, columns = (np.arange(n) for n in images.shape[1:])
    centre = [(mass.sum(axis=a) * v).sum(axis=1) / total for a, v in ((2, rows), (1, columns))]
    return np.stack([x.mean(axis=1), x.std(axis=1), np.quantile(x, 0.99, axis=1), *centre])


def clear(m: dict, least: float, deviations: float = 3.3) -> bool:
    """Is an AUC away from 0.5 by at least `least`, and by so many standard deviations?"""
    away = abs((m["value"] or 0.5) - 0.5)
    return away > least and away > deviations / 1.96 * (m["high"] - m["low"]) / 2


def with_generated(ref, generated: ImageSet, memorization: dict) -> list[str]:
    """Are the generated images in the same units, and not made from the held-out exams?"""
    found, real, drawn = [], ends(ref.train.images), ends(generated.images)
    span = drawn[1] - drawn[0]
    scale = (real[1] - real[0]) / span if span > 0 else 1.0
    moved = abs(real[0] - drawn[0] * scale) / (real[1] - real[0])
    if span > 0 and (not 0.5 <= scale <= 2 or moved > 0.5):
        mapped = area_average(generated.images[:1000], ref.shape)
        before, after = (
            coverage_density(ref.p.whole, pooled(x, ref.shape))[0].mean()
            for x in (mapped, (mapped - drawn[0]) * scale + real[0])
        )
        if after > 0.5 and before < 0.5 * after:
            spans = f"generated images span {drawn[0]:.3g} to {drawn[1]:.3g}, training images"
            spans += f" {real[0]:.3g} to {real[1]:.3g}"
            found.append(f"{spans}, and are alike once rescaled: bring them to the same units")
    facts = memorization["facts"]
    if facts["heldout"] >= FEW and facts["heldout"] > 3 * facts["real_resemblances"]:
        found.append(f"{facts['heldout']} generated images are held-out images")
    for m in (memorization["membership_auc"], memorization["moved_auc"]):
        if m["high"] is not None and m["high"] < 0.45 and m["p_below"] < ALPHA:
            nearer = "generated images are nearer to held-out than to training images"
            why = "the sets may be swapped, or the generator trained on both"
            found.append(f"{nearer} (AUC {m['value']:.2f}): {why}")
            break
    return found
