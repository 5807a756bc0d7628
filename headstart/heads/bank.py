"""HeadBank: many dense heads trained side by side in one Keras fit.

Heads of different folds, seeds and settings that read the same encoders share one matrix of features: H linear heads
on D features and K categories are one kernel ``(D, H, K)``, and a single matrix product serves all of them. What
differs between heads is kept in weights and scales:

* the rows a head learns from, and its class weights: the sample weights ``(n, H)``;
* how it centres and scales the vectors: folded into its kernel;
* its learning rate: a factor r on its kernel. Under Adam, whose steps do not depend on the gradient's scale, training
  V in W = r·V with step a moves W by r·a.

Heads of different encoders or hidden layers are layers of their own in the same Keras model. No term of the loss joins
two heads and Adam works on each number by itself, so a head trained in a bank is the head trained alone (Kingma & Ba,
"Adam", arXiv 1412.6980); with dropout it is drawn alike, not the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.config import HeadConfig
from headstart.progress import progress
from headstart.runtime import keras, tensorflow

BATCH = 4096
"""Listings a step. Up to so many, every step sees all of them: the quickest way while they fit the cache."""
STEP = 1e-2
"""Adam's step before a head's own factor."""
EPSILON = 1e-5
"""Adam's. Balanced categories make a bias's gradient zero but for rounding, about 1e-8, which Adam's usual 1e-7 lets
grow into steps that differ from run to run."""
HALVING = 5
"""Looks in which the step halves, so that a head settles instead of circling its optimum."""
LOOK = 10
"""Least number of steps between two looks at the inner rows."""
MOST_LOOKS = 40
PATIENCE = 4
"""Looks without a lower inner loss before a head is done."""
LENGTH = 30.0
"""Root-mean-square length to which every encoder's centred vectors are scaled: no encoder outweighs another by its
dimension or its units."""


@dataclass(frozen=True, eq=False)
class HeadTask:
    """One head to train."""

    config: HeadConfig
    train: np.ndarray
    """Row numbers that its weights learn from."""
    inner: np.ndarray
    """Row numbers, learnt from as well, that say when to stop: a scout that does not see them is judged by them."""
    seed: int = 0


class HeadBank:
    """Heads on one catalogue's features. Make it, `fit` it, then read `probabilities` or a head's `network`."""

    def __init__(self, features: Features, codes: np.ndarray, classes: int, tasks: Sequence[HeadTask]) -> None:
        """Prepare the bank.

        Args:
            features: n listings with the vectors of every encoder that the tasks name.
            codes: int of shape ``(n,)``: each listing's category, 0 to `classes` − 1, or −1 for none.
            classes: how many categories there are.
            tasks: the heads.

        Raises:
            ModelError: an encoder without vectors, or a task without rows.
        """
        tensorflow()
        self.tasks = list(tasks)
        self.codes, self.classes = codes, classes
        self.encoders = sorted({name for task in tasks for name in task.config.encoders})
        if unknown := [name for name in self.encoders if name not in features.vectors]:
            raise ModelError(f"no vectors of {unknown[0]}; there are those of: {', '.join(features.vectors)}")
        if any(len(task.train) == 0 for task in tasks):
            raise ModelError("a head has no listing to learn from: give listings with a category")
        self.blocks = {name: np.asarray(features.vectors[name], np.float32) for name in self.encoders}
        self.bits = {name: np.asarray(features.present[name], np.float32)[:, None] for name in self.encoders}
        self.looks = np.zeros(len(self.tasks), int)
        """For each head, after how many looks its scout's inner loss was lowest."""
        self.inner_loss = np.full(len(self.tasks), np.inf)
        """That loss: mean cross-entropy of the inner rows, in nats."""
        self.seconds = 0.0
        # The bank trains every task twice, side by side: column h is the scout of head h, column H + h the head.
        self._tasks = [*self.tasks, *self.tasks]
        self._rows = [task.train for task in self.tasks]
        self._rows += [np.concatenate([task.train, task.inner]) for task in self.tasks]
        self._build()

    def fit(self) -> HeadBank:
        """Train every head on all its rows, for as many steps as suit its scout.

        The scout is the same head without the inner rows. Where its loss on them is lowest the head's weights are
        kept; without inner rows, its loss on the train rows decides.

        Raises:
            ModelError: a loss is not finite.
        """
        started = time.perf_counter()
        heads = len(self.tasks)
        judged = self._weights([task.inner if len(task.inner) else task.train for task in self.tasks])
        judged /= len(self.codes)
        kept = {variable.path: variable.numpy() for variable in self._model.trainable_variables}

        def look(number: int) -> bool:
            losses = np.zeros(heads)
            for rows in self._slices():
                entropy = _cross_entropy(self.codes[rows], self._logits(rows)[:, :heads]).numpy()
                losses += (entropy * judged[rows]).sum(axis=0)
            if not np.isfinite(losses).all():
                bad = self.tasks[int(np.flatnonzero(~np.isfinite(losses))[0])].config
                raise ModelError(f"the loss is not finite at learning rate {bad.learning_rate}: give a lower one")
            better = losses < self.inner_loss * (1 - 1e-4)
            better &= number - self.looks <= PATIENCE  # a head that is done stays so while others still learn
            self.inner_loss[better], self.looks[better] = losses[better], number
            for layer, columns in self._layers:
                chosen = np.array([column >= heads and better[column - heads] for column in columns])
                for variable in layer.trainable_variables if chosen.any() else ():
                    kept[variable.path][:, chosen] = variable.numpy()[:, chosen]
            advance(1)
            return bool((number - self.looks >= PATIENCE).all())

        with progress(f"training {heads} heads", MOST_LOOKS) as advance:
            self._train(look)
        for variable in self._model.trainable_variables:
            variable.assign(kept[variable.path])
        self.seconds = time.perf_counter() - started
        return self

    def probabilities(self) -> np.ndarray:
        """Every head's opinion on every listing, float32 of shape ``(H, n, K)``."""
        softmax = tensorflow().nn.softmax
        out = np.empty((len(self.tasks), len(self.codes), self.classes), np.float32)
        for rows in self._slices():
            logits = self._logits(rows)[:, len(self.tasks) :]
            out[:, rows] = np.moveaxis(softmax(logits).numpy(), 1, 0)
        return out

    def network(self, head: int) -> Any:
        """One head as a plain Keras model.

        Its inputs are the vectors of the head's encoders, in the order of its config, and their presence bits
        ``(n, E)``; all of them are concatenated and go through the dense layers. Its output is the probabilities
        ``(n, K)``. Centring and scaling are folded into the first layer's weights.
        """
        layers, config = keras().layers, self.tasks[head].config
        column = len(self.tasks) + head
        layer, columns = next((layer, columns) for layer, columns in self._layers if column in columns)
        place = columns.index(column)
        kernel, presence, bias = (weight.numpy()[:, place] for weight in layer.first_layer())
        weights = [np.concatenate([kernel, presence]), bias[0]]
        inputs = [
            keras().Input((self.blocks[name].shape[1],), name=f"vectors_{number}")
            for number, name in enumerate(config.encoders)
        ]
        inputs.append(keras().Input((len(config.encoders),), name="present"))
        out = layers.Concatenate()(inputs)
        if config.hidden:
            out = layers.Dense(config.hidden, activation="relu", name="hidden")(out)
            out_kernel, out_bias = (weight.numpy()[:, place] for weight in layer.second_layer())
            weights += [out_kernel, out_bias[0]]
        out = layers.Dense(self.classes, activation="softmax", name="category")(out)
        model = keras().Model(inputs, out)
        model.set_weights(weights)
        return model

    def _build(self) -> None:
        """One layer for the heads of each shape, and the Keras model of all of them."""
        from headstart.heads.layer import BankLayer

        shapes: dict[tuple[tuple[str, ...], int, float], list[int]] = {}
        for column, task in enumerate(self._tasks):
            config = task.config
            shapes.setdefault((config.encoders, config.hidden, config.dropout), []).append(column)
        blocks = {name: keras().Input((block.shape[1],)) for name, block in self.blocks.items()}
        bits = {name: keras().Input((1,)) for name in self.bits}
        self._layers: list[tuple[Any, list[int]]] = []
        outputs = []
        for (encoders, hidden, dropout), columns in shapes.items():
            tasks = [self._tasks[column] for column in columns]
            layer = BankLayer(
                [self.blocks[name].shape[1] for name in encoders],
                self.classes,
                hidden,
                dropout,
                rates=[task.config.learning_rate / STEP for task in tasks],
                seeds=[task.seed for task in tasks],
            )
            outputs.append(layer([blocks[name] for name in encoders], [bits[name] for name in encoders]))
            self._layers.append((layer, columns))
        out = outputs[0] if len(outputs) == 1 else keras().ops.concatenate(outputs, axis=1)
        self._order = [column for _, columns in self._layers for column in columns]
        self._model = keras().Model([*blocks.values(), *bits.values()], out)
        self._forward = tensorflow().function(self._model, reduce_retracing=True, autograph=False)
        # A look is some whole passes over the listings, and at least LOOK steps.
        self._passes = math.ceil(len(self.codes) / BATCH)
        self._steps = self._passes * math.ceil(LOOK / self._passes)
        schedule = keras().optimizers.schedules.ExponentialDecay(STEP, HALVING * self._steps, 0.5)
        optimizer = keras().optimizers.Adam(schedule, epsilon=EPSILON)
        optimizer.build(self._model.trainable_variables)  # or TensorFlow traces the step twice to make its variables
        self._model.compile(optimizer, _cross_entropy, steps_per_execution=self._steps, jit_compile=False)

    def _train(self, look: Callable[[int], bool]) -> None:
        """The Keras fit of all columns on their rows; `look` is called with 1, 2, … and says when to stop."""
        data_of = tensorflow().data.Dataset

        class Look(keras().callbacks.Callback):  # type: ignore[misc]
            def on_epoch_end(self, epoch: int, logs: object = None) -> None:
                self.model.stop_training = look(epoch + 1)

        self._standardise()
        # Keras divides the loss by its number of columns too: times that, every column has its own average.
        weights = self._weights(self._rows)[:, self._order] * len(self._rows)
        data = self._inputs(slice(None)), np.maximum(self.codes, 0), weights
        batches = data_of.from_tensors(data).repeat() if self._passes == 1 else _shuffled(data, self._passes)
        self._model.fit(
            batches, epochs=MOST_LOOKS, steps_per_epoch=self._steps, callbacks=[Look()], verbose=0, shuffle=False
        )

    def _standardise(self) -> None:
        """Give each column its centre and scale, from those of its rows that have the vector, and its penalty."""
        for layer, columns in self._layers:
            chosen = np.zeros((len(columns), len(self.codes)), np.float32)
            for place, column in enumerate(columns):
                chosen[place, self._rows[column]] = 1
            centres, scales = [], []
            for name in self._tasks[columns[0]].config.encoders:
                block = self.blocks[name]
                count = np.maximum(chosen @ self.bits[name], 1)
                centre = chosen @ block / count
                length = chosen @ (block**2).sum(axis=1, keepdims=True) / count
                spread = length[:, 0] - (centre**2).sum(axis=1)
                centres.append(centre.T)
                scales.append(LENGTH / np.sqrt(np.maximum(spread, 1e-6 * length[:, 0] + 1e-12)))
            layer.decay.assign([self._tasks[column].config.l2 / len(self._rows[column]) for column in columns])
            layer.centre.assign(np.concatenate(centres))
            layer.scale.assign(np.stack(scales))

    def _weights(self, rows: list[np.ndarray]) -> np.ndarray:
        """Sample weights ``(n, columns)``: 0 off a column's rows, its class weights on them; 1 on average."""
        weights = np.zeros((len(self.codes), len(rows)), np.float32)
        for column, (task, chosen) in enumerate(zip(self._tasks, rows, strict=False)):
            codes = self.codes[chosen]
            weights[chosen, column] = 1 / np.bincount(codes)[codes] if task.config.balanced else 1
        return weights * (len(self.codes) / weights.sum(axis=0))

    def _slices(self) -> Iterator[slice]:
        """All listings, in slices whose logits fit in memory."""
        step = max(1, 2**25 // (len(self._tasks) * self.classes))
        for start in range(0, len(self.codes), step):
            yield slice(start, start + step)

    def _inputs(self, rows: slice) -> tuple[np.ndarray, ...]:
        return tuple(array[rows] for part in (self.blocks, self.bits) for array in part.values())

    def _logits(self, rows: slice) -> np.ndarray:
        """Logits ``(rows, columns, K)`` of these listings, scouts first."""
        logits: np.ndarray = self._forward(list(self._inputs(rows))).numpy()
        return logits[:, np.argsort(self._order)]


def _shuffled(data: Any, steps: int) -> Any:
    """Pass after pass over the rows of `data`, each in another order and in so many equal batches.

    Rows are gathered a batch at a time: to take them one by one costs more than to learn from them.
    """
    tf = tensorflow()
    data = tf.nest.map_structure(tf.constant, data)
    size = len(data[1]) // steps

    def order(number: Any) -> Any:
        rows = tf.random.experimental.stateless_shuffle(tf.range(len(data[1])), seed=(0, number))
        return tf.reshape(rows[: steps * size], (steps, size))

    batches = tf.data.Dataset.counter().map(order).unbatch()
    return batches.map(lambda rows: tf.nest.map_structure(lambda part: tf.gather(part, rows), data)).prefetch(1)


def _cross_entropy(codes: Any, logits: Any) -> Any:
    """Cross-entropy ``(n, H)`` of logits ``(n, H, K)``; of −1, which carries no weight, as of 0."""
    tf = tensorflow()
    labels = tf.maximum(tf.cast(codes, tf.int32), 0)
    labels = tf.repeat(labels[:, None], tf.shape(logits)[1], axis=1)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
