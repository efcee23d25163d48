"""TensorFlow and JAX play the same game; two TensorFlow devices play it as one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
JAX = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (pip install -e .[jax])")

# Three SGD steps from equal weights, noise given: whatever the engine draws at random is taken out of the comparison.
GAME = """
    import os, sys
    sys.path.insert(0, {here!r})
    import numpy as np, keras
    from gan_tools import small, blobs
    from radiogan_lib.data.intensity import encode
    from radiogan_lib.gan import radiogan
    {before}
    cfg = small(dropout=0.0, learning_rate=0.0, {switches})
    exams = blobs(cfg, 16)
    order = np.random.default_rng(0).permutation(48)[:24]
    images, labels = encode(exams.suv[order], cfg.intensity, 30.0, cfg.value_range), exams.labels[order]
    noise = np.random.default_rng(1).normal(size=(24, 8)).astype("float32")

    class Given(radiogan.RadioGAN):
        def call(self, inputs, training=False):
            images, labels, given = inputs
            self.given = keras.ops.convert_to_tensor(given)
            return super().call((images, labels), training=training)
        def noise(self, n):
            return self.given

    def build():
        keras.utils.set_random_seed(0)
        from radiogan_lib.gan.networks import build_discriminator, build_generator
        game = Given(build_generator(cfg, 3), build_discriminator(cfg, 3), cfg)
        game.compile(keras.optimizers.SGD(0.05), jit_compile=False)
        rng = np.random.default_rng(2)
        for v in game.trainable_variables:
            v.assign(rng.normal(0, 0.1, v.shape).astype("float32") + (1.0 if v.path.endswith("gamma") else 0.0))
        return game
    {body}
    logs = game.fit((images, labels, noise), batch_size=8, shuffle=False, verbose=0).history
    np.savez(sys.argv[1], *[keras.ops.convert_to_numpy(v) for v in game.trainable_variables],
             *[keras.ops.convert_to_numpy(v) for v in game.non_trainable_variables if "seed" not in v.path],
             loss=np.array([logs["d_loss"][-1], logs["g_loss"][-1]]))
"""


def _play(tmp_path, name, engine, switches="", before="", body="game = build()", **environment):
    script = textwrap.dedent(GAME).format(here=str(HERE), switches=switches, before=before, body=body)
    out = tmp_path / f"{name}.npz"
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"} | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as stored:
        return {k: stored[k] for k in stored.files}


def _same(a, b, tolerance):
    assert a.keys() == b.keys()
    worst = max(np.abs(a[k] - b[k]).max() for k in a)
    assert worst < tolerance, worst
    return worst


@JAX
def test_three_steps_agree_between_tensorflow_and_jax(tmp_path):
    _same(_play(tmp_path, "tf", "tensorflow"), _play(tmp_path, "jax", "jax"), 1e-4)


def test_two_devices_as_one_tensorflow(tmp_path):
    """MirroredStrategy on two virtual devices: weights and loss equal one device's on the same global batch.

    Built under the strategy, the library's BatchNorm takes its statistics over both, as it must for equality.
    """
    before = ("import tensorflow as tf; tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], "
              "[tf.config.LogicalDeviceConfiguration()] * 2)")
    body = ("strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
            "with strategy.scope(): game = build()\n"
            "assert strategy.num_replicas_in_sync == 2")
    one = _play(tmp_path, "one", "tensorflow")
    two = _play(tmp_path, "two", "tensorflow", before=before, body=body)
    _same(one, two, 1e-4)
