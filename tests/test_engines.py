"""TensorFlow and JAX play the same game; two devices play it as one; bfloat16 plays it too."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from radiogan_lib.gan.engine import THREADS_VARIABLE

HERE = Path(__file__).parent
HAS_JAX = importlib.util.find_spec("jax") is not None
ENGINES = [
    "tensorflow",
    pytest.param(
        "jax",
        marks=pytest.mark.skipif(
            not HAS_JAX, reason="JAX is not installed (pip install -e .[jax])"
        ),
    ),
]
SETTINGS = {
    "paper": {},
    # Whatever a recipe may turn on.
    "every switch": dict(
        label_init=1.0,
        lecam=0.1,
        intensity="sqrt",
        auxiliary=0.2,
        generator_kernel=4,
        batch_spread=True,
        ema=0.9,
        diffaugment="translation",
        diffaugment_share=0.5,
        auxiliary_augment="translation",
        generator_least=16,
        spectral_matching=0.05,
    ),
    "bfloat16": dict(precision="mixed_bfloat16"),
}

# Three SGD steps on 24 exams from equal weights. Each engine has random numbers of its own, so
# those are taken out of the comparison: noise and shifts are given with the exams, dropout is off.
GAME = """
    import contextlib, os, sys, threading
    sys.path.insert(0, {here!r})
    from unittest import mock
    import numpy as np, keras
    from keras import ops
    from gan_tools import small, blobs
    from radiogan_lib.data import encode
    from radiogan_lib.gan import radiogan
    from radiogan_lib.gan.networks import build_discriminator, build_generator
    {before}

    # each replica of TensorFlow is traced by a thread of its own, and they take turns
    here = threading.local()

    class Given(radiogan.RadioGAN):
        def call(self, inputs, training=False):
            images, labels, given = inputs
            here.given = ops.convert_to_tensor(given)
            for view in (self.augment, getattr(self, "auxiliary_view", self.augment)):
                assert hasattr(view, "_uniform")
                view._uniform = self.uniform
            return super().call((images, labels), training=training)
        def noise(self, n):
            return here.given
        def uniform(self, x, rank):
            if rank == 3:  # how far
                return (ops.tanh(here.given[:, :1, None]) + 1) / 2
            return ops.reshape(0.5 + 0.1 * here.given[:, 2], (-1, 1, 1, 1))  # which images

    def play(switches):
        cfg = small(doublings=2, dropout=0.0, learning_rate=0.0, **switches)
        exams = blobs(cfg, 16)
        order = np.random.default_rng(0).permutation(48)[:24]
        images, labels = encode(exams.suv[order], cfg.intensity, 30.0), exams.labels[order]
        noise = np.random.default_rng(1).normal(size=(24, 8)).astype("float32")
        keras.utils.set_random_seed(0)
        zeros = lambda self, shape, dtype=None: ops.zeros(shape, dtype)
        with {scope}, contextlib.ExitStack() as stack:
            # All weights are assigned below; JAX would compile a random start for every shape.
            for name in ("VarianceScaling", "RandomUniform", "RandomNormal"):
                kind = getattr(keras.initializers, name)
                stack.enter_context(mock.patch.object(kind, "__call__", zeros))
            game = Given(build_generator(cfg, 3), build_discriminator(cfg, 3), cfg)
            if cfg.auxiliary:
                game.auxiliary.get_layer("auxiliary_dropout").rate = 0.0
            average = dict(use_ema=True, ema_momentum=cfg.ema) if cfg.ema else {{}}
            jit = keras.backend.backend() == "jax"
            game.compile(keras.optimizers.SGD(0.05, **average), jit_compile=jit)
            game.optimizer.build(game.trainable_variables)
        # with 2, a unit lies within rounding of LeakyReLU's kink, and falls to either side
        rng = np.random.default_rng(3)
        for v in game.trainable_variables:
            mean = 1.0 if v.path.endswith("gamma") else 0.0
            v.assign(rng.normal(0, 0.1, v.shape).astype("float32") + mean)
        averages = game.optimizer._model_variables_moving_average if cfg.ema else []
        for a, v in zip(averages, game.trainable_variables):
            a.assign(np.array(v))  # a copy: JAX gives the same buffer to the same array
        seen = {{}}
        keep = lambda batch, logs: seen.update(logs)
        watch = keras.callbacks.LambdaCallback(on_train_batch_end=keep)
        game.fit((images, labels, noise), batch_size=8, shuffle=False, verbose=0, callbacks=[watch])
        state = [v for v in game.non_trainable_variables if "seed" not in v.path]
        state = game.trainable_variables + state + list(averages)
        # without the first part of its path: Keras numbers optimizers over the whole process
        names = [f"{{i:03d}} {{v.path.split('/', 1)[-1]}}" for i, v in enumerate(state)]
        found = {{name: ops.convert_to_numpy(v) for name, v in zip(names, state)}}
        assert all(v.dtype == "float32" for v in found.values())
        logged = "d_loss", "g_loss", "real_logit", "fake_logit"
        return found | {{name: np.float32(seen[name]) for name in logged}}

    for k, switches in enumerate({plays!r}):
        found = {{name.replace("/", "|"): v for name, v in play(switches).items()}}
        np.savez(f"{{sys.argv[1]}}-{{k}}.npz", **found)
