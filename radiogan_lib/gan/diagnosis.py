"""Is the training going well? Signs measured while it runs, and a diagnosis in plain language.

`SampleMeasures` is fitted once to the training exams: shrunken projections, principal components
for their spread, and a linear discriminant for the class, which also sees the brightest pixel of
every block, because a lesion is bright and small. It is coarse and cheap (held-out phantoms of the
teach profile: 0.62 right, chance 0.20). Notebook 04 holds the real measures.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

GRID = (20, 12)  # blocks that an image is shrunk to


def _features(suv: np.ndarray, reduce=np.mean) -> np.ndarray:
    """(n, h, w) SUV → (n, 240): root of the mean (or maximum) of each block, or of each pixel."""
    n, h, w = suv.shape
    rows, columns = min(GRID[0], h), min(GRID[1], w)
    small = reduce(suv.reshape(n, rows, h // rows, columns, w // columns), (2, 4))
    return np.sqrt(np.clip(np.nan_to_num(small), 0, None)).reshape(n, -1)


def _class_features(suv: np.ndarray) -> np.ndarray:
    """What the class is told from: (n, 480)."""
    return np.concatenate([_features(suv), _features(suv, np.max)], axis=1)


class SampleMeasures:
    """Measures of generated images against the training exams.

    Args:
        suv, labels: training exams (n, h, w), SUV, and their classes (n,).
        seed: of the exams that are used (2000 at most) and of the folds.
    """

    def __init__(self, suv: np.ndarray, labels: np.ndarray, n_classes: int, seed: int = 0):
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        chosen = np.random.default_rng(seed).permutation(len(suv))[:2000]
        x, detailed = _features(suv[chosen]), _class_features(suv[chosen])
        y = np.asarray(labels)[chosen]
        self.components = PCA(min(40, *x.shape), random_state=seed).fit(x)
        self.n_classes, counts = n_classes, np.bincount(y)
        present, n = int((counts > 0).sum()), len(y)
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        # It needs more exams than classes.
        self.classifier = classifier.fit(detailed, y) if 1 < present < n else None
        folds = min(5, counts[counts > 0].min())
        self.ceiling = float("nan")  # agreement of real exams that the classifier was not fitted to
        if self.classifier is not None and folds > 1 and n - -(-n // folds) > present:
            splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
            self.ceiling = float(cross_val_score(classifier, detailed, y, cv=splits).mean())
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
        """Measure generated images (n, h, w) of labels (n,), drawn from the same noise each time.

        Returns:
            label_agreement: share whose class is told as asked; beside `chance` and `ceiling`.
            diversity: spread within a class, relative to the exams' own.
            movement: how far the pictures moved since the last call, relative to the exams' spread.
        """
        f = self.components.transform(_features(suv))
        scale = max(self.spread, 1e-9)
        agreement = moved = float("nan")
        if self.classifier is not None:
            agreement = float(np.mean(self.classifier.predict(_class_features(suv)) == labels))
        if self.previous is not None:
            moved = float(np.sqrt(((f - self.previous) ** 2).sum(1)).mean() / scale)
        self.previous = f
        return {
            "label_agreement": agreement,
            "chance": 1 / self.n_classes,
            "ceiling": self.ceiling,
            "diversity": self._spread(f, np.asarray(labels)) / scale,
            "movement": moved,
        }


SENTENCES = {
    "losses_not_finite": "The losses are not numbers any more. Lower learning_rate, or use "
    "precision='float32'.",
    "discriminator_saturated": "The discriminator has won: it tells {d_accuracy:.0%} of the images "
    "apart and the generator's loss is {g_loss:.1f}. Give it more dropout or fewer "
    "discriminator_channels, or set lecam=0.3 or diffaugment='translation'.",
    "generator_stuck": "The generator is stuck: its pictures moved by only {movement:.1%} of the "
    "exams' own spread since the last measure. Check that learning_rate is above 0, or restart "
    "with another seed.",
    "classes_ignored": "The classes are ignored: {label_agreement:.0%} of the images look like the "
    "class they were asked for, chance is {chance:.0%} (real exams reach {ceiling:.0%}). Train "
    "longer, or set label_init=1 or auxiliary=0.5.",
    "collapsed": "Mode collapse: images of one class differ only {diversity:.0%} as much as real "
    "exams do. Restart with diffaugment='translation', lecam=0.3, or more exams.",
}


@dataclass(frozen=True)
class Diagnosis:
    """`signs` are the names in `SENTENCES` that apply; printing it gives the sentences."""

    signs: tuple[str, ...]
    sentences: tuple[str, ...]
    epoch: int

    def __str__(self) -> str:
        if not self.signs:
            return f"Epoch {self.epoch}: no sign of a known failure."
        return "\n".join(f"Epoch {self.epoch}: {s}" for s in self.sentences)


def diagnose(history: pd.DataFrame) -> Diagnosis:
    """Read a run's last rows; what may be a passing moment must hold in several of them."""
    if history is None or not len(history):
        return Diagnosis((), ("Nothing has been measured yet.",), 0)
    last, recent, signs = history.iloc[-1], history.tail(3), []
    if not np.isfinite(history[["d_loss", "g_loss"]].iloc[-1].to_numpy(float)).all():
        signs.append("losses_not_finite")
    if len(recent) == 3 and (recent.d_accuracy > 0.97).all() and (recent.g_loss > 3).all():
        signs.append("discriminator_saturated")
    measured = history.iloc[:0]
    if "label_agreement" in history:
        measured = history.dropna(subset=["label_agreement"])
    values = dict(last)
    if len(measured):
        newest, tail = measured.iloc[-1], measured.tail(2)
        for k in ("label_agreement", "chance", "ceiling", "diversity", "movement"):
            values[k] = newest[k]
        enough = newest.get("steps", np.inf) >= 500  # before that no recipe has learnt the classes
        # 100 images: three standard errors above chance would be a coincidence once in a thousand.
        by_chance = tail.chance + 3 * np.sqrt(tail.chance * (1 - tail.chance) / 100)
        separable = not newest.ceiling < newest.chance + 0.2
        if enough and (tail.label_agreement < by_chance).all() and separable:
            signs.append("classes_ignored")
        if len(measured) > 1 and (tail.movement < 0.002).all():
            signs.append("generator_stuck")
        if len(tail) > 1 and (tail.diversity < 0.25).all() and enough:
            signs.append("collapsed")
    sentences = tuple(SENTENCES[s].format(**values) for s in signs)
    return Diagnosis(tuple(signs), sentences, int(last.get("epoch", len(history))))
