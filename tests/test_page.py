"""The live page without a browser: its JavaScript, run by node, draws what Keras draws."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from radiogan_lib import config, evaluation, gan
from radiogan_lib.gan.networks import SuvImage
from radiogan_lib.lab import page
from radiogan_lib.lab.latent import KINDS, Space

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="node is not installed")
HERE = Path(__file__).parent


def in_node(tmp_path, task: dict, data: bytes = b"", dtype="<f4") -> np.ndarray:
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "weights.bin").write_bytes(data)
    command = [NODE, HERE / "page_in_node.js", page.TEMPLATES / "page.js"]
    done = subprocess.run(
        [*command, tmp_path / "task.json", tmp_path / "weights.bin"],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, dtype)


def place(a=0, b=0, seeds=(0, 0), t=0.0, **other) -> dict:
    start = {"a": a, "b": b, "seedA": seeds[0], "seedB": seeds[1], "kind": "slerp", "t": t}
    return start | {"share": t, "truncation": 1, "push": None} | other


def drawn(tmp_path, generator, places) -> np.ndarray:
    """SUV (n, h, w) as the page draws it."""
    graph = page.export(generator)
    data, arrays = graph.packed()
    task = {"graph": {"ops": graph.ops, "arrays": arrays}, "places": places}
    out = in_node(tmp_path, task | {"length": generator.inputs[0].shape[-1]}, data)
    return out.reshape(len(places), *generator.output_shape[1:3])


def small(kernel=4, classes=4, curve="sqrt", **other) -> keras.Model:
    """An untrained generator whose BatchNorms have statistics of their own."""
    keras.utils.set_random_seed(7)
    cfg = config.load(
        "smoke",
        generator_kernel=kernel,
        intensity=curve,
        generator_channels=24,
        **other,
    )
    made = gan.build_generator(cfg, n_classes=classes)
    rng = np.random.default_rng(1)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.get_weights()[0].shape
            bounds = ((1, 2), (-0.5, 1), (-0.1, 0.1), (0.1, 0.4))  # scale, shift, mean, variance
            layer.set_weights([rng.uniform(*b, shape) for b in bounds])
    return made


@needs_node
def test_a_seed_is_the_same_noise_as_in_numpy(tmp_path):
    seeds = [*range(200), 2**31 - 1]
    got = in_node(tmp_path, {"length": 100, "seeds": seeds}, dtype="<f8").reshape(-1, 100)
    wanted = [np.random.default_rng(s).standard_normal(100) for s in seeds]
    np.testing.assert_allclose(got, wanted, atol=1e-9)


@needs_node
def test_the_shipped_generator_is_drawn_within_two_hundredths_of_suv(tmp_path):
    generator = gan.load_shipped().generator
    space, pairs = Space(generator), [(seed % 5, seed) for seed in range(100)]
    got = drawn(tmp_path, generator, [place(c, c, (s, s)) for c, s in pairs])
    z = np.stack([np.random.default_rng(s).standard_normal(100) for _, s in pairs])
    wanted = space.draw(z, space.table[[c for c, _ in pairs]])
    assert wanted.max() > 10
    assert np.abs(got - wanted).max() <= 0.02


@needs_node
@pytest.mark.parametrize(
    "made",
    [
        dict(kernel=3, classes=2, curve="linear"),
        dict(kernel=5),
        dict(kernel=2),
        dict(kernel=4, doublings=5),
    ],
    ids=str,
)
def test_another_kernel_size_curve_and_number_of_classes(tmp_path, made):
    generator = small(**made)
    space = Space(generator)
    pairs = [(k % len(space.table), k) for k in range(6)]
    got = drawn(tmp_path, generator, [place(c, c, (s, s)) for c, s in pairs])
    z = np.stack([np.random.default_rng(s).standard_normal(100) for _, s in pairs])
    wanted = space.draw(z, space.table[[c for c, _ in pairs]])
    assert wanted.max() - wanted.min() > 1
    assert np.abs(got - wanted).max() <= 0.02


@needs_node
def test_other_layers_in_other_orders(tmp_path):
    """Activations inside a Dense layer, vectors that are joined, LeakyReLU, kernels that are not
    square."""
    keras.utils.set_random_seed(3)
    z, label = keras.Input((7,), name="z"), keras.Input((), dtype="int32", name="label")
    e = layers.Embedding(3, 5, embeddings_initializer="normal", name="label_embedding")(label)
    x = layers.Concatenate()([layers.Dense(9, activation="relu")(z), e])
    x = layers.Reshape((4, 3, 2))(layers.BatchNormalization()(layers.Dense(24)(x)))
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2DTranspose(6, 3, 2, "same")(x))
    x = layers.Conv2DTranspose(7, (3, 2), 1, "same", activation="relu")(x)
    image = SuvImage("linear", 20.0)(layers.Conv2DTranspose(1, 2, 1, "same")(x))
    generator = keras.Model([z, label], image)
    rng = np.random.default_rng(0)
    weights = [
        rng.uniform(-0.3, 0.3, w.shape) if w.ndim > 1 else rng.uniform(0.2, 0.6, w.shape)
        for w in generator.get_weights()
    ]
    generator.set_weights([*weights[:-2], 0.2 * weights[-2], 0 * weights[-1]])
    got = drawn(tmp_path, generator, [place(k, k, (k, k)) for k in range(3)])
    space = Space(generator)
    noise = np.stack([np.random.default_rng(k).standard_normal(7) for k in range(3)])
    wanted = space.draw(noise, space.table)
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(got, wanted, atol=2e-3)


@needs_node
@pytest.mark.parametrize("kind", KINDS)
def test_the_walks_are_those_of_evaluation(tmp_path, kind):
    generator = small()
    walk = evaluation.walk(generator, (1, 3), (2, 8), steps=10, kind=kind)
    got = drawn(tmp_path, generator, [place(1, 2, (3, 8), k / 9, kind=kind) for k in range(10)])
    assert np.abs(got - walk.frames).max() <= 0.02


@needs_node
def test_truncation_push_and_a_label_blend_of_its_own(tmp_path):
    generator = small()
    push = np.linspace(-1, 1, 100)
    where = place(1, 2, (3, 8), 0.0, share=0.25, truncation=0.5, push=push.tolist())
    space = Space(generator)
    z = 0.5 * np.random.default_rng(3).standard_normal(100) + push
    wanted = space.draw(z[None], (0.75 * space.table[1] + 0.25 * space.table[2])[None])
    assert np.abs(drawn(tmp_path, generator, [where]) - wanted).max() <= 0.02


def model(layer_after_noise):
    z, label = keras.Input((4,), name="z"), keras.Input((), dtype="int32", name="label")
    e = layers.Embedding(2, 4, name="label_embedding")(label)
    x = layers.Reshape((2, 4, 1))(layers.Concatenate()([z, e]))
    return keras.Model([z, label], SuvImage()(layer_after_noise(x)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.UpSampling2D(name="bigger"),
        layers.Conv2D(1, 3, padding="same", name="bigger"),
        layers.Conv2DTranspose(1, 3, 4, "same", name="bigger"),
        layers.Conv2DTranspose(1, 3, 2, "valid", name="bigger"),
        layers.Conv2DTranspose(1, 3, dilation_rate=2, padding="same", name="bigger"),
        layers.Conv2DTranspose(1, 3, activation="gelu", padding="same", name="bigger"),
        layers.BatchNormalization(name="bigger"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_cannot_be_exported_is_refused_by_name(layer):
    with pytest.raises(page.ExportError, match="'bigger'"):
        page.export(model(layer))


@pytest.mark.parametrize(
    "layer",
    [layers.ReLU(max_value=6, name="after"), layers.BatchNormalization(axis=1, name="after")],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_after_a_convolution_is_refused_by_name(layer):
    with pytest.raises(page.ExportError, match="'after'"):
        page.export(model(lambda x: layer(layers.Conv2DTranspose(2, 3, 1, "same")(x))))


def test_a_value_with_two_users_is_refused_by_name():
    def twice(x):
        y = layers.Conv2DTranspose(2, 3, 1, "same", name="shared")(x)
        return layers.Concatenate()([y, layers.ReLU()(y)])

    with pytest.raises(page.ExportError, match="'shared'"):
        page.export(model(twice))


def test_a_generator_that_does_not_know_its_scale_is_refused():
    z, label = keras.Input((4,)), keras.Input((), dtype="int32")
    e = layers.Embedding(2, 4)(label)
    x = layers.Dense(4, name="end")(layers.Concatenate()([z, e]))
    with pytest.raises(page.ExportError, match="'end'.*SuvImage"):
        page.export(keras.Model([z, label], x))


def test_the_page_is_one_small_file_without_outside_addresses(tmp_path):
    out = tmp_path / "explorer.html"
    page.main(["--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert len(text.encode()) <= 4 * 2**20
    assert "http://" not in text and "https://" not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "Generated images, no real patients. Not for clinical use." in text
    about = json.loads((HERE.parent / "weights" / "about.json").read_text())
    for words in (about["licence"], about["verdict"].replace("'", "&#39;")):
        assert words in text


def test_names_are_escaped_and_without_words_beside_the_weights_the_page_says_so():
    text = page.html(small(classes=2), ["</script><b>", "lung"])
    assert "</script><b>" not in text and "is not recorded" in text
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text, re.S)[1])
    assert facts["keys"] == ["</script><b>", "lung"] and facts["phantoms"]["labels"] == []
    with pytest.raises(page.ExportError, match="2 classes, but 3 names"):
        page.html(small(classes=2), ["a", "b", "c"])


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(SystemExit, match="is missing: no finished training"):
        page.main(["--weights", str(tmp_path), "--out", str(tmp_path / "x.html")])


def test_small_pictures_of_phantoms_come_back_from_their_sheet():
    suv = np.random.default_rng(0).uniform(0, 30, (5, 80, 48)).astype("float32")
    facts = page._read_sheet(page.phantom_sheet(suv, [0, 1, 2, 0, 1]))
    assert facts["labels"] == [0, 1, 2, 0, 1] and facts["usual"] > 0
    back = page.LARGEST_SUV * (page.thumbnails(suv) / 255) ** 2
    pooled = suv.reshape(5, 40, 2, 24, 2).mean(axis=(2, 4))
    assert np.abs(back - pooled).max() < 0.13
    with pytest.raises(page.ExportError, match="50 × 30"):
        page.thumbnails(np.zeros((1, 50, 30)))