"""
# A whole run, pictures and health and checkpoints included, whose batches two devices share.
RUN = """
    from radiogan_lib import config, gan
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(None)  # the library's own turn
    two = dict(doublings=2, devices=2)
    cfg = small(**two, ema=0.9, samples_every=2)
    for wrong in (dict(devices=64), dict(batch_size=9)):
        try:
            gan.train(small(**(two | wrong)), blobs(cfg, 9), sys.argv[1] + "-wrong")
        except config.ConfigError as e:
            assert "devices" in str(e)
        else:
            raise AssertionError("no error")
    run = gan.train(cfg, blobs(cfg), sys.argv[1] + "-run")
    assert run.finished and len(run.provenance["shared_by"]) == 2
    assert np.isfinite(run.history[["d_loss", "g_loss"]]).all().all()
    assert np.isfinite(run.history.diversity.iloc[-1])
    weights = run.generator.get_weights() + run.discriminator.get_weights()
    assert all(v.dtype == "float32" for v in weights)
    suv = gan.sample(run.generator, [0, 1, 2])
    assert np.isfinite(suv).all() and suv.max() > 0
    assert not any(getattr(layer, "synchronized", False) for layer in run.generator.layers)
"""
ONE = dict(before="", scope="__import__('contextlib').nullcontext()")
TWO = {
    "tensorflow": dict(
        before="import tensorflow as tf; "
        "tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], "
        "[tf.config.LogicalDeviceConfiguration()] * 2); strategy = "
        "tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1']); "
        "assert strategy.num_replicas_in_sync == 2",
        scope="strategy.scope()",
    ),
    "jax": dict(
        before="assert len(keras.distribution.list_devices()) == 2; "
        "keras.distribution.set_distribution(keras.distribution.DataParallel())",
        scope="__import__('contextlib').nullcontext()",
    ),
}
_PLAYED: dict = {}


def _play(
    tmp_path_factory, engine: str, devices: int = 1, threads: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """{settings: {variable: value after three steps}}; one process per engine, devices and threads,
    for all tests.

    `threads` are TensorFlow's for one operation, 0 its own choice. With JAX two devices then train
    a whole run, too; TensorFlow's collectives take one strategy a process.
    """
    if (engine, devices, threads) not in _PLAYED:
        names = list(SETTINGS) if devices == 1 and not threads else ["every switch"]
        place = ONE if devices == 1 else TWO[engine]
        out = tmp_path_factory.mktemp("engines") / f"{engine}{devices}{threads}"
        then = RUN if (engine, devices) == ("jax", 2) else ""
        _process([SETTINGS[n] for n in names], place, then, out, engine, devices, threads)
        _PLAYED[engine, devices, threads] = {
            n: _read(f"{out}-{k}.npz") for k, n in enumerate(names)
        }
    return _PLAYED[engine, devices, threads]


def _process(plays, place, then, out, engine, devices, threads=0) -> None:
    script = textwrap.dedent(GAME).format(here=str(HERE), plays=plays, **place)
    env = {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3", THREADS_VARIABLE: str(threads)}
    if engine == "jax":
        env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(then), str(out)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _read(path):
    with np.load(path) as stored:
        return {k: stored[k] for k in stored.files}


def _worst(a, b) -> tuple[float, str]:
    assert a.keys() == b.keys()
    return max((float(np.abs(a[k] - b[k]).max()), k) for k in a)


@pytest.mark.skipif(not HAS_JAX, reason="JAX is not installed (pip install -e .[jax])")
@pytest.mark.parametrize("settings", ["paper", "every switch"])
def test_losses_and_weights_agree_between_tensorflow_and_jax(tmp_path_factory, settings):
    worst = _worst(
        _play(tmp_path_factory, "tensorflow")[settings], _play(tmp_path_factory, "jax")[settings]
    )
    assert worst[0] < 1e-4, worst


LAYER = """
    import numpy as np, jax, keras
    from radiogan_lib.gan import engine
    rng = np.random.default_rng(0)
    for kernel in (2, 3, 4, 5, 6, 7, (3, 2)):
        given = dict(strides=2, padding="same", activation="tanh")
        kinds = keras.layers.Conv2DTranspose, engine.Conv2DTranspose
        layers = [kind(5, kernel, **given) for kind in kinds]
        x = rng.normal(size=(2, 10, 6, 3)).astype("float32")
        for layer in layers:
            layer.build(x.shape)
        layers[0].bias.assign(np.arange(5) / 5)
        layers[1].set_weights(layers[0].get_weights())
        weights = [v.value for v in layers[0].trainable_variables]
        def found(layer):
            loss = lambda w, x: jax.numpy.sin(3 * layer.stateless_call(w, [], x)[0]).mean()
            return [layer(x), *jax.tree.leaves(jax.grad(loss, (0, 1))(weights, x))]
        for plain, ours in zip(*map(found, layers), strict=True):
            np.testing.assert_allclose(ours, plain, atol=1e-5)
