"""The latent space behind the explorer: points of a walk, fast drawing, directions named by what they change.

Pure functions and one small object; no widget is needed. Explained in notebooks/06_latent_explorer.ipynb.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache

import numpy as np

from radiogan_lib.config import RadioganError
from radiogan_lib.lab.directions import Direction, find
from radiogan_lib.lab.places import body_box, region

__all__ = ["Direction", "ExplorerError", "KINDS", "Space", "body_box", "evidence", "region"]
# A kind of walk, and its name on a control
KIND_WORDS = {
    "slerp": "slerp: on the sphere",
    "lerp": "lerp: straight line",
    "label": "label only",
    "paper": "paper: z = [k, 0, …, 0]",
}
KINDS = tuple(KIND_WORDS)
# How near the nearest training exam is: below this share of the usual distance between two of them, these words
NEARNESS = (
    (0.25, "almost a copy of it"),
    (0.8, "closer to it than two training exams usually are"),
    (1.3, "as far from it as two training exams usually are"),
)
FAR = "unlike any training exam"


class ExplorerError(RadioganError, ValueError):
    """A class, seed, walk or file that the explorer cannot use."""


class Space:
    """A generator's latent space: points go in, SUV pictures come out.

    Args:
        generator: a Keras model of `gan.build_generator`, or anything with `draw(z, e)`, `table` and `noise_dim`.
    """

    def __init__(self, generator):
        self.generator = generator
        if hasattr(generator, "draw") and hasattr(generator, "table"):
            self.table, self.noise_dim = (
                np.asarray(generator.table, np.float32),
                int(generator.noise_dim),
            )
        else:
            self.table = np.asarray(
                generator.get_layer("label_embedding").get_weights()[0], np.float32
            )
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
                raise ExplorerError(
                    f"the generator knows classes 0 to {len(self.table) - 1}; there is no class {c}."
                )
        z, e, _ = path(kind, start, end, steps, self.noise_dim, self.table)
        return (truncation * z).astype(np.float32), e.astype(np.float32)

    @cached_property
    def weights_hash(self) -> str:
        """Twelve digits of the SHA-256 of all weights: the same for the same generator, whatever its file."""
        digest = hashlib.sha256()
        for w in (
            self.generator.get_weights() if hasattr(self.generator, "get_weights") else [self.table]
        ):
            digest.update(np.ascontiguousarray(w).tobytes())
        return digest.hexdigest()[:12]

    @lru_cache(maxsize=32)
    def directions(self, label: int, count: int = 5, samples: int = 192) -> tuple[Direction, ...]:
        """The directions of z along which the pictures of one class change most, named by what is seen to change."""
        return find(self.draw, self.table[label], self.noise_dim, count, samples)


def evidence(train, seed: int = 0):
    """A quick linear classifier fitted to training exams: SUV (n, h, w) → class probabilities (n, classes).

    It takes about a second and is weaker than `evaluation.train_classifier`; pass such a classifier to the explorer instead.
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
    model = make_pipeline(
        PCA(min(40, len(x) - 1, x.shape[1]), random_state=seed),
        StandardScaler(),
        LogisticRegression(C=0.05, max_iter=300),
    ).fit(x, labels)
    present = model.classes_.astype(int)

    def probabilities(suv: np.ndarray) -> np.ndarray:
        out = np.zeros((len(suv), len(train.class_names)))
        out[:, present] = model.predict_proba(
            np.sqrt(np.maximum(pooled(np.asarray(suv, np.float32), shape), 0))
        )
        return out

    return probabilities
