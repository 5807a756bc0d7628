"""The Keras layers and the model of a HeadBank. Import it only where heads are trained.

Axes of arrays: F training sides, n listings, H heads of a side, K categories, U units of a first layer (hidden ones, or
the K categories), W numbers that its kernel gives for each head: U, or 2 U where it has a gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from headstart.heads.sides import LENGTH, Axes

MOMENTUM = 0.8


@dataclass(frozen=True)
class Shape:
    """What the heads of a layer have in common."""

    classes: int
    hidden: int
    dropout: float
    gated: bool
    absent: float

    @property
    def units(self) -> int:
        """U."""
        return self.hidden or self.classes

    @property
    def width(self) -> int:
        """W."""
        return self.units * (2 if self.gated else 1)


@dataclass(frozen=True, eq=False)
class Part:
    """A kernel of a layer: what it reads, and in what steps it learns."""

    kinds: tuple[int, ...]
    """The modalities it reads, by their place in a batch."""
    features: int
    """How many numbers it reads of a listing."""
    bits: int
    """How many of its encoders' presence bits."""
    roots: np.ndarray
    """Root of the step ``(F, features, H)`` along each coordinate; or ``(F, k + 1, H)``, along each axis and others."""
    sides: tuple[Axes, ...] = ()
    """Of each training side its axes, where the layer reads vectors; nothing where it reads coordinates."""


