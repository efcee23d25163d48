"""Are generated exams of use? Label agreement, TSTR, and adding them to few real exams.

The classifier is a small convolutional network, no diagnostic tool. A generator that copies scores
well here: read beside memorisation.py.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from radiogan_lib import machine
from radiogan_lib.evaluation.features import (
    EvaluationError,
    area_average,
    as_set,
    check_images,
    check_sets,
    one_each,
    pooled_shape,
)
from radiogan_lib.evaluation.statistics import Measure, wilson

SIDE = 80  # pixels on the longer side of the classifier's input
SHIFT = 2  # pixels of random displacement while training
BATCH = 32
WIDTH = 12  # channels of the first convolution


def prepare(images: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """SUV (n, h, w) to the classifier's input (n, h', w', 1); the root lifts faint lesions."""
    small = area_average(images, shape or pooled_shape(images.shape[1:], SIDE))
    return np.sqrt(np.clip(small, 0, 20) / 20)[..., None].astype(np.float32)


def _build(shape: tuple[int, int], n_classes: int):
    """The network: image → (logits, features). Three poolings, seven convolutions."""
    import keras
    from keras import layers

    def block(x, width, pool=False):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        # Pooled first: ReLU and a positive scale keep the maximum, and fewer pixels are left
        x = layers.MaxPooling2D(2, padding="same")(x) if pool else x
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = x = keras.Input((*shape, 1))
    for widths in ((WIDTH,), (2 * WIDTH,), (4 * WIDTH, 4 * WIDTH)):
        for k, width in enumerate(widths, 1):
            x = block(x, width, pool=k == len(widths))
    x = block(block(x, 8 * WIDTH), 8 * WIDTH)
    # A lesion is one hot spot anywhere: the maximum keeps it, the mean tells how much there is
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    features = layers.Dense(64, activation="relu", name="features")(layers.Dropout(0.3)(x))
    logits = layers.Dense(n_classes, name="logits")(features)
    return keras.Model(image, [logits, features])


# compiled networks by shape and class count: compiling is slow, setting weights is not
_IDLE: dict[tuple, list] = {}
_BUILDING = threading.Lock()  # Keras draws first weights from one seed for all threads


@contextlib.contextmanager
def _network(shape: tuple[int, int], n_classes: int):
    """Lend a network and its trainable twin that share weights; no two threads get the same one."""
    import keras

    with _BUILDING:
        idle = _IDLE.setdefault((shape, n_classes), [])
        if idle:
            lent = idle.pop()
        else:
            model = _build(shape, n_classes)
            twin = keras.Model(model.inputs[0], model.outputs[0])
            twin.compile(
                keras.optimizers.Adam(2e-3),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile="auto" if keras.backend.backend() == "jax" else False,
            )
            lent = model, twin
    try:
        yield lent
    finally:
        idle.append(lent)


