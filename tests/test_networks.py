"""The paper's two networks: shapes, layers, switches; fast layers against plain ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from gan_tools import small
from keras import layers, ops

from radiogan_lib import gan
from radiogan_lib.config import Config
from radiogan_lib.gan import engine, networks


@pytest.mark.parametrize("d", [3, 4, 5, 7])
def test_shapes_from_noise_to_logit(d):
    cfg = small(doublings=d)
    generator, discriminator = gan.build_generator(cfg, 4), gan.build_discriminator(cfg, 4)
    h, w = 5 * 2**d, 3 * 2**d
    assert generator.output_shape == (None, h, w, 1)
    assert discriminator.output_shape == (None, 1)
    for k in range(1, d + 1):
        assert generator.get_layer(f"up{k}").output.shape[1:3] == (5 * 2**k, 3 * 2**k)
        assert discriminator.get_layer(f"down{k}").output.shape[1:3] == (h // 2**k, w // 2**k)
    assert discriminator.get_layer("flat").input.shape[1:3] == (5, 3)


def test_the_paper_size_has_the_papers_layers():
    """640 × 384; seven 3 × 3 convolutions of stride 2 and a Dense: the eight layers; BatchNorm not
    in the first and last two."""
    cfg = Config()
    discriminator = gan.build_discriminator(cfg)
    assert cfg.canvas == (640, 384)
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, layers.Conv2D)]
    assert len(convolutions) == 7
    assert all(c.kernel_size == (3, 3) and c.strides == (2, 2) for c in convolutions)
    assert isinstance(discriminator.layers[-1], layers.Dense)
    norms = [
        layer.name for layer in discriminator.layers if isinstance(layer, layers.BatchNormalization)
    ]
    assert norms == [f"down{k}_norm" for k in (2, 3, 4, 5, 6)]
    assert sum(isinstance(layer, layers.Dropout) for layer in discriminator.layers) == 7
    assert discriminator.get_layer("label_embedding").output_dim == 50
    assert discriminator.get_layer("label_dense").units == 640 * 384
    assert discriminator.get_layer("joined").output.shape == (None, 640, 384, 2)


def test_the_generator_has_the_papers_layers():
    generator = gan.build_generator(Config())
    assert generator.inputs[0].shape == (None, 100)
    assert generator.get_layer("label_embedding").output_dim == 50
    assert generator.get_layer("label_dense").units == 15
    assert generator.get_layer("joined").output.shape == (None, 5, 3, 513)
    norms = [layer for layer in generator.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 8 and all(n.momentum == 0.8 for n in norms)
    assert len([layer for layer in generator.layers if isinstance(layer, layers.ReLU)]) == 7
    assert isinstance(generator.layers[-1], gan.SuvImage)


def test_labels_come_flat_or_as_a_column():
    cfg = small()
    generator, discriminator = gan.build_generator(cfg, 3), gan.build_discriminator(cfg, 3)
    z, y = (
        np.random.default_rng(0).normal(size=(4, 8)).astype("float32"),
        np.array([0, 1, 2, 0], "int32"),
    )
    flat, column = np.asarray(generator([z, y])), np.asarray(generator([z, y[:, None]]))
    np.testing.assert_array_equal(flat, column)
    np.testing.assert_array_equal(discriminator([flat, y]), discriminator([flat, y[:, None]]))


def test_the_label_reaches_both_networks():
    cfg = small(label_init=1.0)
    generator, discriminator = gan.build_generator(cfg, 3), gan.build_discriminator(cfg, 3)
    z = np.ones((3, 8), "float32")
    images = ops.convert_to_numpy(generator([z, np.arange(3)]))
    assert np.abs(images[0] - images[1]).max() > 1e-4
    logits = ops.convert_to_numpy(discriminator([np.repeat(images[:1], 3, 0), np.arange(3)]))
    assert np.ptp(logits) > 1e-4


def test_label_init_sets_the_strength_of_the_label():
    keras.utils.set_random_seed(0)
    weak = (
        gan.build_generator(small(embedding_dim=50), 5)
        .get_layer("label_embedding")
        .get_weights()[0]
    )
    strong = (
        gan.build_generator(small(embedding_dim=50, label_init=1.0), 5)
        .get_layer("label_embedding")
        .get_weights()[0]
    )
    assert np.abs(weak).max() <= 0.05 and 0.8 < strong.std() < 1.2


def test_batch_spread_lets_an_image_s_neighbours_change_its_logit():
    rng = np.random.default_rng(0)
    varied = rng.normal(size=(4, 40, 24, 1)).astype("float32")
    alike = np.repeat(varied[:1], 4, axis=0)
    label = np.zeros(4, "int32")
    for on in (True, False):
        look = gan.build_discriminator(small(batch_spread=on, dropout=0.0), 5)
        first = [float(look([x, label], training=False)[0, 0]) for x in (varied, alike)]
        assert (abs(first[0] - first[1]) > 1e-4) == on
    assert not Config().batch_spread  # the paper has none


@pytest.mark.parametrize("curve", ["linear", "sqrt"])
def test_a_saved_generator_knows_its_scale(tmp_path, curve):
    generator = gan.build_generator(small(intensity=curve), 3, suv_max=20.0)
    generator.save(tmp_path / "g.keras")
    again = keras.saving.load_model(tmp_path / "g.keras", safe_mode=True)
    scale = again.layers[-1]
    assert (scale.curve, scale.suv_max) == (curve, 20.0)
    a, b = gan.sample(generator, [0, 1, 2], seed=3), gan.sample(again, [0, 1, 2], seed=3)
    np.testing.assert_array_equal(a, b)
    top = scale.to_suv(np.ones((1, 2, 2, 1), "float32"))
    assert np.allclose(top, 20.0) and top.shape == (1, 2, 2)


def test_embedding_generator_shares_weights_and_agrees():
    generator = gan.build_generator(small(label_init=1.0), 3)
    from_vector = gan.embedding_generator(generator)
    z = np.random.default_rng(1).normal(size=(3, 8)).astype("float32")
    table = generator.get_layer("label_embedding").get_weights()[0]
    np.testing.assert_allclose(from_vector([z, table]), generator([z, np.arange(3)]), atol=1e-6)
    generator.get_layer("to_image").bias.assign([3.0])
    np.testing.assert_allclose(from_vector([z, table]), generator([z, np.arange(3)]), atol=1e-6)


def test_sample_is_repeatable_in_suv_and_refuses_what_it_cannot_draw():
    generator = gan.build_generator(small(), 3)
    a = gan.sample(generator, [0, 1, 2, 0, 1], seed=5)
    assert a.shape == (5, 40, 24) and a.dtype == np.float32 and a.min() >= 0 and a.max() <= 30
    np.testing.assert_allclose(
        a[:3], gan.sample(generator, [0, 1, 2], seed=5), atol=1e-4
    )  # a prefix stays a prefix
    np.testing.assert_allclose(
        a, gan.sample(generator, [0, 1, 2, 0, 1], seed=5, batch_size=2), atol=1e-4
    )
    assert np.abs(a - gan.sample(generator, [0, 1, 2, 0, 1], seed=6)).max() > 1e-3
    still = gan.sample(generator, [0, 0], seed=5, truncation=0.0)
    np.testing.assert_allclose(still[0], still[1], atol=1e-6)
    assert gan.sample(generator, []).shape == (0, 40, 24)
    for wrong in ([3], [-1], [0.5]):
        with pytest.raises(gan.SamplingError, match="0 to 2"):
            gan.sample(generator, wrong)
    with pytest.raises(gan.SamplingError, match="noise_dim"):
        gan.sample(generator, [0], z=np.zeros((1, 9)))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="on JAX the fast layers are the plain ones"
)
@pytest.mark.parametrize(("side", "channels"), [(2, 5), (8, 5), (8, 8), (8, 16), (8, 24)])
def test_fast_batch_norm_is_keras_batch_norm(side, channels):
    """Output, gradients and moving statistics equal the plain layer's, for small maps and large
    ones, few channels and many."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(2, 3, (8, 5 * side, 3 * side, channels)).astype("float32"))
    target = rng.normal(size=x.shape).astype("float32")
    ours, plain = engine.BatchNormalization(momentum=0.8), layers.BatchNormalization(momentum=0.8)
    ours.build(x.shape)
    ours.set_weights([rng.uniform(0.5, 2, channels) for _ in range(4)])
    plain.build(x.shape)
    plain.set_weights(ours.get_weights())
    found = []
    for layer in (ours, plain):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * target)
        found.append(
            [
                y,
                *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value]),
                *layer.get_weights(),
                layer(x, training=False),
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="on JAX the fast layers are the plain ones"
)
def test_fast_dropout_drops_at_its_rate_keeps_the_mean_and_draws_anew():
    layer = engine.Dropout(0.4, seed=1)
    x = np.ones((16, 40, 24, 7), "float32")
    a, b = (ops.convert_to_numpy(layer(x, training=True)) for _ in range(2))
    kept = 1 - round(256 * 0.4) / 256
    assert set(np.unique(a)) == {0.0, np.float32(1 / kept)}
    assert abs((a == 0).mean() - 0.4) < 0.01 and abs(a.mean() - 1) < 0.02
    assert abs((a != b).mean() - 2 * 0.4 * 0.6) < 0.02  # independent draws
    assert abs(np.corrcoef(a[..., :-1].ravel(), a[..., 1:].ravel())[0, 1]) < 0.02  # neighbours too
    np.testing.assert_array_equal(layer(x, training=False), x)
    odd = np.ones((1, 1, 1, 3), "float32")  # not a multiple of four values
    assert ops.convert_to_numpy(layer(odd, training=True)).shape == odd.shape