class BankLayer(keras.layers.Layer):
    """F × H heads of one shape: listings → logits ``(F, n, H, K)``.

    It reads, for each modality, coordinates ``(F, n, features)`` or vectors ``(n, features)``, and presence bits. A
    kernel V is trained in place of W = T V, with T the root of the side's preconditioner: a step of gradient descent on
    V moves W by T² times its own gradient, little where the vectors spread far. The penalty is on W.

    Args:
        shape: of the heads.
        parts: one, or for gated heads one for each modality.
        seeds: ``(F, H)``: for each head's initial weights, which do not depend on other heads.
        steps: ``(F, H)``: learning rates.
        decay: ``(F, H)``: penalties.
    """

    def __init__(
        self, shape: Shape, parts: Sequence[Part], seeds: np.ndarray, steps: np.ndarray, decay: np.ndarray
    ) -> None:
        super().__init__()
        self.shape_, self.parts = shape, list(parts)
        count, heads = seeds.shape
        self.decay = self._constant("decay", decay)
        bits = sum(part.bits for part in parts)
        # Presence bits and biases see ones, so that their steps share the curvature of one half that those have.
        self.plain_root = self._constant("plain_root", np.sqrt(steps * 2 / (bits + len(parts)))[:, None, :, None])
        self.kernels, self.roots, self.presences, self.biases, self.axes = [], [], [], [], []
        for number, part in enumerate(parts):
            start = np.zeros((count, part.features, heads, shape.width), np.float32)
            if shape.hidden:
                # He et al., arXiv 1502.01852: pre-activations begin with a variance of 2, whatever the basis.
                scale = np.sqrt(2 / part.bits) / LENGTH
                roots = part.roots if not part.sides else part.roots[:, -1:]
                for side, head in np.ndindex(count, heads):
                    drawn = np.random.default_rng((int(seeds[side, head]), number)).normal(
                        scale=scale, size=(part.features, shape.hidden)
                    )
                    start[side, :, head, : shape.hidden] = drawn / roots[side, :, head, None]
            self.kernels.append(self._trained(f"kernel_{number}", start))
            self.presences.append(self._trained(f"presence_{number}", np.zeros((count, part.bits, heads, shape.width))))
            self.biases.append(self._trained(f"bias_{number}", np.zeros((count, 1, heads, shape.width))))
            self.roots.append(self._constant(f"root_{number}", part.roots[..., None]))
            if part.sides:
                standards = [list(side.standards.values()) for side in part.sides]
                self.axes.append(
                    (
                        self._constant(f"axes_{number}", np.stack([side.axes for side in part.sides])),
                        self._constant(f"scale_{number}", np.stack([_repeated(each) for each in standards])),
                        self._constant(
                            f"centre_{number}",
                            np.stack([np.concatenate([s.centre for s in each]) for each in standards]),
                        ),
                        [len(standard.centre) for standard in standards[0]],
                    )
                )
        self.drop: Any = None
        self.kept: list[Any] = []
        if shape.hidden:
            root = np.sqrt(steps * 2 / shape.hidden)[:, None, :, None]
            out = np.empty((count, shape.hidden, heads, shape.classes), np.float32)
            for side, head in np.ndindex(count, heads):
                draws = np.random.default_rng((int(seeds[side, head]), len(parts)))
                out[side, :, head] = draws.normal(scale=np.sqrt(1 / shape.hidden), size=(shape.hidden, shape.classes))
            self.out_root = self._constant("out_root", root)
            self.out_kernel = self._trained("out_kernel", out / root)
            self.out_bias = self._trained("out_bias", np.zeros((count, 1, heads, shape.classes)))
            if shape.dropout:
                self.drop = keras.layers.Dropout(shape.dropout, seed=int(seeds[0, 0]))
        self.built = True

    def _trained(self, name: str, value: np.ndarray, trainable: bool = True) -> Any:
        value = np.asarray(value, np.float32)
        return self.add_weight(
            shape=value.shape, initializer=lambda *_, **__: value, trainable=trainable, name=name, dtype="float32"
        )

    def _constant(self, name: str, value: np.ndarray) -> Any:
        return self._trained(name, value, trainable=False)

    def kernel(self, part: int) -> Any:
        """W ``(F, features, H, W)``, on coordinates or on standardised vectors."""
        kernel, root = self.kernels[part], self.roots[part]
        if not self.axes:
            return root * kernel
        axes, rest = self.axes[part][0], root[:, -1:]
        along = tf.einsum("fdk,fdhw->fkhw", axes, kernel)
        return rest * kernel + tf.einsum("fdk,fkhw->fdhw", axes, (root[:, :-1] - rest) * along)

    def first_layer(self, part: int) -> tuple[Any, Any, Any]:
        """On coordinates or raw vectors: kernel, weights of presence bits ``(F, E, H, W)``, bias ``(F, 1, H, W)``."""
        kernel = self.kernel(part)
        presence, bias = self.plain_root * self.presences[part], self.plain_root * self.biases[part]
        if self.axes:
            _, scale, centre, dims = self.axes[part]
            kernel *= scale[:, :, None, None]
            centres = tf.split(centre[:, :, None, None] * kernel, dims, axis=1)
            presence -= tf.concat([tf.reduce_sum(each, axis=1, keepdims=True) for each in centres], axis=1)
        return kernel, presence, bias

    def out_layer(self) -> tuple[Any, Any]:
        """The output layer of hidden heads: kernel ``(F, U, H, K)`` and bias ``(F, 1, H, K)``."""
        return self.out_root * self.out_kernel, self.out_root * self.out_bias

    def penalty(self) -> Any:
        """The sum of all heads' penalties; biases and presence bits, whose ones are far shorter, have none."""
        squares = tf.add_n([tf.reduce_sum(self.kernel(part) ** 2, axis=(1, 3)) for part in range(len(self.parts))])
        if self.shape_.hidden:
            squares += tf.reduce_sum(self.out_layer()[0] ** 2, axis=(1, 3))
        return tf.reduce_sum(self.decay * squares)

    def call(self, inputs: Sequence[Any], bits: Sequence[Any], draws: Any = None, training: bool = False) -> Any:
        """Logits.

        Args:
            inputs: of each modality its coordinates or vectors.
            bits: of each modality the presence bits of its encoders, ``(…, n, E)``.
            draws: a number between 0 and 1 for each listing ``(…, n, 1)``: which modality training takes from it.
            training: whether modalities and hidden units are dropped.
        """
        there = [tf.reduce_max(each, axis=-1, keepdims=True) for each in bits]
        if training and self.shape_.absent and len(bits) == 2:
            both, share = there[0] * there[1], self.shape_.absent / 2
            lost = [both * tf.cast(draws < share, tf.float32), both * tf.cast(draws > 1 - share, tf.float32)]
            inputs, bits, there = (
                [each * (1 - gone) for each, gone in zip(some, lost, strict=True)] for some in (inputs, bits, there)
            )
        first = [self._first(part, inputs, bits) for part in range(len(self.parts))]
        activation = tf.nn.relu if self.shape_.hidden else tf.identity
        if self.shape_.gated:
            values = [activation(each[..., : self.shape_.units]) for each in first]
            gate = tf.sigmoid(tf.add_n([each[..., self.shape_.units :] for each in first]))
            out = through_gate(gate, values, [each[..., None] for each in there])
        else:
            out = activation(first[0])
        if self.shape_.hidden:
            if self.drop is not None:
                out = self.drop(out, training=training)
            kernel, bias = self.out_layer()
            out = tf.einsum("fnhu,fuhk->fnhk", out, kernel) + bias
        return out

    @tf.function(reduce_retracing=True, autograph=False)
    def forward(self, inputs: Sequence[Any], bits: Sequence[Any]) -> Any:
        """Logits, as they are after training."""
        return self(inputs, bits)

    @tf.function(reduce_retracing=True, autograph=False)
    def losses(self, inputs: Sequence[Any], bits: Sequence[Any], codes: Any, weights: Any) -> Any:
        """Weighted cross-entropy of the first H columns ``(F, H)``, for weights ``(F, n, H)``."""
        logits = self(inputs, bits)[:, :, : weights.shape[2]]
        return tf.reduce_sum(cross_entropy(codes, logits) * weights, axis=1)

    def keep(self, chosen: np.ndarray) -> None:
        """Keep the present weights of these columns, bool ``(F, C)``, for `restore`."""
        if not self.kept:
            self.kept = [tf.Variable(weight) for weight in self.trainable_variables]
        self._keep(tf.constant(chosen[:, None, :, None]))

    @tf.function(autograph=False)
    def _keep(self, chosen: Any) -> None:
        for kept, weight in zip(self.kept, self.trainable_variables, strict=True):
            kept.assign(tf.where(chosen, weight, kept))

    def restore(self) -> None:
        """Go back to the weights last kept."""
        for kept, weight in zip(self.kept, self.trainable_variables, strict=True):
            weight.assign(kept)

    def _first(self, number: int, inputs: Sequence[Any], bits: Sequence[Any]) -> Any:
        """What a part's kernel gives, ``(F, n, H, W)``."""
        part = self.parts[number]
        kernel, presence, bias = self.first_layer(number)
        count, _, heads, width = bias.shape
        some = [bits[kind] for kind in part.kinds]
        flat = [tf.reshape(each, (count, -1, heads * width)) for each in (kernel, presence)]
        if self.axes:
            vectors = tf.concat([*(inputs[kind] for kind in part.kinds), *some], axis=-1)
            out = tf.matmul(vectors[None], tf.concat(flat, axis=1))
        else:
            coordinates = tf.add_n([inputs[kind] for kind in part.kinds])
            out = tf.matmul(coordinates, flat[0]) + tf.matmul(tf.concat(some, axis=-1), flat[1])
        return tf.reshape(out, (count, -1, heads, width)) + bias


