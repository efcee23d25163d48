"""Two Keras layers with a faster arithmetic on TensorFlow; on JAX they are the plain layers.

Same weights, same configuration, same numbers (tests/test_networks.py pins them to the plain layers): only the way there
differs. BatchNorm forward and backward on the largest 80 × 48 map fell from 5.5 to 1.4 ms on one busy CPU; what a whole
step gains is for benchmarks/training.py to say.
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
