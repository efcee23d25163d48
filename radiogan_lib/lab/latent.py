"""The latent space behind the explorer: points of a walk, fast drawing, directions named by what they change.

Pure functions and one small object; no widget is needed. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from radiogan_lib.config import RadioganError

KINDS = ("slerp", "lerp", "label", "paper")
BANDS = ((0.17, "head"), (0.27, "neck"), (0.50, "chest"), (0.70, "abdomen"), (0.87, "pelvis"), (9.0, "thighs"))


class ExplorerError(RadioganError, ValueError):
    """A class, seed, walk or file that the explorer cannot use."""


@dataclass(frozen=True)
class Direction:
    """A way to change z: `vector` (noise_dim,), one step of it is one standard deviation of the response."""

    name: str
    vector: np.ndarray


class Space:
    """A generator's latent space: points go in, SUV pictures come out.

    Args:
        generator: a Keras model of `gan.build_generator`, or anything with `draw(z, e)`, `table` and `noise_dim`.
    """

    def __init__(self, generator):
        self.generator = generator
        if hasattr(generator, "draw") and hasattr(generator, "table"):
            self.table, self.noise_dim = np.asarray(generator.table, np.float32), int(generator.noise_dim)
        else:
            self.table = np.asarray(generator.get_layer("label_embedding").get_weights()[0], np.float32)
            self.noise_dim = int(generator.inputs[0].shape[-1])

    @cached_property
    def _call(self):
        """The generator from (z, embedding) to grey values, compiled once per batch shape."""
        import keras

        from radiogan_lib.gan import embedding_generator
        model = embedding_generator(self.generator)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf
            # reduce_retracing would trade speed for fewer shapes; a walk has one shape for as long as it is explored
            return tf.function(lambda z, e: model([z, e], training=False))
        return lambda z, e: model([z, e], training=False)

    def draw(self, z: np.ndarray, e: np.ndarray) -> np.ndarray:
        """SUV (n, h, w) float32 at z (n, noise_dim) and label vectors e (n, embedding_dim)."""
        z, e = np.asarray(z, np.float32), np.asarray(e, np.float32)
        if hasattr(self.generator, "draw"):
            return np.asarray(self.generator.draw(z, e), np.float32)
        import keras
        grey = keras.ops.convert_to_numpy(self._call(z, e))
        return np.asarray(self.generator.layers[-1].to_suv(grey), np.float32)

    def path(self, start, end, steps: int, kind: str = "slerp", truncation: float = 1.0):
        """Points of a walk: z (steps, noise_dim), e (steps, embedding_dim).

        Args:
            start, end: (class index, seed).
            kind: as in `evaluation.walk`, whose frames these points give at truncation 1.
            truncation: factor on z; below 1 draws more typical and less varied images.
        """
        from radiogan_lib.evaluation.walks import path

        if kind not in KINDS:
            raise ExplorerError(f"there is no walk {kind!r}; choose one of {', '.join(KINDS)}.")
        for c, _ in (start, end):
            if not 0 <= c < len(self.table):
                raise ExplorerError(f"the generator knows classes 0 to {len(self.table) - 1}; there is no class {c}.")
        z, e, _ = path(kind, start, end, steps, self.noise_dim, self.table)
        return (truncation * z).astype(np.float32), e.astype(np.float32)

    @cached_property
    def weights_hash(self) -> str:
        """Twelve digits of the SHA-256 of all weights: the same for the same generator, whatever its file."""
        digest = hashlib.sha256()
        for w in self.generator.get_weights() if hasattr(self.generator, "get_weights") else [self.table]:
            digest.update(np.ascontiguousarray(w).tobytes())
        return digest.hexdigest()[:12]

    @lru_cache(maxsize=32)
    def directions(self, label: int, count: int = 5, samples: int = 192) -> tuple[Direction, ...]:
        """The directions of z along which the pictures of one class change most, strongest first.

        Principal components of the response: images are drawn at random z, their main ways to differ are found, and each
        is led back to z by least squares (the idea of GANSpace, Härkönen et al., NeurIPS 2020, on images instead of features).
        """
        rng = np.random.default_rng(0)
        z = rng.standard_normal((samples, self.noise_dim)).astype(np.float32)
        e = np.tile(self.table[label], (samples, 1))
        pictures = np.concatenate([self.draw(z[i:i + 32], e[i:i + 32]) for i in range(0, samples, 32)])
        flat = np.sqrt(pictures.reshape(samples, -1))  # the square root keeps the bladder from deciding everything
        flat -= flat.mean(axis=0)
        left, size, _ = np.linalg.svd(flat, full_matrices=False)
        found, names = [], set()
        ridge = 0.1 * samples * np.eye(self.noise_dim)
        for k in range(min(count, int((size > 1e-6 * max(size[0], 1e-12)).sum()))):
            score = left[:, k] * np.sqrt(samples)  # unit variance
            vector = np.linalg.solve(z.T @ z + ridge, z.T @ score)
            vector = vector / max(np.linalg.norm(vector), 1e-12)
            step = np.zeros((2, self.noise_dim), np.float32)
            step[0], step[1] = -2 * vector, 2 * vector
            low, high = self.draw(step, e[:2])
            if (high - low).sum() < 0:
                vector, low, high = -vector, high, low
            name = what_changes(high - low, pictures.mean(axis=0))
            while name in names:
                name += " (another way)"
            names.add(name)
            found.append(Direction(f"{k + 1}: {name}", vector.astype(np.float32)))
        return tuple(found)


def body_box(suv: np.ndarray) -> tuple[int, int, float, float]:
    """First and last row of the body, its middle column and half its width, of a picture in SUV."""
    inside = suv > max(0.15, 0.05 * float(suv.max()))
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return 0, suv.shape[0] - 1, suv.shape[1] / 2, suv.shape[1] / 2
    return int(rows[0]), int(rows[-1]), (cols[0] + cols[-1]) / 2, max((cols[-1] - cols[0]) / 2, 1)


def region(row: float, col: float, box) -> str:
    """Roughly where a pixel lies, in words: a share of the body's height and width, not anatomy."""
    top, bottom, middle, half = box
    height = (row - top) / max(bottom - top, 1)
    side = (col - middle) / half
    band = next(name for limit, name in BANDS if height <= limit)
    if abs(side) > 0.72 and band not in ("head", "neck"):
        return f"{'patient’s right' if side < 0 else 'patient’s left'} arm or side"
    return band + ("" if abs(side) < 0.2 else ", patient’s right" if side < 0 else ", patient’s left")


