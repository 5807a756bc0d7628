"""The Keras layer of a HeadBank: heads of one shape, side by side. Import it only where heads are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class BankLayer(keras.layers.Layer):
    """H dense heads of one shape on the same encoders' vectors.

    Inputs are a block ``(n, dim)`` and a presence bit ``(n, 1)`` for each of the E encoders; the output is the logits
    ``(n, H, K)``. Each head has its own centre and scale for every block. Both are folded into its first
    kernel, so that one matrix product a block serves all heads. An absent modality adds nothing, as if it were at
    the head's centre, and its presence bit has a weight of its own. Every weight has the heads on its axis 1.

    Args:
        dims: dimension of each encoder's block; they sum to D.
        classes: K.
        hidden: units of the hidden ReLU layer, 0 for none.
        dropout: share of hidden units dropped in training.
        rates: ``(H,)``: each head's learning rate over the optimizer's.
        seeds: ``(H,)``: for each head's initial weights, which do not depend on the other heads.
    """

    def __init__(
        self,
        dims: Sequence[int],
        classes: int,
        hidden: int,
        dropout: float,
        rates: Sequence[float],
        seeds: Sequence[int],
    ) -> None:
        super().__init__()
        self.dims, self.hidden, self.classes = list(dims), hidden, classes
        self.rates = np.array(rates, np.float32)[None, :, None]
        self.dropout = keras.layers.Dropout(dropout, seed=seeds[0]) if hidden and dropout else None
        heads, width, features = len(seeds), hidden or classes, sum(dims)
        first = np.zeros((features, heads, width), np.float32)
        if hidden:  # He et al., arXiv 1502.01852; a linear head starts from zero
            second = np.empty((hidden, heads, classes), np.float32)
            for head, seed in enumerate(seeds):
                draw = np.random.default_rng(seed)
                first[:, head] = draw.normal(scale=np.sqrt(2 / features), size=(features, hidden))
                second[:, head] = draw.normal(scale=np.sqrt(1 / hidden), size=(hidden, classes))
            self.out_kernel = self._weight("out_kernel", second / self.rates)
            self.out_bias = self._weight("out_bias", np.zeros((1, heads, classes), np.float32))
        self.kernel = self._weight("kernel", first / self.rates)
        self.presence = self._weight("presence", np.zeros((len(self.dims), heads, width), np.float32))
        self.bias = self._weight("bias", np.zeros((1, heads, width), np.float32))
        self.centre = self._weight("centre", np.zeros((features, heads), np.float32), trainable=False)
        self.decay = self._weight("decay", np.zeros(heads, np.float32), trainable=False)
        self.scale = self._weight("scale", np.ones((len(self.dims), heads), np.float32), trainable=False)

    def _weight(self, name: str, value: np.ndarray, trainable: bool = True) -> Any:
        return self.add_weight(
            shape=value.shape, initializer=lambda *_, **__: value, trainable=trainable, name=name, dtype="float32"
        )

    def first_layer(self) -> tuple[Any, Any, Any]:
        """The first layer on raw vectors: kernel ``(D, H, U)``, presence ``(E, H, U)``, bias ``(1, H, U)``."""
        kernel = self.kernel * self.rates * tf.repeat(self.scale, self.dims, axis=0)[:, :, None]
        centres = tf.split(self.centre[:, :, None] * kernel, self.dims)
        shift = tf.stack([tf.reduce_sum(centre, axis=0) for centre in centres])
        return kernel, self.presence * self.rates - shift, self.bias * self.rates

    def second_layer(self) -> tuple[Any, Any]:
        """The output layer of hidden heads: kernel ``(U, H, K)`` and bias ``(1, H, K)``."""
        return self.out_kernel * self.rates, self.out_bias * self.rates

    def call(self, blocks: Sequence[Any], bits: Sequence[Any], training: bool = False) -> Any:
        kernel, presence, bias = self.first_layer()
        _, heads, width = bias.shape
        flat = [tf.reshape(part, (-1, heads * width)) for part in (*tf.split(kernel, self.dims), presence)]
        products = [block @ part for block, part in zip((*blocks, tf.concat(bits, axis=1)), flat, strict=True)]
        out = tf.reshape(tf.add_n(products), (-1, heads, width)) + bias
        # The penalty is on the kernel as it meets centred and scaled vectors, so that it means the same for all.
        squares = tf.reduce_sum((self.kernel * self.rates) ** 2, axis=(0, 2))
        if self.hidden:
            out = tf.nn.relu(out)
            if self.dropout is not None:
                out = self.dropout(out, training=training)
            out_kernel, out_bias = self.second_layer()
            out = tf.einsum("nhu,uhk->nhk", out, out_kernel) + out_bias
            squares += tf.reduce_sum(out_kernel**2, axis=(0, 2))
        self.add_loss(tf.reduce_sum(self.decay * squares))
        return out
