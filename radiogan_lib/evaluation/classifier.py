"""The judge: a small convolutional network that names the class of an exam.

Trained on real exams it says whether a generated one shows the disease it was asked for, and its last hidden layer is a
feature space; trained on generated exams and tested on real ones (TSTR) it says whether they are of use. It is no
diagnostic tool. Keras is imported when a judge is trained, not before.
Explained in notebooks/04_evaluation.ipynb.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from radiogan_lib.evaluation.features import (
    EvaluationError,
    area_average,
    check_images,
    check_labels,
    pooled_shape,
)
from radiogan_lib.gan import memory

SIDE = 80  # pixels on the longer side of what the judge sees
SHIFT = 2  # pixels of random displacement while training
BATCH = 32
WIDTH = 12  # channels of the first convolution


def prepare(images: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """SUV (n, h, w) to the judge's input (n, h', w', 1): area average, then a square root that lifts faint lesions."""
    small = area_average(images, shape or pooled_shape(images.shape[1:], SIDE))
    return np.sqrt(np.clip(small, 0, 20) / 20)[..., None].astype(np.float32)


def _build(shape: tuple[int, int], n_classes: int):
    """The network: image → (logits, features). Three poolings, seven convolutions."""
    import keras
    from keras import layers

    def block(x, width, pool=False):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        # Pooled before it is normalised: ReLU and a positive scale keep the maximum, and a quarter of the pixels is left to do
        x = layers.MaxPooling2D(2, padding="same")(x) if pool else x
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((*shape, 1))
    x = image
    for widths in ((WIDTH,), (2 * WIDTH,), (4 * WIDTH, 4 * WIDTH)):
        for k, width in enumerate(widths, 1):
            x = block(x, width, pool=k == len(widths))
    x = block(block(x, 8 * WIDTH), 8 * WIDTH)
    # A lesion is one hot spot anywhere: the maximum over the body keeps it, the mean tells how much there is
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    features = layers.Dense(64, activation="relu", name="features")(layers.Dropout(0.3)(x))
    logits = layers.Dense(n_classes, name="logits")(features)
    return keras.Model(image, [logits, features])


_IDLE: dict[
    tuple, list
] = {}  # compiled networks by shape and class count: compiling is slow, setting weights is not
_BUILDING = threading.Lock()  # Keras draws first weights from one seed for all threads


@contextlib.contextmanager
def _network(shape: tuple[int, int], n_classes: int):
    """Lend a network and its trainable twin that share weights; no two threads get the same one."""
    import keras

    with _BUILDING:
        idle = _IDLE.setdefault((shape, n_classes), [])
        if not idle:
            model = _build(shape, n_classes)
            classifier = keras.Model(model.inputs[0], model.outputs[0])
            classifier.compile(
                keras.optimizers.Adam(2e-3),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile="auto" if keras.backend.backend() == "jax" else False,
            )
            idle.append((model, classifier))
        lent = idle.pop()
    try:
        yield lent
    finally:
        idle.append(lent)


def side_by_side(jobs: Sequence[Callable[[], object]]) -> list:
    """Results of independent small trainings, two at a time: one alone keeps two cores only half busy."""
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return [f.result() for f in [pool.submit(job) for job in jobs]]


class Judge:
    """A trained judge. `probabilities` (n, classes), `predict` (n,), `features` (n, 64) of unit length."""

    def __init__(self, shape: tuple[int, int], n_classes: int, weights: list[np.ndarray]):
        self.shape, self.n_classes, self.weights = shape, n_classes, weights

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from keras import ops

        x = prepare(check_images(images, "given"), self.shape)
        with _network(self.shape, self.n_classes) as (model, _):
            model.set_weights(self.weights)
            parts = [
                [ops.convert_to_numpy(v) for v in model(x[i : i + 256], training=False)]
                for i in range(0, len(x), 256)
            ]
        return tuple(np.concatenate(p) for p in zip(*parts, strict=True))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities (n, classes) of images (n, h, w) in SUV."""
        logits = self._run(images)[0]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The likeliest class of each image, int (n,)."""
        return self._run(images)[0].argmax(axis=1)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The last hidden layer, each row of unit length: (n, 64) float32."""
        f = self._run(images)[1]
        return (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _jitter(x: np.ndarray, rng) -> np.ndarray:
    """Each image moved by up to `SHIFT` pixels and brightened or dimmed by up to 10 %; never flipped: organs have sides."""
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    dy, dx = rng.integers(0, 2 * SHIFT + 1, (2, n))
    rows, columns = dy[:, None] + np.arange(h), dx[:, None] + np.arange(w)
    moved = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved * rng.uniform(0.9, 1.1, (n, 1, 1, 1)).astype(np.float32)


def train_judge(
    images,
    labels,
    n_classes: int | None = None,
    epochs: int = 30,
    steps: int | None = None,
    start: Judge | None = None,
    seed: int = 0,
) -> Judge:
    """Train a judge, classes drawn equally often, Adam with a cosine from 2e-3 to 0, shifts of ±2 pixels.

    Args:
        images: (n, h, w) SUV. labels: (n,) int.
        epochs: passes over the images; or `steps` of 32 images.
        start: continue from this judge (at half the step size) instead of from fresh weights.

    Raises:
        EvaluationError: fewer than two classes.
    """
    images = check_images(images, "training")
    labels = check_labels(labels, len(images), "training")
    if len(np.unique(labels)) < 2:
        raise EvaluationError("a judge needs exams of at least two classes; these labels hold one.")
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    memory.keep()
    shape = start.shape if start else pooled_shape(images.shape[1:], SIDE)
    x, rng = prepare(images, shape), np.random.default_rng(seed)
    steps = steps or max(1, epochs * len(x) // BATCH)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    with _network(shape, n_classes) as (model, classifier):
        _restart(model, classifier, start.weights if start else None, seed)
        for k in range(steps):
            pick = np.array(
                [rng.choice(members[j]) for j in rng.permutation(np.arange(BATCH) % len(members))]
            )
            classifier.optimizer.learning_rate = (1e-3 if start else 2e-3) * (
                0.5 + 0.5 * np.cos(np.pi * k / steps)
            )
            classifier.train_on_batch(_jitter(x[pick], rng), labels[pick])
        return Judge(shape, n_classes, model.get_weights())


def _restart(model, classifier, weights: list[np.ndarray] | None, seed: int) -> None:
    """Give a used network the weights of a new one (or those that are given); forget its optimizer's and dropout's past."""
    import keras

    with _BUILDING:
        keras.utils.set_random_seed(seed)
        fresh = _build(model.input_shape[1:3], model.output_shape[0][-1])
    model.set_weights(fresh.get_weights() if weights is None else weights)
    for layer, new in zip(model.layers, fresh.layers, strict=True):
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign(new.seed_generator.state)
    for variable in classifier.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