"""


@pytest.mark.skipif(not HAS_JAX, reason="JAX is not installed (pip install -e .[jax])")
def test_transposed_convolutions_on_jax_are_those_of_keras():
    """Images and all gradients, for every kernel that a setting may ask for."""
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    script = [sys.executable, "-c", textwrap.dedent(LAYER)]
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


def test_whole_operations_side_by_side_play_the_same_game(tmp_path_factory):
    """What `engine.prepare` asks of TensorFlow on two cores changes rounding and nothing else."""
    plays = (_play(tmp_path_factory, "tensorflow", threads=n) for n in (0, 1))
    cut, whole = (play["every switch"] for play in plays)
    worst = _worst(cut, whole)
    assert worst[0] < 1e-5, worst


@pytest.mark.parametrize("engine", ENGINES)
def test_two_devices_play_as_one(tmp_path_factory, engine):
    """MirroredStrategy (TensorFlow) and DataParallel (JAX) on two virtual devices, each with half
    of the batch.

    Weights, losses, averages and BatchNorm's statistics are those of one device on the same global
    batch: built under a strategy, the library's BatchNorm takes its statistics over all replicas.
    """
    threads = 1 if engine == "tensorflow" else 0  # whole operations: what two cores use
    plays = (_play(tmp_path_factory, engine, devices, threads) for devices in (1, 2))
    one, two = (play["every switch"] for play in plays)
    worst = _worst(one, two)
    assert worst[0] < 1e-4, worst


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_stays_close_to_float32(tmp_path_factory, engine):
    full, half = (_play(tmp_path_factory, engine)[s] for s in ("paper", "bfloat16"))
    assert all(
        np.isfinite(v).all() for v in half.values()
    )  # and float32, which the game's process makes sure of
    np.testing.assert_allclose(
        [half[k] for k in ("d_loss", "g_loss")], [full[k] for k in ("d_loss", "g_loss")], atol=0.05
    )
    assert 0 < _worst(full, half)[0] < 0.3  # really another arithmetic, and no other game


def test_a_run_shared_by_two_devices(tmp_path):
    """On TensorFlow; JAX's is part of its play."""
    place = dict(before=TWO["tensorflow"]["before"].split("; strategy")[0], scope=ONE["scope"])
    _process([], place, RUN, tmp_path / "run", "tensorflow", 2)
