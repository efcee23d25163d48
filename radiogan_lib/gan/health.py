"""Is the game going well? Signs measured while it trains, and a diagnosis of them in plain language.

The yardstick is fitted once to the training exams: shrunken projections, principal components for their spread, and a linear
discriminant for the class, which also sees the brightest pixel of every block, for a lesion is bright and small. It is coarse
and cheap (unseen phantoms of the teach profile: 0.62 right of 0.20 by chance; without the brightest pixels 0.42), for the
operator of a training; notebook 04 holds the real judges.
Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

SHRUNK = (20, 12)  # pixels the yardstick looks at


def _features(suv: np.ndarray, which=np.mean) -> np.ndarray:
    """(n, h, w) SUV → (n, 240): root of the mean (or maximum) of each block of a 20 × 12 grid; a smaller canvas's own pixels."""
    n, h, w = suv.shape
    rows, columns = min(SHRUNK[0], h), min(SHRUNK[1], w)
    small = which(suv.reshape(n, rows, h // rows, columns, w // columns), (2, 4))
    return np.sqrt(np.clip(np.nan_to_num(small), 0, None)).reshape(n, -1)


def _detailed(suv: np.ndarray) -> np.ndarray:
    """What the judge of classes sees: (n, 480)."""
    return np.concatenate([_features(suv), _features(suv, np.max)], axis=1)


class Yardstick:
    """Measures of generated images against the training exams.

    Args:
        suv: (n, h, w) training exams, SUV.
        labels: (n,) their classes.
        n_classes: how many classes there are.
    """

    def __init__(self, suv: np.ndarray, labels: np.ndarray, n_classes: int, seed: int = 0):
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        keep = np.random.default_rng(seed).permutation(len(suv))[:2000]
        x, seen, y = _features(suv[keep]), _detailed(suv[keep]), np.asarray(labels)[keep]
        self.components = PCA(min(40, *x.shape), random_state=seed).fit(x)
        self.n_classes, counts = n_classes, np.bincount(y)
        judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        known, n = int((counts > 0).sum()), len(y)
        self.judge = (
            judge.fit(seen, y) if 1 < known < n else None
        )  # it needs more exams than classes
        folds = min(5, counts[counts > 0].min())
        self.ceiling = float("nan")  # agreement of real exams that the judge has not seen
        if self.judge is not None and folds > 1 and n - -(-n // folds) > known:
            splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
            self.ceiling = float(cross_val_score(judge, seen, y, cv=splits).mean())
        self.spread = self._spread(self.components.transform(x), y)
        self.previous = None

    def _spread(self, features, labels) -> float:
        """Mean distance between two images of the same class, over the classes."""
        found = []
        for c in range(self.n_classes):
            f = features[labels == c][:200]
            if len(f) > 1:
                d = np.sqrt(np.maximum(((f[:, None] - f[None]) ** 2).sum(-1), 0))
                found.append(d.sum() / (len(f) * (len(f) - 1)))
        return float(np.mean(found)) if found else float("nan")

    def measure(self, suv: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Signs for generated images (n, h, w) of the given labels (n,), always the same noise.

        Returns:
            label_agreement: share that the judge takes for what was asked; `chance` and `ceiling` stand beside it.
            diversity: spread within a class, relative to the exams' own (1 = as varied as real exams).
            movement: how far the pictures moved since the last measure, relative to the exams' spread.
        """
        f = self.components.transform(_features(suv))
        agreement = (
            float(np.mean(self.judge.predict(_detailed(suv)) == labels))
            if self.judge is not None
            else float("nan")
        )
        moved = (
            float("nan")
            if self.previous is None
            else float(np.sqrt(((f - self.previous) ** 2).sum(1)).mean() / max(self.spread, 1e-9))
        )
        self.previous = f
        return {
            "label_agreement": agreement,
            "chance": 1 / self.n_classes,
            "ceiling": self.ceiling,
            "diversity": self._spread(f, np.asarray(labels)) / max(self.spread, 1e-9),
            "movement": moved,
        }


SENTENCES = {
    "losses_not_finite": "The losses are not numbers any more. Lower learning_rate, or use precision='float32'.",
    "discriminator_saturated": "The discriminator has won: it tells {d_accuracy:.0%} of the images apart and the generator's loss is "
    "{g_loss:.1f}. Give it more dropout or fewer discriminator_channels, or set lecam=0.3 or diffaugment='translation'.",
    "generator_stuck": "The generator is stuck: its pictures moved by only {movement:.1%} of the exams' own spread since the last "
    "look. Check that learning_rate is above 0, or restart with another seed.",
    "classes_ignored": "The classes are ignored: {label_agreement:.0%} of the images look like the class they were asked for, chance is "
    "{chance:.0%} (real exams reach {ceiling:.0%}). Train longer, or set label_init=1 or projection=True.",
    "collapsed": "Mode collapse: images of one class differ only {diversity:.0%} as much as real exams do. Restart with "
    "diffaugment='translation', loss='relativistic' with gradient_penalty, or more exams.",
}


@dataclass(frozen=True)
class Diagnosis:
    """What the signs say: `signs` are the names in `SENTENCES` that apply, printing it gives the sentences."""

    signs: tuple[str, ...]
    sentences: tuple[str, ...]
    epoch: int

    def __str__(self) -> str:
        if not self.signs:
            return f"Epoch {self.epoch}: no sign of a known failure."
        return "\n".join(f"Epoch {self.epoch}: {s}" for s in self.sentences)


def diagnose(history: pd.DataFrame) -> Diagnosis:
    """Read the last rows of a run's history.

    A sign must hold in the last row and, where it may be a passing moment, in the rows before it as well.
    """
    if history is None or not len(history):
        return Diagnosis((), ("Nothing has been measured yet.",), 0)
    last, recent, signs = history.iloc[-1], history.tail(3), []
    if not np.isfinite(history[["d_loss", "g_loss"]].iloc[-1].to_numpy(float)).all():
        signs.append("losses_not_finite")
    if len(recent) == 3 and (recent.d_accuracy > 0.97).all() and (recent.g_loss > 3).all():
        signs.append("discriminator_saturated")
    measured = (
        history.dropna(subset=["label_agreement"])
        if "label_agreement" in history
        else history.iloc[:0]
    )
    values = dict(last)
    if len(measured):
        seen, tail = measured.iloc[-1], measured.tail(2)
        values |= {
            k: seen[k] for k in ("label_agreement", "chance", "ceiling", "diversity", "movement")
        }
        enough = seen.get("steps", np.inf) >= 500  # before that no recipe has learnt the classes
        # 100 images: three standard errors above chance would be a coincidence once in a thousand
        if (
            enough
            and (
                tail.label_agreement
                < tail.chance + 3 * np.sqrt(tail.chance * (1 - tail.chance) / 100)
            ).all()
            and not seen.ceiling < seen.chance + 0.2
        ):
            signs.append("classes_ignored")
        if len(measured) > 1 and (tail.movement < 0.002).all():
            signs.append("generator_stuck")
        if len(tail) > 1 and (tail.diversity < 0.25).all() and enough:
            signs.append("collapsed")
    return Diagnosis(
        tuple(signs),
        tuple(SENTENCES[s].format(**values) for s in signs),
        int(last.get("epoch", len(history))),
    )
