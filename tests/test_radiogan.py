"""The game: who learns from what, and the known silent failures of GANs in Keras, each kept from
coming back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from gan_tools import EVERYTHING, blobs, small
from keras import ops

from radiogan_lib.data import encode
from radiogan_lib.gan import radiogan

TF = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="reads gradients with TensorFlow's tape"
)


def _batch(cfg, n=8):
    exams = blobs(cfg, 8)
    pick = np.random.default_rng(0).permutation(len(exams))[:n]
    return encode(exams.suv[pick], cfg.intensity, 30.0), exams.labels[pick]


def _weights(network):
    return [ops.convert_to_numpy(v).copy() for v in network.trainable_variables]


def _moved(before, after):
    return [bool(np.abs(a - b).max() > 0) for a, b in zip(before, after, strict=True)]


def _gradients(game, batch):
    """Gradients of the two losses apart, for every weight: {'d_loss': [...], 'g_loss': [...]}."""
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        logits = game(batch, training=True)
        parts = {}
        parts["total"] = game.compute_loss(x=batch, y_pred=logits)
        parts["g_loss"] = tf.reduce_mean(tf.nn.softplus(-logits["fake_frozen"]))
        parts["d_loss"] = (
            tf.reduce_mean(tf.nn.softplus(-logits["real"]))
            + tf.reduce_mean(tf.nn.softplus(logits["fake"]))
        ) / 2
    return {
        k: tape.gradient(v, [w.value for w in game.trainable_variables]) for k, v in parts.items()
    }


@TF
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {
            k: v
            for k, v in EVERYTHING.items()
            if k not in ("spectral_matching", "lecam", "auxiliary")
        },
    ],
)
def test_each_loss_moves_only_its_own_network(switches):
    """The generator's loss gives the discriminator no gradient and vice versa, and their sum is
    what is trained on."""
    cfg = small(
        **switches,
    )
    game = radiogan.compiled(cfg, 3)
    found = _gradients(game, _batch(cfg))
    n = len(game.generator.trainable_variables)
    assert game.trainable_variables[:n] == game.generator.trainable_variables
    assert all(g is None or not np.any(ops.convert_to_numpy(g)) for g in found["d_loss"][:n])
    assert all(g is None or not np.any(ops.convert_to_numpy(g)) for g in found["g_loss"][n:])
    for own, total in (
        (found["g_loss"][:n], found["total"][:n]),
        (found["d_loss"][n:], found["total"][n:]),
    ):
        for a, b in zip(own, total, strict=True):
            assert np.any(ops.convert_to_numpy(ops.convert_to_tensor(a)))  # every weight learns
            np.testing.assert_allclose(
                ops.convert_to_numpy(ops.convert_to_tensor(a)),
                ops.convert_to_numpy(ops.convert_to_tensor(b)),
                atol=1e-6,
            )


@pytest.mark.parametrize("switches", [{}, EVERYTHING], ids=["paper", "everything"])
def test_one_fit_trains_both_networks(switches):
    """Trap 1: with two compiled models and a trainable flag, the discriminator silently never
    learns."""
    cfg = small(**switches)
    game = radiogan.compiled(cfg, 3)
    g, d = _weights(game.generator), _weights(game.discriminator)
    images, labels = _batch(cfg, 16)
    logs = game.fit((images, labels), batch_size=8, epochs=2, verbose=0).history
    assert all(_moved(g, _weights(game.generator)))
    assert all(_moved(d, _weights(game.discriminator)))
    assert set(logs) >= {"d_loss", "g_loss", "d_accuracy", "real_logit", "fake_logit"}
    assert all(np.isfinite(v).all() for v in logs.values()) and 0 <= logs["d_accuracy"][-1] <= 1


def test_accuracy_is_that_of_the_epoch_not_of_all_epochs():
    """Trap 3: a running mean over epochs hides a discriminator that has won."""
    cfg = small(learning_rate=0.0, dropout=0.0)
    game = radiogan.compiled(cfg, 3)
    batch = _batch(cfg)
    game.discriminator.get_layer("logit").bias.assign([50.0])  # everything is called real
    first = game.fit(batch, batch_size=8, verbose=0).history
    game.discriminator.get_layer("logit").bias.assign([-50.0])  # nothing is
    second = game.fit(batch, batch_size=8, verbose=0).history
    assert first["d_accuracy"] == [0.5] and second["d_accuracy"] == [0.5]
    assert first["real_logit"][0] > 40 and second["real_logit"][0] < -40
    assert first["g_loss"][0] < 1e-6 and second["g_loss"][0] > 40


@TF
def test_a_discriminator_that_has_won_still_teaches():
    """Trap 6: sigmoid + cross-entropy clips its gradient to nothing at a logit of 40; from logits
    it stays 1."""
    cfg = small(dropout=0.0)
    game = radiogan.compiled(cfg, 3)
    game.discriminator.get_layer("logit").bias.assign([-40.0])
    gradients = _gradients(game, _batch(cfg))["g_loss"]
    n = len(game.generator.trainable_variables)
    assert all(
        np.abs(ops.convert_to_numpy(g)).max() > 1e-8
        for g in gradients[:n]
        if not hasattr(g, "indices")
    )


def test_the_generators_look_uses_batch_statistics_and_changes_none():
    """Trap 4 and 5: the third look runs in training mode (dropout, batch statistics) and leaves no
    trace in the discriminator."""
    cfg = small(dropout=0.5)
    game = radiogan.compiled(cfg, 3)
    images, labels = _batch(cfg)
    norm = game.discriminator.get_layer("down2_norm")
    seen = []
    original = game.discriminator.stateless_call
    game.discriminator.stateless_call = lambda *a, **k: (
        seen.append(k.get("training")),
        original(*a, **k),
    )[1]
    logits = game((images, labels), training=True)
    assert seen == [True]
    # the same fakes under the same masks: the generator's look sees exactly what the
    # discriminator's look saw
    np.testing.assert_allclose(logits["fake_frozen"], logits["fake"], atol=1e-5)
    assert (
        np.abs(logits["fake_frozen"] - game((images, labels), training=False)["fake_frozen"]).max()
        > 1e-6
    )
    before = ops.convert_to_numpy(norm.moving_mean).copy()
    game((images, labels), training=True)
    after = ops.convert_to_numpy(norm.moving_mean)
    # two updates (real, fake) of momentum 0.8, not three: what is left of the old value is at least
    # 0.64 of it
    norm.moving_mean.assign(np.full_like(before, 1000.0))
    game((images, labels), training=True)
    left = ops.convert_to_numpy(norm.moving_mean)
    np.testing.assert_allclose(left, 640.0, atol=30)
    assert np.abs(before - after).max() > 0


def test_real_and_fake_are_normalised_apart():
    """Trap 7: a BatchNorm over real and fake together leaks which is which and draws stripes."""
    cfg = small(dropout=0.0)
    game = radiogan.compiled(cfg, 3)
    images, labels = _batch(cfg)
    a = ops.convert_to_numpy(game((images, labels), training=True)["real"])
    game.generator.get_layer("to_image").bias.assign([5.0])  # other fakes, same reals
    b = ops.convert_to_numpy(game((images, labels), training=True)["real"])
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_every_step_draws_new_noise_and_new_masks():
    """Trap 9: a random seed frozen into the traced graph repeats itself every step."""
    cfg = small(learning_rate=0.0, dropout=0.0)
    game = radiogan.compiled(cfg, 3)
    batch = _batch(cfg)
    losses = [game.fit(batch, batch_size=8, verbose=0).history["g_loss"][0] for _ in range(3)]
    assert len(set(losses)) == 3
    cfg = small(dropout=0.5)
    game = radiogan.compiled(cfg, 3)
    first, second = (ops.convert_to_numpy(game(batch, training=True)["real"]) for _ in range(2))
    assert np.abs(first - second).max() > 1e-6


def test_one_adam_over_both_is_two_adams():
    """Trap 8: sharing an optimizer built for one network breaks; one built on both is per weight,
    hence exact."""
    cfg = small(dropout=0.0)
    together, apart = radiogan.compiled(cfg, 3), radiogan.compiled(cfg, 3)
    assert len(together.optimizer.variables) >= 2 * len(together.trainable_variables)
    gradients = [
        np.random.default_rng(i).normal(size=v.shape).astype("float32")
        for i, v in enumerate(together.trainable_variables)
    ]
    n = len(together.generator.trainable_variables)
    together.optimizer.apply(
        [ops.convert_to_tensor(g) for g in gradients], together.trainable_variables
    )
    for part, network in ((gradients[:n], apart.generator), (gradients[n:], apart.discriminator)):
        adam = keras.optimizers.Adam(cfg.learning_rate, beta_1=cfg.beta_1)
        adam.apply([ops.convert_to_tensor(g) for g in part], network.trainable_variables)
    for x, y in zip(_weights(together), _weights(apart), strict=True):
        np.testing.assert_array_equal(x, y)


def _loss_of(cfg, **logits):
    game = radiogan.compiled(cfg, 3)
    return float(
        game.compute_loss(
            y_pred={
                k: ops.convert_to_tensor(np.asarray(v, "float32")[:, None])
                for k, v in logits.items()
            }
        )
    )


def test_losses_by_hand():
    real, fake = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    p = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    d = -(np.log(p(real)).mean() + np.log(1 - p(fake)).mean()) / 2
    g = -np.log(p(fake)).mean()
    assert _loss_of(small(), real=real, fake=fake, fake_frozen=fake) == pytest.approx(
        d + g, rel=1e-5
    )


def test_lecam_pulls_towards_the_running_means():
    cfg = small(lecam=2.0)
    game = radiogan.compiled(cfg, 3)
    game.real_anchor.assign(1.0)
    game.fake_anchor.assign(-1.0)
    logits = {
        k: ops.full((4, 1), v) for k, v in (("real", 3.0), ("fake", -2.0), ("fake_frozen", -2.0))
    }
    plain = _loss_of(
        small(), real=np.full(4, 3.0), fake=np.full(4, -2.0), fake_frozen=np.full(4, -2.0)
    )
    real_anchor, fake_anchor = 0.99 + 0.03, -0.99 - 0.02
    expected = 2 * ((3 - fake_anchor) ** 2 + (real_anchor + 2) ** 2)
    assert float(game.compute_loss(y_pred=logits)) - plain == pytest.approx(expected, rel=1e-4)
    assert float(game.real_anchor) == pytest.approx(real_anchor) and float(
        game.fake_anchor
    ) == pytest.approx(fake_anchor)


def test_unknown_augmentation_is_refused_by_name():
    from radiogan_lib.config import ConfigError

    with pytest.raises(ConfigError, match="flip"):
        radiogan.compiled(small(diffaugment="flip"), 3)


@TF
def test_the_auxiliary_classifier_asks_for_images_as_typical_as_real_ones_and_no_more():
    """No pull where the fakes are recognised as well as the real images; none on its view of the
    real ones ever."""
    import tensorflow as tf

    from radiogan_lib.gan import improvements

    label = np.arange(4) % 3
    sure, unsure = (tf.Variable(tf.one_hot(label, 3) * scale) for scale in (9.0, 1.0))
    for fake, real, pulled in ((sure, unsure, False), (unsure, sure, True)):
        with tf.GradientTape() as tape:
            loss = improvements.excess(
                improvements.cross_entropy(fake, label), improvements.cross_entropy(real, label)
            )
        on_fake, on_real = tape.gradient(loss, [fake, real], unconnected_gradients="zero")
        assert (float(tf.reduce_max(tf.abs(on_fake))) > 1e-4) == pulled
        assert float(tf.reduce_max(tf.abs(on_real))) == 0
