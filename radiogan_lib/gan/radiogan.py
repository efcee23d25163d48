"""The game between the two networks, as one `keras.Model` that Keras' own `fit` trains on TensorFlow or JAX.

`call` draws noise, makes fakes and lets the discriminator look three times; `compute_loss` turns the three looks into two
losses and adds them. What each network may learn from is decided by two stop signs, not by switching `trainable`:

- the discriminator's own term sees `stop_gradient(fake)`: nothing reaches the generator;
- the generator's term runs the discriminator with `stop_gradient(weights)`: nothing reaches the discriminator, nor do its
  BatchNorm statistics move.

One Adam over both sets of weights then is exactly two Adams (its update is per weight). Explained in
notebooks/03_training.ipynb.
"""

from __future__ import annotations

import keras
from keras import ops

from radiogan_lib.config import Config
from radiogan_lib.gan import augment
from radiogan_lib.gan import guide as guides

PENALTY_STEP = 0.05  # length σ of the finite difference, in grey values


class RadioGAN(keras.Model):
    """Generator and discriminator as one trainable model (paper §3.2; every switch of `cfg` off is the paper's game).

    Args:
        generator: ([z, label]) → image, from `build_generator`.
        discriminator: ([image, label]) → logit, from `build_discriminator`.
        cfg: the switches; see `radiogan_lib.config`.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model, cfg: Config):
        super().__init__(name="radiogan")
        self.generator, self.discriminator, self.cfg = generator, discriminator, cfg
        self.noise_seed = keras.random.SeedGenerator(cfg.seed)
        air = 0.0 if cfg.value_range == "unit" else -1.0
        self.augment = augment.DiffAugment(
            cfg.diffaugment, air, cfg.seed + 1, cfg.diffaugment_share
        )
        self.augment_seed = (
            self.augment.seed
        )  # only a seed that hangs on the model is saved with it, and moves under JAX
        names = ("d_loss", "g_loss", "d_accuracy", "real_logit", "fake_logit")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        if cfg.guide:
            self.guide = guides.build_guide(cfg, generator.get_layer("label_embedding").input_dim)
            self.guide_view = augment.DiffAugment(
                cfg.guide_augment, air, cfg.seed + 2, setting="guide_augment"
            )
            self.guide_seed = self.guide_view.seed
            self.trackers["guide_accuracy"] = keras.metrics.Mean(name="guide_accuracy")
        if cfg.lecam:  # running means of the logits, the anchors of the regulariser
            self.real_anchor = self.add_weight(
                name="real_anchor",
                shape=(),
                initializer="zeros",
                trainable=False,
                aggregation="mean",
            )
            self.fake_anchor = self.add_weight(
                name="fake_anchor",
                shape=(),
                initializer="zeros",
                trainable=False,
                aggregation="mean",
            )
        self.built = True

    def call(self, inputs, training=False):
        """(images (b, h, w, 1) grey values, labels (b,)) → logits, each (b, 1): real, fake, judged (+ penalty)."""
        real, label = (ops.convert_to_tensor(v) for v in inputs)
        fake = self.generator(
            [self.noise(ops.shape(label)[0]), label], training=training
        )  # (b, h, w, 1)
        views = (
            [self.guide_view(x, training) for x in (real, fake)]
            if self.cfg.guide and training
            else []
        )
        real, fake = self.augment(real, training), self.augment(fake, training)
        seen, weights = (
            ops.stop_gradient(fake),
            [ops.convert_to_tensor(v) for v in self.discriminator.trainable_variables],
        )
        before_real = self._discriminator_state()
        logits = {"real": self.discriminator([real, label], training=training)}
        before_fake = self._discriminator_state()
        logits["fake"] = self.discriminator([seen, label], training=training)
        # The third look: the same dropout masks as the second, frozen weights, its own BatchNorm update thrown away.
        logits["judged"] = self._look(
            [ops.stop_gradient(w) for w in weights], before_fake, fake, label, training
        )
        if self.cfg.gradient_penalty and training:
            steep = [
                ops.square(
                    self._look(
                        weights, state, x + PENALTY_STEP * self._direction(x), label, training
                    )
                    - logits[name]
                )
                for name, state, x in (("real", before_real, real), ("fake", before_fake, seen))
            ]
            logits["penalty"] = (steep[0] + steep[1]) / PENALTY_STEP**2
        if views:
            logits["class_real"], logits["class_fake"] = guides.opinions(
                self.guide, *views, training
            )
            logits["label"] = ops.reshape(label, (-1,))
        return logits

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The two losses and their sum. Chance level: d_loss = g_loss = ln 2, d_accuracy = 0.5."""
        real, fake, judged = y_pred["real"], y_pred["fake"], y_pred["judged"]
        if (
            self.cfg.loss == "bce"
        ):  # the paper: is it real? Cross-entropy from logits never saturates.
            d_loss = (
                _cross_entropy(1 - self.cfg.label_smoothing, real) + _cross_entropy(0, fake)
            ) / 2
            g_loss = _cross_entropy(1, judged)
            accuracy = (ops.mean(real > 0) + ops.mean(fake < 0)) / 2
        else:  # relativistic pairing (Jolicoeur-Martineau 2019; Huang et al. 2024): is it more real than its partner?
            d_loss = ops.mean(ops.softplus(fake - real))
            g_loss = ops.mean(ops.softplus(ops.stop_gradient(real) - judged))
            accuracy = ops.mean(real > fake)
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_accuracy": accuracy,
            "real_logit": ops.mean(real),
            "fake_logit": ops.mean(fake),
        }
        for name, value in values.items():
            self.trackers[name].update_state(value)
        if "penalty" in y_pred:
            d_loss = d_loss + self.cfg.gradient_penalty / 2 * ops.mean(y_pred["penalty"])
        if "class_real" in y_pred:
            on_real, on_fake = (
                guides.cross_entropy(y_pred[name], y_pred["label"])
                for name in ("class_real", "class_fake")
            )
            d_loss, g_loss = (
                d_loss + on_real,
                g_loss + self.cfg.guide * guides.pressure(on_fake, on_real),
            )
            self.trackers["guide_accuracy"].update_state(
                guides.accuracy(y_pred["class_fake"], y_pred["label"])
            )
        if self.cfg.lecam:
            d_loss = d_loss + self.cfg.lecam * self._lecam(real, fake)
        return (d_loss + g_loss) / _replicas()

    def noise(self, n):
        """z (n, noise_dim) from N(0, 1); the seed's state is one of the model's variables, so every step draws anew."""
        return keras.random.normal((n, self.cfg.noise_dim), seed=self.noise_seed)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _discriminator_state(self):
        """Dropout seeds and BatchNorm statistics as they are now: copies, since a bare variable would be read later."""
        return [ops.copy(v) for v in self.discriminator.non_trainable_variables]

    def _look(self, weights, state, image, label, training):
        """The discriminator's logit from given weights and state; what it would change in its state is dropped."""
        return self.discriminator.stateless_call(weights, state, [image, label], training=training)[
            0
        ]

    def _direction(self, x):
        return keras.random.normal(ops.shape(x), dtype=x.dtype, seed=self.noise_seed)

    def _lecam(self, real, fake):
        """LeCam regulariser (Tseng et al., CVPR 2021): keeps real logits near the fakes' running mean and vice versa."""
        for anchor, logits in ((self.real_anchor, real), (self.fake_anchor, fake)):
            anchor.assign(0.99 * anchor + 0.01 * ops.stop_gradient(ops.mean(logits)))
        return ops.mean(ops.square(ops.relu(real - self.fake_anchor))) + ops.mean(
            ops.square(ops.relu(self.real_anchor - fake))
        )