def test_to_image_is_a_plain_convolution():
    """The transposed form of stride 1 is a 3 × 3 convolution with the kernel turned round."""
    x = np.random.default_rng(0).normal(size=(2, 10, 6, 8)).astype("float32")
    ours, plain = layers.Conv2DTranspose(1, 3, 1, "same"), layers.Conv2D(1, 3, 1, "same")
    ours.build(x.shape)
    plain.build(x.shape)
    kernel, bias = ours.get_weights()
    plain.set_weights([kernel[::-1, ::-1].transpose(0, 1, 3, 2), bias])
    np.testing.assert_allclose(ours(x), plain(x), atol=1e-5)


def test_mixed_precision_keeps_images_and_logits_in_float32():
    cfg = small(precision="mixed_bfloat16")
    generator, discriminator = gan.build_generator(cfg, 3), gan.build_discriminator(cfg, 3)
    assert generator.get_layer("up1").compute_dtype == "bfloat16"
    image = ops.convert_to_numpy(generator([np.zeros((2, 8), "float32"), np.zeros(2, "int32")]))
    assert image.dtype == np.float32
    assert (
        keras.backend.standardize_dtype(discriminator([image, np.zeros(2, "int32")]).dtype)
        == "float32"
    )
    assert keras.config.dtype_policy().name == "float32"  # the global policy is as it was


def test_widths_never_grow_beyond_the_limit():
    assert max(networks.discriminator_widths(Config())) == 512
    assert networks.generator_widths(Config()) == [256, 128, 64, 32, 16, 8, 8]
