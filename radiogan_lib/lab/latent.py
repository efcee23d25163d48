"""The latent space behind the explorer and the live page: walks, drawing, directions."""

import hashlib
from functools import cached_property

import numpy as np

from radiogan_lib.config import RadioganError

# A kind of walk, and its name on a control
KIND_WORDS = {
    "slerp": "slerp: on the sphere",
    "lerp": "lerp: straight line",
    "label": "label only",
    "paper": "paper: z = [k, 0, …, 0]",
}
KINDS = tuple(KIND_WORDS)
# How near the nearest training exam is, as a share of the usual distance between two of them
NEARNESS = (
    (0.25, "almost a copy of it"),
    (0.8, "closer to it than two training exams usually are"),
    (1.3, "as far from it as two training exams usually are"),
)
FAR = "unlike any training exam"


def unit_word(unit: str) -> str:
    """What a pixel's value is called: SUV, or a grey value of pictures without calibration."""
    return "SUV" if unit == "SUV" else "grey value"


class ExplorerError(RadioganError, ValueError):
    """A class, seed, walk or direction that the explorer cannot use."""


class Space:
    """A generator's latent space: points go in, SUV pictures come out.

    Args:
        generator: a Keras model of `gan.build_generator`, or anything with `draw(z, e)`, `table`
            and `noise_dim`.
    """

    def __init__(self, generator):
        self.generator, self._found = generator, {}
        if hasattr(generator, "draw"):
            self.table, self.noise_dim = np.asarray(generator.table), int(generator.noise_dim)
        else:
            self.table = np.asarray(generator.get_layer("label_embedding").get_weights()[0])
            self.noise_dim = int(generator.inputs[0].shape[-1])

    @cached_property
    def _call(self):
        """The generator from (z, embedding) to grey values, compiled once per batch shape."""
        import keras

        from radiogan_lib.gan import embedding_generator

        model = embedding_generator(self.generator)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

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
            steps: points, both ends included.
            kind: as in `evaluation.walk`, whose frames these points give at truncation 1.
            truncation: factor on z; below 1 draws more typical and less varied images.

        Raises:
            ExplorerError: an unknown kind or class.
        """
        from radiogan_lib.evaluation.walks import path

        if kind not in KINDS:
            raise ExplorerError(f"there is no walk {kind!r}; choose one of {', '.join(KINDS)}.")
        last = len(self.table) - 1
        for c, _ in (start, end):
            if not 0 <= c <= last:
                fault = f"there is no class {c}."
                raise ExplorerError(f"the generator knows classes 0 to {last}; {fault}")
        z, e, _ = path(kind, start, end, steps, self.noise_dim, self.table)
        return (truncation * z).astype(np.float32), e.astype(np.float32)

    @cached_property
    def weights_hash(self) -> str:
        """Twelve digits of the SHA-256 of all weights, the same whatever file they came from."""
        digest = hashlib.sha256()
        for w in self.generator.get_weights():
            digest.update(np.ascontiguousarray(w).tobytes())
        return digest.hexdigest()[:12]

    def directions(self, label: int) -> list[np.ndarray]:
        """Up to five directions of z (noise_dim,) that change a class most, strongest first.

        The principal components of images at random z are led back to z by least squares (the idea
        of GANSpace, Härkönen et al., NeurIPS 2020, on images instead of features). Each direction
        has length 1 and points to where the pictures get brighter.
        """
        if label in self._found:
            return self._found[label]
        samples = 192
        z = np.random.default_rng(0).standard_normal((samples, self.noise_dim)).astype(np.float32)
        e = np.tile(self.table[label], (samples, 1))
        parts = [self.draw(z[i : i + 32], e[i : i + 32]) for i in range(0, samples, 32)]
        # the square root keeps the bladder from deciding everything
        flat = np.sqrt(np.maximum(np.concatenate(parts), 0)).reshape(samples, -1)
        flat -= flat.mean(axis=0)
        left, size, right = np.linalg.svd(flat, full_matrices=False)
        ridge = 0.1 * samples * np.eye(self.noise_dim)
        known = int((size > 1e-6 * max(size[0], 1e-12)).sum())
        found = []
        for k in range(min(5, known)):
            vector = np.linalg.solve(z.T @ z + ridge, z.T @ left[:, k])
            vector *= np.sign(right[k].sum()) or 1.0
            found.append((vector / max(np.linalg.norm(vector), 1e-12)).astype(np.float32))
        self._found[label] = found
        return found
