"""An auxiliary classifier that tells the generator which class its image looks like (AC-GAN, Odena et al., ICML 2017).

Lesions are a few pixels of a whole body: the discriminator's one number says little about them, and the generator
ignores its label for thousands of steps. The guide learns the classes from real training exams only, beside the game,
and what its cross-entropy on generated images exceeds that on real ones joins the generator's loss: the images are asked
to be as typical of their class as real exams are, and no more. (AC-GAN asks for more and more, and gets caricatures: the
faint lesion, which makes real classes overlap, is never drawn.) It sees all images through shifts of its own
(`guide_augment`): it would learn a thousand exams by heart otherwise, and its opinion of new images would be worth less.
The discriminator need not see them shifted, and then notices a body that lies where none does. Off (`guide = 0`) in the paper's recipe.
It is not the judge of notebooks/04_evaluation.ipynb, which is trained apart and never meets the generator.
Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from radiogan_lib.config import Config
from radiogan_lib.gan import fast

WIDTHS = (16, 32, 64, 96)
SMOOTHING = 0.1  # a guide that is never quite sure keeps giving gradients


def build_guide(cfg: Config, n_classes: int) -> keras.Model:
    """Grey values (b, h, w, 1) → class logits (b, n_classes), without the label as an input."""
    x = image = keras.Input((*cfg.canvas, 1), name="image")
    for k in range(cfg.doublings):
        x = fast.Conv2D(WIDTHS[min(k, len(WIDTHS) - 1)], 3, 2, "same", name=f"guide{k + 1}")(x)
        x = layers.LeakyReLU(cfg.leaky_slope, name=f"guide{k + 1}_leaky")(x)
    x = layers.Dropout(0.3, name="guide_dropout")(layers.Flatten(name="guide_flat")(x))
    return keras.Model(
        image, layers.Dense(n_classes, dtype="float32", name="guide_logits")(x), name="guide"
    )


def opinions(guide: keras.Model, real, fake, training) -> tuple:
    """The guide's logits for real images, and for generated ones with its own weights held still."""
    still = [ops.stop_gradient(v) for v in guide.trainable_variables]
    state = [ops.convert_to_tensor(v) for v in guide.non_trainable_variables]
    return guide(real, training=training), guide.stateless_call(
        still, state, fake, training=training
    )[0]


def cross_entropy(logits, label):
    """Mean cross-entropy (b, n) against labels (b,), with a smoothed target."""
    n = logits.shape[-1]
    target = (1 - SMOOTHING) * ops.one_hot(label, n) + SMOOTHING / n
    return ops.mean(keras.losses.categorical_crossentropy(target, logits, from_logits=True))


def pressure(on_fake, on_real):
    """What the generator pays for its label: the excess of the fakes' cross-entropy over the real images' (scalars)."""
    return ops.relu(
        fast.over_devices(on_fake - ops.stop_gradient(on_real))
    )  # of the whole batch: relu is not linear


def accuracy(logits, label):
    """Share of images in whose class the guide agrees with the label."""
    return ops.mean(
        ops.cast(
            ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(label, "int32")),
            "float32",
        )
    )
