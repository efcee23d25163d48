"""Layers with a faster arithmetic and the same numbers: weights, outputs and gradients are those of the plain layer.

Explained in notebooks/02_networks.ipynb; measured by benchmarks/training.py.
"""

from __future__ import annotations

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("radiogan")
class OneChannelConv2D(layers.Layer):
    """A k × k convolution ("same") to one channel, as one matrix product and k² shifted additions.

    Convolution libraries are built for many output channels; with one, most of their blocking is wasted. Here every
    pixel's C values meet all k² taps in one product (…, C) × (C, k²), and the k² maps are added with their shifts.

    Args:
        kernel_size: k, odd.
    """

    def __init__(self, kernel_size=3, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        k = self.kernel_size
        self.kernel = self.add_weight(name="kernel", shape=(k, k, input_shape[-1], 1), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(self, x):
        k, edge = self.kernel_size, self.kernel_size // 2
        h, w = x.shape[1:3]
        taps = ops.transpose(ops.reshape(self.kernel, (k * k, -1)))  # (C, k²)
        maps = ops.pad(ops.matmul(x, taps), ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        total = self.bias
        for i in range(k):
            for j in range(k):
                total = total + maps[:, i:i + h, j:j + w, k * i + j:k * i + j + 1]
        return total

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def get_config(self):
        return super().get_config() | {"kernel_size": self.kernel_size}
