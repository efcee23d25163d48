"""Three Keras layers with a faster arithmetic on TensorFlow; on JAX they are the plain layers.

Same weights, same configuration, same numbers (tests/test_networks.py pins them to the plain layers): only the way there
differs. BatchNorm forward and backward on the largest 80 × 48 map fell from 5.5 to 1.4 ms on one busy CPU, the first
convolution of a discriminator from 4.1 to 2.7 ms; what a whole step gains is for benchmarks/training.py to say.
Explained in notebooks/02_networks.ipynb.
"""

from __future__ import annotations

import keras
from keras import layers, ops

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:  # its graph optimiser tries to fuse bias and LeakyReLU, fails on the gradient's graph, and says so at every start
    import tensorflow as tf
    tf.config.optimizer.set_experimental_options({"remapping": False})


def several_replicas() -> bool:
    """Is this built for several TensorFlow devices? Their batch then is normalised as one, as on a single device."""
    if not ON_TENSORFLOW:
        return False  # JAX's DataParallel has one global batch anyway
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def over_devices(mean):
    """The mean over all devices that share the batch, of each one's mean over its part; gradients flow through it."""
    if not several_replicas():
        return mean
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, mean) if context is not None else mean


@keras.saving.register_keras_serializable("radiogan")
class BatchNormalization(layers.BatchNormalization):
    """Keras composes the training pass from a dozen operations; TensorFlow's fused kernel does it in one."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs | {"synchronized": several_replicas()})  # whatever a saved network was built for

    def call(self, inputs, training=None, mask=None):
        fused = ON_TENSORFLOW and training and self.trainable and len(inputs.shape) == 4
        if not fused or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta), epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance = variance * (count - 1) / count  # the kernel reports the unbiased variance, Keras keeps the biased one
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return y


@keras.saving.register_keras_serializable("radiogan")
class Dropout(layers.Dropout):
    """Draws a byte per value instead of a float: a quarter of the random numbers, for a rate in steps of 1/256."""

    def call(self, inputs, training=False):
        dropped = round(256 * self.rate)  # of 256 byte values
        if not (ON_TENSORFLOW and training and dropped):
            return super().call(inputs, training=training) if dropped else inputs
        words = tf.random.stateless_uniform([(tf.size(inputs) + 3) // 4], self.seed_generator.next(), None, None, tf.int32)
        bytes_ = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:tf.size(inputs)]
        keep = tf.reshape(tf.cast(bytes_ >= dropped, inputs.dtype), tf.shape(inputs))
        return inputs * (keep * (256 / (256 - dropped)))


@keras.saving.register_keras_serializable("radiogan")
class Conv2D(layers.Conv2D):
    """A convolution of stride 2 over very few channels, whose input gradient is another convolution and a reshuffle.

    The usual kernel for that gradient works on one input channel at a time, and an image has one or two. Every 2 × 2 block
    of the gradient hangs on 2 × 2 values of the output's, so one ordinary convolution gives all four of them as channels.
    """

    def convolution_op(self, inputs, kernel):
        few = ON_TENSORFLOW and self.data_format == "channels_last" and kernel.shape[2] <= 4 and tuple(kernel.shape[:2]) == (3, 3) \
            and (self.strides, self.padding, self.dilation_rate, self.groups) == ((2, 2), "same", (1, 1), 1) \
            and inputs.shape[1] % 2 == inputs.shape[2] % 2 == 0  # where “same” pads one row and column, at the end
        return _halving(inputs, tf.convert_to_tensor(ops.convert_to_tensor(kernel))) if few else super().convolution_op(inputs, kernel)


if ON_TENSORFLOW:
    TAPS = [[2, 0], [3, 1]]  # which tap joins an even or odd pixel to the output before it and to its own; 3: none

    @tf.custom_gradient
    def _halving(x, kernel):
        def gradient(upstream):
            taps = tf.pad(kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
            taps = tf.gather(tf.gather(taps, TAPS, axis=0), TAPS, axis=2)  # (row parity, 2, column parity, 2, in, out)
            turned = tf.reshape(tf.transpose(taps, [1, 3, 5, 0, 2, 4]), [2, 2, kernel.shape[3], 4 * kernel.shape[2]])
            blocks = tf.nn.conv2d(tf.pad(upstream, [[0, 0], [1, 0], [1, 0], [0, 0]]), turned, 1, "VALID")
            by_kernel = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=upstream,
                                                        strides=[1, 2, 2, 1], padding="SAME")
            return tf.nn.depth_to_space(blocks, 2), by_kernel
        return tf.nn.conv2d(x, kernel, 2, "SAME"), gradient
