"""Drawing from a generator, in SUV; and BatchNorm statistics that fit averaged weights."""

import keras
import numpy as np

from radiogan_lib.config import RadioganError


class SamplingError(RadioganError, ValueError):
    """Labels or noise that the generator cannot take."""


def noise(n: int, noise_dim: int, seed: int = 0, truncation: float = 1.0) -> np.ndarray:
    """z (n, noise_dim) float32 from N(0, truncation²); a seed gives the same rows for every n."""
    z = np.random.default_rng(seed).standard_normal((n, noise_dim))
    return (truncation * z).astype("float32")


def sample(
    generator: keras.Model,
    labels,
    seed: int = 0,
    z=None,
    truncation: float = 1.0,
    batch_size: int = 0,
) -> np.ndarray:
    """Draw one image per label.

    Args:
        generator: made by this library; its last layer knows the scale of its pixels.
        labels: (n,) class indices.
        seed: of the noise, where `z` is not given.
        z: (n, noise_dim) noise.
        truncation: scale of the noise; below 1 trades variety for typical images.
        batch_size: images drawn at a time; changes memory, not results. 0 = 64, fewer if large.

    Returns:
        (n, h, w) float32, SUV in [0, suv_max].

    Raises:
        SamplingError: labels outside the generator's classes, or z of the wrong shape.
    """
    labels = np.atleast_1d(np.asarray(labels))
    n_classes = generator.get_layer("label_embedding").input_dim
    shape = (len(labels), generator.inputs[0].shape[1])
    known = np.isin(labels, np.arange(n_classes))
    if labels.ndim != 1 or not known.all():
        values = f", values {labels.min()} to {labels.max()}" if labels.size else ""
        raise SamplingError(
            f"labels must be whole numbers from 0 to {n_classes - 1} in one dimension; got shape "
            f"{labels.shape}{values}."
        )
    z = noise(*shape, seed, truncation) if z is None else truncation * np.asarray(z, "float32")
    if z.shape != shape:
        raise SamplingError(f"z must have the shape {shape} (labels, noise_dim); got {z.shape}.")
    labels = labels.astype("int32")
    height, width = generator.outputs[0].shape[1:3]
    batch_size = batch_size or max(1, min(64, 32 * 160 * 96 // (height * width)))

    def draw(i):
        return generator([z[i], labels[i]], training=False)

    return in_batches(draw, len(labels), batch_size, generator)


def in_batches(draw, n: int, batch_size: int, generator: keras.Model) -> np.ndarray:
    """SUV (n, h, w) of `draw(indices)`, in batches of one shape: nothing is traced twice."""
    batch_size = max(1, min(batch_size, n))
    suv = np.zeros((n, *generator.outputs[0].shape[1:3]), "float32")
    for start in range(0, n, batch_size):
        # The last batch repeats its last image.
        indices = np.minimum(np.arange(start, start + batch_size), n - 1)
        grey = keras.ops.convert_to_numpy(draw(indices))
        part = suv[start : start + batch_size]
        part[:] = generator.layers[-1].to_suv(grey)[: len(part)]
    return suv


def recalibrate(
    generator: keras.Model, labels, seed: int = 0, batches: int = 16, batch_size: int = 64
) -> None:
    """Re-estimate BatchNorm's moving statistics, in place, as the plain mean over some batches.

    The statistics that training left behind belong to the last raw weights: with averaged weights
    (EMA) they spoil the images. `labels` (n,) is what class frequencies are drawn from.
    """
    norms = [v for v in generator.layers if isinstance(v, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    rng = np.random.default_rng(seed)
    try:
        for k in range(batches):
            for layer in norms:
                layer.momentum = k / (k + 1)  # the update is the mean of all batches so far
            drawn = rng.choice(np.asarray(labels), batch_size).astype("int32")
            z = rng.standard_normal((batch_size, generator.inputs[0].shape[1])).astype("float32")
            generator([z, drawn], training=True)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