def side_by_side(jobs: Sequence[Callable[[], object]]) -> list:
    """Results of independent small trainings, two at a time: one keeps two cores half busy."""
    with ThreadPoolExecutor(min(2, machine.cores())) as pool:
        return list(pool.map(lambda job: job(), jobs))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier: the weights of a network for one shape and number of classes."""

    shape: tuple[int, int]
    n_classes: int
    weights: list[np.ndarray]

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        """Logits (n, classes) and features (n, 64)."""
        x = prepare(check_images(images, "given"), self.shape)
        with _network(self.shape, self.n_classes) as (model, _):
            model.set_weights(self.weights)
            parts = [model(x[i : i + 256], training=False) for i in range(0, len(x), 256)]
            return [np.concatenate([np.asarray(v) for v in p]) for p in zip(*parts, strict=True)]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities (n, classes) of images (n, h, w) in SUV."""
        return softmax(self._run(images)[0], axis=1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The likeliest class of each image, int (n,)."""
        return self._run(images)[0].argmax(axis=1)

    def features(self, images: np.ndarray) -> np.ndarray:
        """The last hidden layer, each row of unit length: (n, 64) float32."""
        f = self._run(images)[1]
        return (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _jitter(x: np.ndarray, rng) -> np.ndarray:
    """Each image moved by up to `SHIFT` pixels and scaled by up to 10 %; organs have sides."""
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    dy, dx = rng.integers(0, 2 * SHIFT + 1, (2, n))
    rows, columns = dy[:, None] + np.arange(h), dx[:, None] + np.arange(w)
    moved = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved * rng.uniform(0.9, 1.1, (n, 1, 1, 1)).astype(np.float32)


def train_classifier(
    real,
    n_classes: int | None = None,
    epochs: int = 30,
    steps: int | None = None,
    start: Classifier | None = None,
    seed: int = 0,
) -> Classifier:
    """Train a classifier: classes drawn equally often, Adam with a cosine from 2e-3 to 0, shifts.

    Args:
        real: `ImageSet` or dataset with labels 0 to n_classes − 1.
        epochs: passes over the images; or `steps` of 32 images.
        start: continue from this classifier at half the step size.

    Raises:
        EvaluationError: no labels, fewer than two classes, or labels that are not small numbers.
    """
    given = as_set(real, "training")
    images, labels = given.images, given.labels
    if labels is None or len(np.unique(labels)) < 2:
        fault = "a classifier needs exams of at least two classes"
        raise EvaluationError(f"{fault}; these hold one, or no labels.")
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    if labels.min() < 0 or labels.max() >= n_classes or n_classes > max(1000, len(images)):
        fault = f"labels run from {labels.min()} to {labels.max()} for {n_classes} classes"
        raise EvaluationError(f"{fault}; number the classes from 0.")
    from radiogan_lib.gan import engine  # Keras only where a classifier is trained

    engine.prepare()  # the threads of the trainings: another number gives another classifier
    engine.keep_memory()
    shape = start.shape if start else pooled_shape(images.shape[1:], SIDE)
    x, rng = prepare(images, shape), np.random.default_rng(seed)
    steps = steps or max(1, epochs * len(x) // BATCH)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    with _network(shape, n_classes) as (model, classifier):
        _restart(model, classifier, start.weights if start else None, seed)
        for k in range(steps):
            turn = rng.permutation(np.arange(BATCH) % len(members))
            pick = np.array([rng.choice(members[j]) for j in turn])
            rate = (1e-3 if start else 2e-3) * (0.5 + 0.5 * np.cos(np.pi * k / steps))
            classifier.optimizer.learning_rate = rate
            classifier.train_on_batch(_jitter(x[pick], rng), labels[pick])
        return Classifier(shape, n_classes, model.get_weights())


def _restart(model, classifier, weights: list[np.ndarray] | None, seed: int) -> None:
    """Give a used network the weights of a new one, or those given, and forget its past."""
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


def _balanced(values: np.ndarray, labels: np.ndarray, rounds: int, seed: int) -> Measure:
    """Mean over classes of values (classifiers, n); exams and classifiers are resampled."""
    rng, parts = np.random.default_rng(seed), [values[:, labels == c] for c in np.unique(labels)]

    def once() -> float:
        rows = rng.integers(0, len(values), len(values))
        parts_now = [p[rows][:, rng.integers(0, p.shape[1], p.shape[1])].mean() for p in parts]
        return float(np.mean(parts_now))

    interval = np.quantile([once() for _ in range(rounds)], [0.025, 0.975])
    return Measure(np.mean([p.mean() for p in parts]), *interval, classifiers=len(values))


def balanced_accuracy(predictions: list, labels: np.ndarray, rounds=200, seed=0) -> Measure:
    """Mean recall over classes, averaged over classifiers, with a bootstrap interval."""
    hits = np.stack([p == labels for p in predictions]).astype(float)
    return _balanced(hits, labels, rounds, seed)


def _paired(alone: list, both: list, labels: np.ndarray, rounds: int, seed: int) -> Measure:
    """Difference of balanced accuracies, resampled together, so that luck cancels."""
    apart = (np.stack(both) == labels).astype(float) - (np.stack(alone) == labels)
    return _balanced(apart, labels, rounds, seed)


def label_agreement(classifier: Classifier, generated, holdout=None) -> dict:
    """How often a classifier of real exams finds the class that the generator was asked for.

    Returns:
        `overall` (mean of the classes) and `classes` {label: Measure} with `ceiling`: what the same
        classifier reaches on held-out real exams; agreement above it warns that only typical cases
        are drawn. `confusion`: (asked, found), shares of the asked class.
    """

    def hits(predicted, labels):
        return {int(c): predicted[labels == c] == c for c in np.unique(labels)}

    def share(p, n, ceiling):
        return Measure(p, *wilson(p * n, n), ceiling=ceiling)

    generated = as_set(generated, "generated")
    y, found = generated.labels, classifier.predict(generated.images)
    classes, ceiling = range(classifier.n_classes), {}
    confusion = confusion_matrix(y, found, labels=classes, normalize="true")
    if holdout is not None:
        holdout = as_set(holdout, "held-out")
        real = hits(classifier.predict(holdout.images), holdout.labels)
        ceiling = {c: float(h.mean()) for c, h in real.items()}
    mean = float(np.mean(list(ceiling.values()))) if ceiling else None
    asked = hits(found, y)
    # as many images as would give the mean of the classes the same variance, were they equally many
    equal = len(asked) ** 2 / sum(1 / len(h) for h in asked.values())
    return {
        "overall": share(np.mean([h.mean() for h in asked.values()]), equal, mean),
        "classes": {c: share(h.mean(), len(h), ceiling.get(c)) for c, h in asked.items()},
        "confusion": np.round(confusion, 4).tolist(),
    }


def augmentation_gain(
    train,
    holdout,
    synthetic: Classifier,
    sizes=(10, 20, 50),
    repeats: int = 2,
    steps: int = 150,
    rounds: int = 200,
    seed: int = 0,
) -> list[dict]:
    """Balanced accuracy where real exams are few, with and without generated ones.

    `real` trains on k real exams per class of different patients; `both` starts from the classifier
    trained on generated exams (`synthetic`) and goes on with the same k; `repeats` random draws of
    the k.

    Returns:
        one dict per size: per_class, real, both, gain (paired bootstrap interval).
    """
    rng = np.random.default_rng(seed)
    train, holdout = as_set(train, "training"), as_set(holdout, "held-out")
    train, holdout = (s.take(one_each(s, seed)) for s in (train, holdout))
    members = [np.flatnonzero(train.labels == c) for c in np.unique(train.labels)]
    sizes = [size for size in sizes if min(map(len, members)) >= size]

    def predictions(pick: np.ndarray, start: Classifier | None, r: int) -> np.ndarray:
        some = {"steps": steps // 2 if start else steps, "start": start, "seed": seed + r}
        few = train.take(pick)
        return train_classifier(few, synthetic.n_classes, **some).predict(holdout.images)

    jobs = []
    for size in sizes:
        for r in range(repeats):
            pick = np.concatenate([rng.choice(m, size, replace=False) for m in members])
            jobs += [functools.partial(predictions, pick, start, r) for start in (None, synthetic)]
    found = np.array(side_by_side(jobs)).reshape(len(sizes), repeats, 2, len(holdout))
    rows, same = [], (holdout.labels, rounds, seed)
    for size, (alone, both) in zip(sizes, found.swapaxes(1, 2), strict=True):
        row = {"per_class": int(size), "real": balanced_accuracy(alone, *same)}
        row |= {"both": balanced_accuracy(both, *same), "gain": _paired(alone, both, *same)}
        rows.append(row)
    return rows


def utility_report(
    train,
    holdout,
    generated,
    classifier: Classifier | None = None,
    epochs: int = 30,
    sizes=(10, 20, 50),
    rounds: int = 200,
    seed: int = 0,
) -> dict:
    """Label agreement, TRTR, TSTR and augmentation gain, with intervals.

    Args:
        train, holdout, generated: `ImageSet`s with labels; one exam of each held-out patient.
        classifier: trained on the real exams; made here if missing. epochs: of every classifier.

    Returns:
        {"label_agreement", "trtr", "tstr", "tstr_minus_trtr", "chance", "augmentation"}; TSTR
        trains on generated exams and tests on real ones (Ravuri & Vinyals, NeurIPS 2019).
    """
    train, holdout, generated = check_sets(train, holdout, generated)
    if generated.labels is None:
        raise EvaluationError("label agreement and TSTR need labels of all three sets.")
    holdout = holdout.take(one_each(holdout, seed))
    y, same = holdout.labels, {"rounds": rounds, "seed": seed}
    largest = max(s.labels.max() for s in (train, holdout, generated))
    n = classifier.n_classes if classifier else int(largest) + 1
    classifier = classifier or train_classifier(train, n, epochs=epochs, seed=seed)
    synthetic = train_classifier(generated, n, epochs=epochs, seed=seed)
    real, synth = ([c.predict(holdout.images)] for c in (classifier, synthetic))
    return {
        "label_agreement": label_agreement(classifier, generated, holdout),
        "trtr": balanced_accuracy(real, y, **same),
        "tstr": balanced_accuracy(synth, y, **same),
        "tstr_minus_trtr": _paired(real, synth, y, **same),
        "chance": 1 / len(np.unique(y)),
        "augmentation": augmentation_gain(train, holdout, synthetic, sizes, **same),
    }