def what_changes(change: np.ndarray, typical: np.ndarray) -> str:
    """Name a direction by what is seen: where the picture changes most, and whether the whole body changes with it."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(change, max(change.shape) / 60)
    row, col = np.unravel_index(int(np.abs(smooth).argmax()), smooth.shape)
    where = region(row, col, body_box(typical))
    spread = float((np.abs(smooth) > 0.3 * np.abs(smooth).max()).mean())
    more = "more" if smooth[row, col] > 0 else "less"
    return f"{more} in the {where}" + (", with much of the body" if spread > 0.15 else "")


def evidence(train, seed: int = 0):
    """A quick linear classifier fitted to training exams: SUV (n, h, w) → class probabilities (n, classes).

    It takes about a second and is weaker than `evaluation.train_judge`; pass such a judge to the explorer instead.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from radiogan_lib.evaluation.features import pooled, pooled_shape

    labels, shape = np.asarray(train.labels), pooled_shape(train.suv.shape[1:])
    if len(np.unique(labels)) < 2:
        return None
    x = np.sqrt(np.maximum(pooled(train.suv, shape), 0))
    model = make_pipeline(PCA(min(40, len(x) - 1, x.shape[1]), random_state=seed), StandardScaler(),
                          LogisticRegression(C=0.05, max_iter=300)).fit(x, labels)
    present = model.classes_.astype(int)

    def probabilities(suv: np.ndarray) -> np.ndarray:
        out = np.zeros((len(suv), len(train.class_names)))
        out[:, present] = model.predict_proba(np.sqrt(np.maximum(pooled(np.asarray(suv, np.float32), shape), 0)))
        return out
    return probabilities