def compiled(cfg: Config, n_classes: int, suv_max: float | None = None) -> RadioGAN:
    """A new game between the paper's networks, ready for `fit`."""
    from radiogan_lib.gan.networks import build_discriminator, build_generator

    return compile_game(
        cfg, lambda: (build_generator(cfg, n_classes, suv_max), build_discriminator(cfg, n_classes))
    )


def compile_game(cfg: Config, build, kind=RadioGAN) -> RadioGAN:
    """Seed everything, build two networks, and give them the paper's Adam(2e-4, beta_1 0.5), one over both."""
    keras.utils.set_random_seed(cfg.seed)
    game = kind(*build(), cfg)
    average = (
        {"use_ema": True, "ema_momentum": cfg.ema} if cfg.ema else {}
    )  # Keras' own exponential moving average
    on_jax = (
        keras.backend.backend() == "jax"
    )  # XLA makes TensorFlow slower on CPUs; JAX is nothing without it
    game.compile(
        keras.optimizers.Adam(cfg.learning_rate, beta_1=cfg.beta_1, **average), jit_compile=on_jax
    )
    game.optimizer.build(game.trainable_variables)
    return game


def _cross_entropy(target: float, logit):
    """Mean binary cross-entropy of a constant target, from logits (keras.ops gives no gradient trouble at ±40)."""
    return ops.mean(ops.softplus(logit) - target * logit)


def _replicas() -> int:
    """Devices that share a batch: each adds its part of the gradient, so each part is divided."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
