"""The two losses of the conditional GAN, as one `keras.Model` that Keras' own `fit` trains.

`call` draws noise, makes fakes and runs the discriminator three times; `compute_loss` turns the
three logits into two losses and adds them. Two `stop_gradient`s decide what each network learns
from; `trainable` is never switched:

- the discriminator's loss sees `stop_gradient(fake)`: no gradient reaches the generator;
- the generator's loss runs the discriminator with `stop_gradient(weights)`: no gradient reaches the
  discriminator, and its BatchNorm statistics stay as they are.

One Adam over both sets of weights then is exactly two Adams, because its update is per weight.
Explained in notebooks/03_training.ipynb.
"""

import keras
from keras import ops

from radiogan_lib.config import Config
from radiogan_lib.gan import engine, improvements


class RadioGAN(keras.Model):
    """Generator and discriminator as one trainable model; with every switch off the paper's (§3.2).

    Args:
        generator, discriminator: [z, label] → image and [image, label] → logit.
        cfg: the switches; see `radiogan_lib.config`.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model, cfg: Config):
        super().__init__(name="radiogan")
        self.generator, self.discriminator, self.cfg = generator, discriminator, cfg
        self.noise_seed = keras.random.SeedGenerator(cfg.seed)
        shifts = improvements.DiffAugment
        self.augment = shifts(cfg.diffaugment, cfg.seed + 1, cfg.diffaugment_share)
        # A seed is saved with the model, and moves under JAX, only as the model's own attribute.
        self.augment_seed = self.augment.seed
        names = ["d_loss", "g_loss", "d_accuracy", "real_logit", "fake_logit"]
        names += ["auxiliary_accuracy"] if cfg.auxiliary else []
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        if cfg.auxiliary:
            n_classes = generator.get_layer("label_embedding").input_dim
            self.auxiliary = improvements.build_auxiliary(cfg, n_classes)
            policy = {"policy": cfg.auxiliary_augment, "setting": "auxiliary_augment"}
            self.auxiliary_view = shifts(seed=cfg.seed + 2, **policy)
            self.auxiliary_seed = self.auxiliary_view.seed
        if cfg.spectral_matching:
            self.matching = improvements.SpectralMatching(cfg)
        if cfg.lecam:  # running means of the logits, the anchors of the regulariser
            anchor = dict(shape=(), initializer="zeros", trainable=False, aggregation="mean")
            self.real_anchor = self.add_weight(name="real_anchor", **anchor)
            self.fake_anchor = self.add_weight(name="fake_anchor", **anchor)
        self.built = True

    def call(self, inputs, training=False):
        """(grey values (b, h, w, 1), labels (b,)) → logits (b, 1): real, fake, fake_frozen."""
        real, label = (ops.convert_to_tensor(v) for v in inputs)
        z = self.noise(ops.shape(label)[0])  # (b, noise_dim)
        fake = self.generator([z, label], training=training)  # (b, h, w, 1)
        extra = {}
        if self.cfg.auxiliary and training:
            views = [self.auxiliary_view(x, training) for x in (real, fake)]
            extra["label"] = ops.reshape(label, (-1,))
        if self.cfg.spectral_matching and training:
            extra["bands"] = self.matching(real, fake)
        real, fake = self.augment(real, training), self.augment(fake, training)
        constant_fake, judge = ops.stop_gradient(fake), self.discriminator
        weights = [ops.convert_to_tensor(v) for v in judge.trainable_variables]
        logits = {"real": judge([real, label], training=training)}
        # Copies of dropout seeds and BatchNorm statistics: a bare variable would be read later.
        before_fake = [ops.copy(v) for v in judge.non_trainable_variables]
        logits["fake"] = judge([constant_fake, label], training=training)
        # The third pass: the dropout masks of the second, constant weights, no BatchNorm update.
        frozen = [ops.stop_gradient(w) for w in weights]
        logits["fake_frozen"] = judge.stateless_call(
            frozen, before_fake, [fake, label], training=training
        )[0]
        if "label" in extra:
            on_real, on_fake = improvements.auxiliary_logits(self.auxiliary, *views, training)
            extra |= {"class_real": on_real, "class_fake": on_fake}
        return logits | extra

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The two losses and their sum. Chance level: d_loss = g_loss = ln 2, d_accuracy = 0.5."""
        real, fake, fake_frozen = y_pred["real"], y_pred["fake"], y_pred["fake_frozen"]
        d_loss = (_cross_entropy(1, real) + _cross_entropy(0, fake)) / 2
        g_loss = _cross_entropy(1, fake_frozen)
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_accuracy": (ops.mean(real > 0) + ops.mean(fake < 0)) / 2,
            "real_logit": ops.mean(real),
            "fake_logit": ops.mean(fake),
        }
        for name, value in values.items():
            self.trackers[name].update_state(value)
        if "class_real" in y_pred:
            on_real = improvements.cross_entropy(y_pred["class_real"], y_pred["label"])
            on_fake = improvements.cross_entropy(y_pred["class_fake"], y_pred["label"])
            d_loss = d_loss + on_real
            g_loss = g_loss + self.cfg.auxiliary * improvements.excess(on_fake, on_real)
            accuracy = improvements.accuracy(y_pred["class_fake"], y_pred["label"])
            self.trackers["auxiliary_accuracy"].update_state(accuracy)
        if "bands" in y_pred:
            g_loss = g_loss + self.cfg.spectral_matching * y_pred["bands"]
        if self.cfg.lecam:
            d_loss = d_loss + self.cfg.lecam * self._lecam(real, fake)
        return (d_loss + g_loss) / engine.replicas()

    def noise(self, n):
        """z (n, noise_dim) from N(0, 1); the seed is a variable, so every step draws anew."""
        return keras.random.normal((n, self.cfg.noise_dim), seed=self.noise_seed)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _lecam(self, real, fake):
        """LeCam (Tseng et al., CVPR 2021): real logits stay near the fakes' running mean."""
        for anchor, logits in ((self.real_anchor, real), (self.fake_anchor, fake)):
            anchor.assign(0.99 * anchor + 0.01 * ops.stop_gradient(ops.mean(logits)))
        on_real = ops.mean(ops.square(ops.relu(real - self.fake_anchor)))
        return on_real + ops.mean(ops.square(ops.relu(self.real_anchor - fake)))


def compiled(cfg: Config, n_classes: int, suv_max: float | None = None) -> RadioGAN:
    """A new model of the paper's two networks, ready for `fit`."""
    from radiogan_lib.gan.networks import build_discriminator, build_generator

    def build():
        return build_generator(cfg, n_classes, suv_max), build_discriminator(cfg, n_classes)

    return compile_model(cfg, build)


def compile_model(cfg: Config, build, kind=RadioGAN) -> RadioGAN:
    """Seed everything, build two networks, and give them one Adam (paper: 2e-4, beta_1 0.5)."""
    engine.prepare()
    keras.utils.set_random_seed(cfg.seed)
    model = kind(*build(), cfg)
    # Keras' own exponential moving average
    average = {"use_ema": True, "ema_momentum": cfg.ema} if cfg.ema else {}
    adam = keras.optimizers.Adam(cfg.learning_rate, beta_1=cfg.beta_1, **average)
    # XLA makes TensorFlow slower on CPUs; JAX needs it.
    model.compile(adam, jit_compile=keras.backend.backend() == "jax")
    model.optimizer.build(model.trainable_variables)
    return model


def _cross_entropy(target: float, logit):
    """Mean binary cross-entropy of a constant target, from logits: it never saturates."""
    return ops.mean(ops.softplus(logit) - target * logit)