def through_gate(gate: Any, values: Sequence[Any], there: Sequence[Any]) -> Any:
    """Two modalities' values, the first weighed by the gate and the second by what is left; one alone as it is."""
    one, other = there
    return one * (1 - other * (1 - gate)) * values[0] + other * (1 - one * gate) * values[1]


def _repeated(standards: Sequence[Any]) -> np.ndarray:
    """Each encoder's scale for each of its dimensions."""
    return np.concatenate([np.full(len(each.centre), each.scale, np.float32) for each in standards])


class BankModel(keras.Model):
    """All layers of a bank, trained in one `fit`; see `headstart.heads.bank` for what a batch holds."""

    def __init__(self, layers: Sequence[BankLayer]) -> None:
        super().__init__()
        self.bank = list(layers)
        self.built = True

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of gradient descent on the sum of all heads' losses: no term of it joins two heads."""
        (batches,) = data
        step = tf.cast(self.optimizer.iterations, tf.int32)
        with tf.GradientTape() as tape:
            losses = []
            for layer, batch in zip(self.bank, batches, strict=True):
                draws = tf.random.stateless_uniform((batch["listings"],), (0, step))
                draws = tf.gather(draws, batch["rows"])[..., None]  # a row's number draws alike on every side
                logits = layer(batch["inputs"], batch["bits"], draws, training=True)
                losses += [tf.reduce_sum(cross_entropy(batch["codes"], logits) * batch["weights"]), layer.penalty()]
            loss = tf.add_n(losses)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


def cross_entropy(codes: Any, logits: Any) -> Any:
    """Cross-entropy ``(F, n, H)`` of logits ``(F, n, H, K)``; of −1, which carries no weight, as of 0."""
    labels = tf.broadcast_to(tf.maximum(tf.cast(codes, tf.int32), 0)[..., None], tf.shape(logits)[:3])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
