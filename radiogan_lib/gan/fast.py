"""Four Keras layers with a faster arithmetic on TensorFlow; on JAX they are the plain layers.

Same weights, same configuration, same numbers (tests/test_networks.py pins them to the plain layers): only the way there
differs. In CPU time, forward and backward at 80 × 48 and batch 32: the widest BatchNorm 20 → 7 ms, the generator's last convolution
19 → 7 ms, the discriminator's first one 4 → 3 ms; what a whole step gains is for benchmarks/training.py to say.
Explained in notebooks/02_networks.ipynb.
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:  # its graph optimiser tries to fuse bias and LeakyReLU, fails on the gradient's graph, and says so at every start
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"remapping": False})
# Two of the ways below are many small operations in the place of one kernel that is slow on processors; a GPU's is not.
ON_CPU = ON_TENSORFLOW and not tf.config.list_physical_devices("GPU")


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
    """Keras composes the training pass from a dozen operations; TensorFlow's fused kernel does it in one.

    That kernel is slow for few channels; there, several pixels are laid side by side as one long row and normalised together.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(
            *args, **kwargs | {"synchronized": several_replicas()}
        )  # whatever a saved network was built for

    def call(self, inputs, training=None, mask=None):
        fused = ON_TENSORFLOW and training and self.trainable and len(inputs.shape) == 4
        if not fused or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        large = inputs.shape[1] * inputs.shape[2] >= 960  # on smaller maps nothing is gained
        if ON_CPU and large and inputs.shape[-1] <= 16 and inputs.dtype == "float32":
            y, mean, variance = _normalised(inputs, gamma, beta, self.epsilon)
        else:
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, is_training=True
            )
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
            variance = (
                variance * (count - 1) / count
            )  # the kernel reports the unbiased variance, Keras keeps the biased one
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
        words = tf.random.stateless_uniform(
            [(tf.size(inputs) + 3) // 4], self.seed_generator.next(), None, None, tf.int32
        )
        bytes_ = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(inputs)]
        keep = tf.reshape(tf.cast(bytes_ >= dropped, inputs.dtype), tf.shape(inputs))
        return inputs * (keep * (256 / (256 - dropped)))


@keras.saving.register_keras_serializable("radiogan")
class Conv2D(layers.Conv2D):
    """A convolution of stride 2 over very few channels, whose input gradient is another convolution and a reshuffle.

    The usual kernel for that gradient works on one input channel at a time, and an image has one or two. Every 2 × 2 block
    of the gradient hangs on 2 × 2 values of the output's, so one ordinary convolution gives all four of them as channels.
    """

    def convolution_op(self, inputs, kernel):
        few = (
            ON_TENSORFLOW
            and self.data_format == "channels_last"
            and kernel.shape[2] <= 4
            and tuple(kernel.shape[:2]) == (3, 3)
            and (self.strides, self.padding, self.dilation_rate, self.groups)
            == ((2, 2), "same", (1, 1), 1)
            and inputs.shape[1] % 2 == inputs.shape[2] % 2 == 0
        )  # where “same” pads one row and column, at the end
        return (
            _halving(inputs, tf.convert_to_tensor(ops.convert_to_tensor(kernel)))
            if few
            else super().convolution_op(inputs, kernel)
        )


@keras.saving.register_keras_serializable("radiogan")
class Conv2DTranspose(layers.Conv2DTranspose):
    """The generator's last convolution, many channels to one, as nine images: one matrix product, then nine shifted sums."""

    def call(self, inputs):
        to_one = (
            ON_CPU
            and inputs.dtype == "float32"
            and tuple(self.kernel.shape[:3]) == (3, 3, 1)
            and self.data_format == "channels_last"
            and (self.strides, self.padding, self.dilation_rate, self.output_padding)
            == ((1, 1), "same", (1, 1), None)
        )
        if not to_one:
            return super().call(inputs)
        y = _to_one_channel(inputs, tf.convert_to_tensor(ops.convert_to_tensor(self.kernel)))
        return self.activation(y + ops.convert_to_tensor(self.bias) if self.use_bias else y)


