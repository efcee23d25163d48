"""Several devices that share every batch, by the engines' own means: MirroredStrategy (TensorFlow), DataParallel (JAX).

The result is that of one device on the same batch (tests/test_engines.py): losses are means over the whole batch and
BatchNorm's statistics are taken over all of it. Explained in docs/devices.md.
"""

from __future__ import annotations

import contextlib

import keras

from radiogan_lib.config import ConfigError


def chosen(n: int, batch_size: int) -> list[str]:
    """The first `n` devices as Keras names them ("gpu:0"); 0 = all GPUs, or one device where there is none.

    Raises:
        ConfigError: there are fewer devices, or a batch cannot be divided evenly.
    """
    found = keras.distribution.list_devices()  # GPUs if there are any, else CPUs
    n = n or (len(found) if "cpu" not in found[0].lower() else 1)
    if n > len(found):
        raise ConfigError(
            f"settings: devices = {n}, but the engine {keras.backend.backend()} sees {len(found)} ({', '.join(found)}): "
            "set devices=0 for all GPUs, or install the engine's GPU build (docs/devices.md)."
        )
    if batch_size % n:
        raise ConfigError(
            f"settings: batch_size = {batch_size} cannot be shared evenly by {n} devices: set batch_size={-(-batch_size // n) * n}."
        )
    return found[:n]


@contextlib.contextmanager
def shared(devices: list[str]):
    """Games that are built inside this block share their batches among these devices."""
    if len(devices) == 1:
        yield
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy([d.upper() for d in devices]).scope():
            yield
    else:
        former = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        try:
            yield
        finally:
            keras.distribution.set_distribution(former)
