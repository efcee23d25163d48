"""What is about speed and devices, and nothing about the GAN: two layers, several devices.

Each trick stays because `benchmarks/training.py` shows at least a tenth on a machine that we
measured (benchmarks/README.md). None changes the mathematics: tests/test_networks.py and
tests/test_engines.py hold them to plain Keras. Explained in docs/devices.md.
"""

import contextlib
import ctypes
import os
import sys

import keras
from keras import layers, ops

from radiogan_lib import machine
from radiogan_lib.config import ConfigError

FEW_CORES = 2  # measured on two cores only; with more, TensorFlow's own choice stays
THREADS_VARIABLE = "TF_NUM_INTRAOP_THREADS"

# From glibc's malloc.h: the option's number, our value, and the variable with which a user sets it.
GLIBC_OPTIONS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 2_000_000_000),  # free memory at the heap's end that is kept
    "MALLOC_TOP_PAD_": (-2, 256 << 20),  # what a heap grows by
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),  # smaller blocks come from the heap and stay there
}


def on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def prepare() -> None:
    """Set TensorFlow up for the whole process; for what builds, loads or trains a network.

    On one or two cores whole operations run side by side instead of each being cut in two, so that
    TensorFlow's threads do not wait for one another. A user who has set `TF_NUM_INTRAOP_THREADS`
    has decided otherwise. Once TensorFlow has computed anything, its threads are as they are.
    """
    if not on_tensorflow():
        return
    import tensorflow as tf

    # The graph optimiser tries to fuse bias and LeakyReLU, fails, and says so at every start.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    if THREADS_VARIABLE not in os.environ and machine.cores() <= FEW_CORES:
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next training step.

    Every step allocates and frees the same few hundred MB; glibc gives large blocks back at once,
    and the system hands out zeroed pages again (on one virtual machine half of the time).

    Returns:
        Whether the C library took it; False without glibc, or where the user has set its variables.
    """
    if sys.platform != "linux" or any(name in os.environ for name in GLIBC_OPTIONS):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return all([set_option(number, value) for number, value in GLIBC_OPTIONS.values()])


def chosen_devices(n: int, batch_size: int) -> list[str]:
    """The first `n` devices as Keras names them ("gpu:0"); 0 = all GPUs, or one device without.

    Raises:
        ConfigError: there are fewer devices, or a batch cannot be divided evenly.
    """
    found = keras.distribution.list_devices()  # GPUs if there are any, else CPUs
    n = n or (len(found) if "cpu" not in found[0].lower() else 1)
    if n > len(found):
        raise ConfigError(
            f"settings: devices = {n}, but the engine {keras.backend.backend()} sees {len(found)} "
            f"({', '.join(found)}): set devices=0 for all GPUs, or install the engine's GPU build "
            "(docs/devices.md)."
        )
    if batch_size % n:
        raise ConfigError(
            f"settings: batch_size = {batch_size} cannot be shared evenly by {n} devices: set "
            f"batch_size={-(-batch_size // n) * n}."
        )
    return found[:n]


@contextlib.contextmanager
def sharing(devices: list[str]):
    """Models that are built inside this block share their batches among these devices.

    The result is that of one device on the same batch: losses and BatchNorm's statistics are means
    over all of it (MirroredStrategy on TensorFlow, DataParallel on JAX).
    """
    if len(devices) == 1:
        yield
    elif on_tensorflow():
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


def replicas() -> int:
    """TensorFlow devices that share a batch; 1 on JAX, whose batch is global anyway."""
    if not on_tensorflow():
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_devices(mean):
    """The mean of the devices' means over their parts of a batch; gradients flow through it."""
    if replicas() == 1:
        return mean
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean) if context is not None else mean


@keras.saving.register_keras_serializable("radiogan")
class BatchNormalization(layers.BatchNormalization):
    """Keras' BatchNormalization, whose training pass is one fused kernel of TensorFlow."""

    def __init__(self, *args, **kwargs):
        # Whatever a saved network was built for: several devices normalise their batch as one.
        super().__init__(*args, **kwargs | {"synchronized": replicas() > 1})

    def call(self, inputs, training=None, mask=None):
        fused = on_tensorflow() and training and self.trainable and len(inputs.shape) == 4
        if not fused or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel reports the unbiased variance; Keras keeps the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance = variance * (count - 1) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return y


@keras.saving.register_keras_serializable("radiogan")
class Dropout(layers.Dropout):
    """Keras' Dropout from a random byte per value, not a float; the rate is in steps of 1/256."""

    def call(self, inputs, training=False):
        dropped = round(256 * self.rate)  # of 256 byte values
        if not dropped:
            return inputs
        if not (on_tensorflow() and training):
            return super().call(inputs, training=training)
        import tensorflow as tf

        words = tf.random.stateless_uniform(
            [(tf.size(inputs) + 3) // 4], self.seed_generator.next(), None, None, tf.int32
        )
        values = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(inputs)]
        keep = tf.reshape(values >= dropped, tf.shape(inputs))
        # The gradient of `where` keeps one byte per value; that of a product keeps both factors.
        return tf.where(keep, inputs * (256 / (256 - dropped)), tf.zeros([], inputs.dtype))


@keras.saving.register_keras_serializable("radiogan")
class Conv2DTranspose(layers.Conv2DTranspose):
    """Keras' transposed convolution; on JAX, with stride 2, as one convolution of stride 1.

    XLA makes the kernel's gradient a convolution with a window as large as the image: 94 % of a
    step at 640 × 384 on an H200. Here the image is made of its four phases (even and odd rows and
    columns), each a convolution of the input with every second row and column of the kernel.
    """

    def call(self, inputs):
        rows, columns = self.kernel_size
        usual = (self.strides, self.padding, self.dilation_rate) == ((2, 2), "same", (1, 1))
        if keras.backend.backend() != "jax" or not usual or rows != columns:
            return super().call(inputs)
        kernel = ops.cast(ops.convert_to_tensor(self.kernel), inputs.dtype)  # (k, k, out, in)
        k, _, width, depth = kernel.shape
        before = max(k - 2, 0) // 2  # rows that "same" cuts at the top
        left = -(-before // 2)  # taps below an output row; the kernel starts at an even row
        taps = -(-(2 * left - before + k) // 2)
        pad = (2 * left - before, 2 * (taps - left) + before - k)
        kernel = ops.reshape(
            ops.pad(kernel, (pad, pad, (0, 0), (0, 0))), (taps, 2, taps, 2, width, depth)
        )
        kernel = ops.transpose(ops.flip(kernel, (0, 2)), (0, 2, 5, 1, 3, 4))
        around = (taps - 1 - left, left)
        x = ops.pad(inputs, ((0, 0), around, around, (0, 0)))
        x = ops.conv(x, ops.reshape(kernel, (taps, taps, depth, 4 * width)), padding="valid")
        h, w = inputs.shape[1:3]
        x = ops.transpose(ops.reshape(x, (-1, h, w, 2, 2, width)), (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, 2 * h, 2 * w, width))
        if self.use_bias:
            x = x + ops.cast(self.bias, x.dtype)
        return self.activation(x)