if ON_TENSORFLOW:
    TAPS = [
        [2, 0],
        [3, 1],
    ]  # which tap joins an even or odd pixel to the output before it and to its own; 3: none

    @tf.custom_gradient
    def _halving(x, kernel):
        def gradient(upstream):
            taps = tf.pad(kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
            taps = tf.gather(
                tf.gather(taps, TAPS, axis=0), TAPS, axis=2
            )  # (row parity, 2, column parity, 2, in, out)
            turned = tf.reshape(
                tf.transpose(taps, [1, 3, 5, 0, 2, 4]), [2, 2, kernel.shape[3], 4 * kernel.shape[2]]
            )
            blocks = tf.nn.conv2d(
                tf.pad(upstream, [[0, 0], [1, 0], [1, 0], [0, 0]]), turned, 1, "VALID"
            )
            by_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=[1, 2, 2, 1],
                padding="SAME",
            )
            return tf.nn.depth_to_space(blocks, 2), by_kernel

        return tf.nn.conv2d(x, kernel, 2, "SAME"), gradient

    def _normalised(x, gamma, beta, epsilon):
        """BatchNorm in training: (b, h, w, c) → the same, and mean and (biased) variance of each channel."""
        h, w, c = x.shape[1:]
        side = math.gcd(h * w, 128 // c)  # pixels per row

        def tile(v):
            return tf.tile(v, [side])

        def total(rows):
            return tf.reduce_sum(tf.reshape(tf.reduce_sum(rows, 0), [side, c]), 0)

        @tf.custom_gradient
        def normalise(x, gamma, beta):
            rows = tf.reshape(x, [-1, side * c])
            n = tf.cast(tf.size(x) // c, x.dtype)
            mean = total(rows) / n
            rows -= tile(mean)
            variance = total(tf.square(rows)) / n
            inverse = tf.math.rsqrt(variance + epsilon)
            rows *= tile(inverse)
            y = tf.reshape(rows * tile(gamma) + tile(beta), [-1, h, w, c])

            def gradient(
                upstream, *_
            ):  # nothing is learned through mean and variance: they feed the moving statistics
                upstream = tf.reshape(upstream, [-1, side * c])
                # Both are bare sums: of a factor outside a sum, the graph optimiser decides in each process anew where it goes,
                # and two runs would differ in the last digit.
                by_beta, by_gamma = total(upstream), total(upstream * rows)
                by_x = tile(gamma * inverse) * (
                    upstream - tile(by_gamma / n) * rows - tile(by_beta / n)
                )
                return tf.reshape(by_x, [-1, h, w, c]), by_gamma, by_beta

            return (y, mean, variance), gradient

        return normalise(x, gamma, beta)

    @tf.custom_gradient
    def _to_one_channel(x, kernel):
        h, w, c = x.shape[1:]
        weights, steps = tf.reshape(kernel, [9, c]), [(i, j) for i in range(3) for j in range(3)]
        maps = tf.reshape(
            tf.matmul(weights, tf.reshape(x, [-1, c]), transpose_b=True), [9, -1, h, w]
        )
        wide = tf.add_n(
            [tf.pad(maps[k], [[0, 0], [i, 2 - i], [j, 2 - j]]) for k, (i, j) in enumerate(steps)]
        )

        def gradient(upstream):
            wide = tf.pad(upstream[..., 0], [[0, 0], [1, 1], [1, 1]])
            shifted = tf.stack(
                [tf.reshape(wide[:, i : i + h, j : j + w], [-1]) for i, j in steps]
            )  # (9, b·h·w)
            by_x = tf.matmul(shifted, weights, transpose_a=True)
            return tf.reshape(by_x, [-1, h, w, c]), tf.reshape(
                tf.matmul(shifted, tf.reshape(x, [-1, c])), [3, 3, 1, c]
            )

        return wide[:, 1:-1, 1:-1, None], gradient
