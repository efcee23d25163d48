"""Latent recovery: can the generator be made to draw a given exam, and is that easier for training exams?

Optional and slower than the rest: every exam costs a few hundred steps of gradient descent on z.
Explained in notebooks/05_memorization.ipynb.
"""

from __future__ import annotations

import numpy as np

from radiogan_lib.evaluation.features import EvaluationError, check_images, check_labels
from radiogan_lib.evaluation.intervals import auc, number


def invert(
    generator,
    images,
    labels,
    steps: int = 200,
    learning_rate: float = 0.05,
    restarts: int = 2,
    pull: float = 1e-3,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find z with G(z, label) ≈ image: Adam on z alone, on grey values, best of several starts.

    The z of all images are rows of one Embedding, and everything else is frozen, so that Keras' own training loop does
    the descent on every backend.

    Args:
        generator: G([z, label]) whose last layer knows its scale (`encode`d images are compared in grey values).
        images: (n, h, w) SUV at the generator's size. labels: (n,).
        pull: weight of ‖z‖² / d, which keeps z where z is drawn.

    Returns:
        errors (n,): root-mean-square error in SUV of the best start; z (n, noise_dim).
    """
    import keras
    from keras import layers, ops

    images = check_images(images, "given")
    labels = check_labels(labels, len(images), "given")
    if tuple(generator.output_shape[1:3]) != images.shape[1:]:
        raise EvaluationError(
            f"the generator draws {generator.output_shape[1]} × {generator.output_shape[2]} pixels; "
            f"the images are {images.shape[1]} × {images.shape[2]}."
        )
    from radiogan_lib.data.intensity import encode

    last = generator.layers[-1]
    target = encode(images, curve=last.curve, suv_max=last.suv_max, value_range=last.value_range)
    n, noise_dim, was_trainable = len(images), generator.inputs[0].shape[-1], generator.trainable
    best, best_z = np.full(n, np.inf), np.zeros((n, noise_dim), np.float32)
    generator.trainable = False
    try:
        for restart in range(restarts):
            keras.utils.set_random_seed(seed + restart)
            index, label = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
            table = layers.Embedding(
                n,
                noise_dim,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=1.0, seed=seed + restart
                ),
                embeddings_regularizer=lambda v: pull * ops.mean(ops.square(v)),
            )
            z = layers.Reshape((noise_dim,))(table(index))
            model = keras.Model([index, label], generator([z, label], training=False))
            model.compile(keras.optimizers.Adam(learning_rate), "mse")
            rows = np.arange(n, dtype=np.int32)
            x = [np.tile(rows, 1), labels.astype(np.int32)]
            model.fit(x, target, batch_size=n, epochs=steps, shuffle=False, verbose=0)
            drawn = last.to_suv(ops.convert_to_numpy(model(x, training=False)))
            error = np.sqrt(((np.asarray(drawn) - images) ** 2).mean(axis=(1, 2)))
            better = error < best
            best[better] = error[better]
            best_z[better] = np.asarray(table.get_weights()[0])[better]
    finally:
        generator.trainable = was_trainable
    return best, best_z


def latent_recovery(
    generator,
    train,
    holdout,
    train_labels,
    holdout_labels,
    n: int = 64,
    steps: int = 200,
    seed: int = 0,
) -> dict:
    """Recovery errors of training against held-out exams (Webster et al., CVPR 2019).

    Args:
        n: exams of each set that are inverted, drawn at random.

    Returns:
        {"recovery_auc": P(a training exam is recovered better than a stranger), within classes; 0.5 expected,
        "median_train", "median_holdout": RMS error in SUV, "gap": relative difference of the medians with interval,
        "ks_p": Kolmogorov–Smirnov p}.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    sets = []
    for images, labels in ((train, train_labels), (holdout, holdout_labels)):
        pick = rng.permutation(len(images))[:n]
        sets.append((np.asarray(images)[pick], np.asarray(labels)[pick]))
    (t, t_y), (p, p_y) = sets
    errors, _ = invert(
        generator, np.concatenate([t, p]), np.concatenate([t_y, p_y]), steps=steps, seed=seed
    )
    e_t, e_p = errors[: len(t)], errors[len(t) :]

    def gap(a, b):
        return (np.median(b) - np.median(a)) / max(np.median(b), 1e-12)

    draws = [gap(rng.choice(e_t, len(e_t)), rng.choice(e_p, len(e_p))) for _ in range(500)]
    return {
        "recovery_auc": auc(-e_t, -e_p, t_y, p_y, seed=seed),
        "median_train": float(np.median(e_t)),
        "median_holdout": float(np.median(e_p)),
        "gap": number(gap(e_t, e_p), *np.quantile(draws, [0.025, 0.975])),
        "ks_p": float(stats.ks_2samp(e_t, e_p).pvalue),
        "n": len(t),
        "steps": steps,
    }
