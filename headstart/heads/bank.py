"""HeadBank: many small heads trained side by side in one Keras fit.

Heads of one shape that learn on one training side share its coordinates (`headstart.heads.sides`): H linear heads on r
coordinates and K categories are one kernel ``(r, H, K)``, those of F sides a kernel ``(F, r, H, K)``, and one matrix
product a step serves them all. What differs between heads is kept in weights:

* the rows a head learns from, and its class weights: the sample weights ``(F, n, H)``;
* its learning rate and penalty: the steps along each coordinate.

Heads of other encoders, hidden layers or fusions are layers of their own in the same Keras model. No term of the loss
joins two heads and gradient descent with momentum works on each number by itself, so a head trained in a bank is the
head trained alone; with dropout of hidden units it is drawn alike, not the same, and where listings are too many for
one batch, other rows in the bank make other batches.

Each head with inner rows has a scout beside it, which does not learn from them. Where the scout's loss on them is
lowest the weights of both are kept: early stopping that costs the head none of its rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.config import HeadConfig
from headstart.heads.groups import batches, grouped
from headstart.heads.sides import SMALL, Rows
from headstart.progress import progress
from headstart.runtime import keras, tensorflow

MOST_LOOKS = 30
PATIENCE = 5
"""Looks without a lower inner loss before a head is done."""


@dataclass(frozen=True, eq=False)
class HeadTask:
    """One head to train."""

    config: HeadConfig
    """Of a head by itself: `HeadConfig.members` of a late fusion."""
    train: np.ndarray
    """Row numbers that its weights learn from."""
    inner: np.ndarray
    """Row numbers, learnt from as well, that say when to stop: a scout that does not see them is judged by them."""
    seed: int = 0
    side: np.ndarray | None = None
    """Row numbers whose vectors, without their labels, say how vectors are centred, scaled and learnt along. Heads of
    one side share the work. By default the rows it learns from."""

    scout: bool = False
    """Train the scout alone: a head that leaves its inner rows unlearnt."""

    @property
    def learnt(self) -> np.ndarray:
        """The rows that its weights learn from in the end."""
        return self.train if self.scout else np.concatenate([self.train, self.inner])

    @property
    def seen(self) -> np.ndarray:
        """Rows whose vectors it may see, in rising order."""
        return np.unique(np.concatenate([self.train, self.inner]) if self.side is None else self.side)


class HeadBank:
    """Heads on one catalogue's features. Make it, `fit` it, then ask for `log_probabilities` or a head's `network`."""

    def __init__(self, features: Features, codes: np.ndarray, classes: int, tasks: Sequence[HeadTask]) -> None:
        """Prepare the bank.

        Args:
            features: n listings with the vectors of every encoder that the tasks name.
            codes: int of shape ``(n,)``: each listing's category, 0 to `classes` − 1, or −1 for none.
            classes: how many categories there are.
            tasks: the heads.

        Raises:
            ModelError: an encoder without vectors, a task without rows, or a late fusion in place of its members.
        """
        self.tasks, self.codes, self.classes = list(tasks), np.asarray(codes), classes
        encoders = tuple(dict.fromkeys(name for task in tasks for name in task.config.encoders))
        if unknown := [name for name in encoders if name not in features.vectors]:
            raise ModelError(f"no vectors of {unknown[0]}; there are those of: {', '.join(features.vectors)}")
        if any(len(task.train) == 0 for task in tasks):
            raise ModelError("a head has no listing to learn from: give listings with a category")
        if any(task.config.fusion == "late" for task in tasks):
            raise ModelError("a late fusion is several heads: give the bank each of HeadConfig.members()")
        started = time.perf_counter()
        tensorflow()
        self.looks = np.zeros(len(self.tasks), int)
        """For each head, after how many looks its scout's inner loss was lowest; of one without inner rows, all."""
        self.inner_loss = np.full(len(self.tasks), np.inf)
        """That loss: mean cross-entropy of the inner rows, class weights included, in nats."""
        self._rows = Rows(features, encoders)
        self._groups = grouped(self.tasks, self._rows, self.codes, classes, len(features) <= SMALL)
        self.seconds = time.perf_counter() - started

    def fit(self, looks: int = MOST_LOOKS, stop_early: bool = True) -> HeadBank:
        """Train every head on all its rows, for as many steps as suit its scout, at most `looks` times `LOOK`.

        A head without inner rows, and every one without `stop_early`, learns to the end.

        Raises:
            ModelError: a loss is not finite.
        """
        started = time.perf_counter()
        from headstart.heads.layer import MOMENTUM, BankModel

        bank, model = self, BankModel([group.layer for group in self._groups])
        data, steps = batches(self._groups)
        with progress(f"training {len(self.tasks):,} heads", looks) as advance:

            class Look(keras().callbacks.Callback):  # type: ignore[misc]
                def on_epoch_end(self, epoch: int, logs: object = None) -> None:
                    learning = bank._look(epoch + 1, stop_early) if stop_early or epoch + 1 == looks else True
                    advance(1)
                    self.model.stop_training = not learning

            optimizer = keras().optimizers.SGD(1.0, momentum=MOMENTUM, nesterov=True)
            optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice to make its variables
            model.compile(optimizer, steps_per_execution=steps, jit_compile=False)
            model.fit(data, epochs=looks, steps_per_epoch=steps, callbacks=[Look()], verbose=0, shuffle=False)
        for group in self._groups if stop_early else ():
            group.layer.restore()
        self.seconds += time.perf_counter() - started
        return self

    def log_probabilities(
        self, rows: Sequence[np.ndarray] | None = None, absent: Mapping[str, np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Each head's opinion on its rows.

        Args:
            rows: row numbers for each head; all listings for all heads if not given.
            absent: modality → bool ``(n,)``: listings to be read as if they had no text, or no photo.

        Returns:
            For each head the logarithms of its probabilities, float32 ``(rows, K)``.
        """
        everything = np.arange(len(self.codes))
        wanted = [everything] * len(self.tasks) if rows is None else list(rows)
        out = [np.empty((len(each), self.classes), np.float32) for each in wanted]
        for group in self._groups:
            asked = np.unique(np.concatenate([wanted[task] for task in group.numbers.flat]))
            for start in range(0, len(asked), group.at_once):
                some = asked[start : start + group.at_once]
                found = group.log_probabilities(some, absent or {})  # (F, rows, H, K)
                for side, place, task in group.places():
                    here = np.flatnonzero((wanted[task] >= some[0]) & (wanted[task] <= some[-1]))
                    at = np.searchsorted(some, wanted[task][here])
                    out[task][here] = found[side, at, place]
        return out

    def network(self, head: int, logits: bool = False) -> Any:
        """One head as a plain Keras model.

        Its inputs are the vectors of the head's encoders, in the order of its config, and their presence bits
        ``(n, E)``. Its output is the probabilities ``(n, K)``, or their `logits`. Centring and scaling are folded into
        the weights.
        """
        from headstart.heads.network import plain_network

        for group in self._groups:
            for side, place, task in group.places():
                if task == head:
                    return plain_network(self.tasks[head].config, group, side, place, logits)
        raise IndexError(f"no head {head}, there are {len(self.tasks)}")

    def _look(self, number: int, stop_early: bool) -> bool:
        """Keep the weights of heads whose scouts do better than before; whether any may still."""
        learning = False
        for group in self._groups:
            losses, tasks = group.losses(), group.numbers  # (F, H)
            if not np.isfinite(losses).all():
                bad = self.tasks[tasks[~np.isfinite(losses)][0]].config
                raise ModelError(f"the loss is not finite at learning rate {bad.learning_rate}: give a lower one")
            best, looks = self.inner_loss[tasks], self.looks[tasks]
            if group.judged and stop_early:
                better = losses < best * (1 - 1e-4)
                better &= number - looks <= PATIENCE  # a head that is done stays so while others still learn
            else:
                better = np.ones(losses.shape, bool)
            group.layer.keep(np.tile(better, (1, group.learn.columns // better.size)))
            self.inner_loss[tasks] = np.where(better, losses, best)
            self.looks[tasks] = looks = np.where(better, number, looks)
            learning |= bool((number - looks < PATIENCE).any())
        return learning
