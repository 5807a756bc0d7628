"""Fine-tuning: a head and the encoders under it trained together, where a frozen encoder may not be enough.

The head has learnt on frozen vectors before (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054), so
that its first gradients do not spoil what the encoder knows. Lower layers take shorter steps than upper ones (Howard &
Ruder 2018, arXiv 1801.06146), and batch normalisation keeps the statistics it has. Inner rows say when to stop, and how
far the first weights are moved towards the tuned ones (Wortsman et al. 2022, arXiv 2109.01903): not at all, if none do
better than the first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from headstart.errors import ModelError
from headstart.heads.config import HeadConfig
from headstart.heads.fusion import Pattern, fit_fusion
from headstart.heads.nested import Listings
from headstart.runtime import keras, tensorflow

Depth = Literal["top", "full"]
Stop = Literal["inner rows", "epochs", "budget"]
BETAS, EPSILON = (0.9, 0.999), 1e-7
"""Of Adam (Kingma & Ba 2015, arXiv 1412.6980)."""
REACH = 4
"""Batches among which listings of like length are put together: with texts of a shop half as much is padding."""
SHARES = (0.75, 0.5, 0.25)
"""Of the way from the first weights to the tuned ones, that are tried beside all of it."""


class Source(Protocol):
    """What one encoder gives the head: network inputs, or vectors where it has no network to train."""

    @property
    def network(self) -> Any:
        """From a batch to its vectors, called with ``training=False``; None where `batch` gives the vectors."""

    @property
    def variables(self) -> Sequence[Any]:
        """What can be trained of it, TensorFlow's own variables, in the order of its layers, the lowest first."""

    @property
    def initial(self) -> Sequence[np.ndarray]:
        """Their values before anything is tuned."""

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        """Shape and type of a batch."""

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Of these listings; where one lacks the modality, anything of the right shape."""

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """How long they are, where a batch is as long as its longest; else zeros."""


@dataclass(frozen=True)
class TuneConfig:
    """How to fine-tune. Chosen once, on other seeds than those reported."""

    depth: Depth = "top"
    """``full``: the whole network. ``top``: what lies above its trunk, from kept activations (`extract.trunk`)."""
    epochs: int = 8
    patience: int = 3
    """Epochs without a lower inner loss than the lowest of those before it ends."""
    batch: int = 32
    learning_rate: float = 1e-4
    """Of the topmost layer, at its highest: it rises over the first epoch, then falls like a cosine."""
    decay: float = 0.3
    """What the bottom layer's rate is of the topmost's; between, in geometric steps."""
    dropout: float = 0.1
    """Share of each vector's numbers that the head does without, at each step."""
    absent: float = 0.2
    """Share of the listings with a text and a photo that lose one of them, as in `HeadConfig`."""
    clip: float = 1.0
    """Longest gradient, over all variables."""


@dataclass(frozen=True)
class Course:
    """How a fine-tuning went."""

    losses: tuple[float, ...]
    """Mean cross-entropy of the inner rows in nats, the head's confidence set right by them: before the first step,
    then after each epoch."""
    best: int
    """Epoch towards whose weights the first ones are moved; 0 where these are kept."""
    share: float
    """How far, from 0 for not at all to 1 for all the way."""
    stop: Stop
    seconds: float


class Tuning:
    """Heads of one shape and the networks of their encoders, to be trained together, one after the other."""

    def __init__(
        self, member: HeadConfig, head: Any, sources: Sequence[Source], listings: Listings, config: TuneConfig
    ) -> None:
        """Take them.

        Args:
            member: the heads' settings; their encoders are those of `sources`, in this order.
            head: the first of them, from vectors and presence bits to logits, as `HeadBank.network` gives it.
            sources: one for each encoder.
            listings: n of them, with the vectors' presence.
            config: how.
        """
        tf = tensorflow()
        self.member, self.head, self.sources, self.config = member, head, list(sources), config
        self.codes, self.classes = listings.codes, listings.classes
        features = listings.features
        self.kinds = [features.modality[name] for name in member.encoders]
        self.present = np.stack([np.asarray(features.present[name], bool) for name in member.encoders], axis=1)
        layers = [source.variables for source in self.sources]
        self.variables = [*(each for network in layers for each in network), *variables_of(head)]
        shares = [config.decay ** (1 - (place + 1) / len(each)) for each in layers for place in range(len(each))]
        self._shares = [*shares, *([1.0] * (len(self.variables) - len(shares)))]
        self._slots = [[tf.Variable(tf.zeros_like(each)) for each in self.variables] for _ in BETAS]
        self._steps = tf.Variable(0.0)
        shapes = [tf.TensorSpec(*source.takes) for source in self.sources]
        bits = tf.TensorSpec((None, len(sources)), tf.float32)
        self._said = tf.function(self._logits, input_signature=[shapes, bits], autograph=False)
        self._step = tf.function(
            self._learn,
            input_signature=[
                shapes,
                bits,
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((2,), tf.int32),
            ],
            autograph=False,
        )

    def fit(
        self,
        head: Sequence[np.ndarray],
        train: np.ndarray,
        inner: np.ndarray,
        seed: Sequence[int],
        deadline: float = math.inf,
        advance: Callable[[int], object] = lambda rows: None,
        better: Callable[[int], object] = lambda epoch: None,
        later: int = 0,
    ) -> Course:
        """Train on some rows for as long as that lowers the loss of others; what is lowest is kept.

        The networks begin as they were at first, whatever was tuned before.

        Args:
            head: weights to begin with, of one that has learnt from `train` alone, as its ``get_weights`` gives them.
            train: row numbers to learn from.
            inner: row numbers that say when to stop.
            seed: of the order of the listings, and of all that is dropped.
            deadline: by `time.perf_counter`; it is over by then, give or take a step.
            advance: told how many rows have just been learnt from.
            better: told each epoch that is the best so far, while its weights are in place.
            later: how many rows are to be judged by `deadline`, too, when it is over.

        Raises:
            ModelError: a loss is not finite, or there are no listings to stop by.
        """
        train, inner = (rows[self.present[rows].any(axis=1)] for rows in (train, inner))
        if not len(inner) or not len(train):
            raise ModelError(
                f"fine-tuning {self._named}: no listings to stop by among {len(train)} to learn from: give more"
            )
        started = time.perf_counter()
        tf, config = tensorflow(), self.config
        self._rng = np.random.default_rng(seed)
        initial = [value for source in self.sources for value in source.initial]
        self._assign([*initial, *head])
        for slot in (self._steps, *self._slots[0], *self._slots[1]):
            slot.assign(tf.zeros_like(slot))
        weights = _class_weights(self.codes, train, self.classes)
        self.log_probabilities(inner[:1])  # TensorFlow traces the network now, which is no part of looking
        began = time.perf_counter()
        losses = [self._loss(inner)]
        self._check(losses[0], 0, 0)
        looked = time.perf_counter() - began
        looks = 1 + later / len(inner)
        first = tuned = self._values()
        lowest, learnt = 1, 0
        stop: Stop = "epochs"
        steps = -(-len(train) // config.batch)
        for epoch in range(1, config.epochs + 1):
            for number, (rows, inputs) in enumerate(self._ahead(self._shuffled(train))):
                if time.perf_counter() + looks * looked > deadline:
                    stop = "budget"
                    break
                done = (epoch - 1 + number / steps) / config.epochs
                rate = config.learning_rate * min(1.0, (number + 1) / steps if epoch == 1 else 1.0)
                loss = self._step(
                    inputs,
                    tf.constant(self._bits(rows), tf.float32),
                    tf.constant(self.codes[rows], tf.int32),
                    tf.constant(weights[self.codes[rows]], tf.float32),
                    tf.constant(rate * (1 + math.cos(math.pi * done)) / 2, tf.float32),
                    tf.constant(self._rng.integers(0, 2**31 - 1, 2), tf.int32),
                )
                self._check(float(loss), epoch, number)
                advance(len(rows))
                learnt = epoch
            if learnt < epoch:  # the time is up, and nothing has changed
                break
            before = time.perf_counter()
            losses.append(self._loss(inner))
            looked = time.perf_counter() - before
            self._check(losses[-1], epoch, steps)
            if epoch == 1 or losses[-1] < losses[lowest]:
                tuned, lowest = self._values(), epoch
                if losses[-1] < losses[0]:
                    better(epoch)
            if stop != "epochs":
                break
            if epoch - lowest >= config.patience:
                stop = "inner rows"
                break
        found = {0.0: losses[0], **({1.0: losses[lowest]} if learnt else {})}
        for share in SHARES if learnt else ():
            if time.perf_counter() + looks * looked > deadline:
                stop = "budget"
                break
            self._assign(_between(first, tuned, share))
            found[share] = self._loss(inner)
            self._check(found[share], lowest, steps)
        share = min(found, key=found.__getitem__)
        self._assign(_between(first, tuned, share))
        return Course(tuple(losses), lowest if share else 0, share, stop, time.perf_counter() - started)

    def log_probabilities(self, rows: np.ndarray, lost: Pattern = frozenset()) -> np.ndarray:
        """What the tuned head says of these rows, had they lost some modalities, float32 ``(rows, K)``."""
        tf = tensorflow()
        gone = np.array([kind in lost for kind in self.kinds])
        out = np.empty((len(rows), self.classes), np.float32)
        places = _cut(np.argsort(self._lengths(rows), kind="stable"), 2 * self.config.batch)
        for place, (some, inputs) in zip(places, self._ahead([rows[each] for each in places]), strict=True):
            logits = self._said(inputs, tf.constant(self.present[some] & ~gone, tf.float32))
            out[place] = tf.nn.log_softmax(logits).numpy()
        return out

    def _shuffled(self, rows: np.ndarray) -> list[np.ndarray]:
        """Batches of the rows in random order, those of like length together within `REACH` batches."""
        size, batches = self.config.batch, []
        for some in _cut(self._rng.permutation(rows), REACH * size):
            batches += _cut(some[np.argsort(self._lengths(some), kind="stable")], size)
        return [batches[place] for place in self._rng.permutation(len(batches))]

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        """Of the longest thing that is read of each."""
        return np.max([source.lengths(rows) for source in self.sources], axis=0)

    def _ahead(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Batches of rows with their inputs, the next one read while this one is worked on."""
        with ThreadPoolExecutor(1) as reader:
            read = lambda rows: [source.batch(rows) for source in self.sources]  # noqa: E731
            coming = reader.submit(read, batches[0]) if batches else None
            for number, rows in enumerate(batches):
                assert coming is not None
                inputs = coming.result()
                if number + 1 < len(batches):
                    coming = reader.submit(read, batches[number + 1])
                yield rows, inputs

    def _bits(self, rows: np.ndarray) -> np.ndarray:
        """Presence of each encoder's vectors ``(rows, E)``: now and then a listing loses its text or its photo."""
        bits = self.present[rows].copy()
        kinds = np.array(self.kinds)
        several = [bits[:, kinds == kind].any(axis=1) for kind in np.unique(kinds)]
        if len(several) > 1:
            loses = np.logical_and.reduce(several) & (self._rng.random(len(rows)) < self.config.absent)
            which = np.unique(kinds)[self._rng.integers(0, len(several), len(rows))]
            bits[loses] &= kinds[None] != which[loses, None]
        return bits

    def _logits(self, inputs: list[Any], bits: Any, seed: Any = None) -> Any:
        """Logits ``(n, K)``; with a seed as in training: pictures mirrored, numbers of the vectors dropped."""
        tf = tensorflow()
        vectors = []
        for place, (source, x) in enumerate(zip(self.sources, inputs, strict=True)):
            if source.network is None:
                vector = tf.cast(x, tf.float32)
            else:
                if seed is not None and len(source.takes[0]) == 4:
                    x = tf.image.stateless_random_flip_left_right(x, seed + place)
                vector = tf.cast(source.network(x, training=False), tf.float32)
                if seed is not None and self.config.dropout:
                    vector = tf.nn.experimental.stateless_dropout(vector, self.config.dropout, seed + 100 + place)
            vectors.append(vector * bits[:, place : place + 1])
        return self.head([*vectors, bits], training=False)

    def _learn(self, inputs: list[Any], bits: Any, codes: Any, weights: Any, rate: Any, seed: Any) -> Any:
        """One step of Adam, each variable at a rate of its own; the batch's loss before it.

        Keras's optimizers have one rate for all, and take no variables of a SavedModel.
        """
        tf = tensorflow()
        with tf.GradientTape() as tape:
            logits = self._logits(inputs, bits, seed)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
            loss = tf.reduce_sum(weights * each) / tf.reduce_sum(weights)
        slopes = tape.gradient(loss, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        slopes, _ = tf.clip_by_global_norm([tf.cast(slope, tf.float32) for slope in slopes], self.config.clip)
        steps = self._steps.assign_add(1.0)
        first, second = (tf.pow(beta, steps) for beta in BETAS)
        for variable, slope, share, m, v in zip(self.variables, slopes, self._shares, *self._slots, strict=True):
            own = partial(tf.cast, dtype=variable.dtype)  # a SavedModel may have any
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=own(first),
                beta2_power=own(second),
                lr=own(rate * share),
                beta1=own(BETAS[0]),
                beta2=own(BETAS[1]),
                epsilon=own(EPSILON),
                grad=own(slope),
            )
        return loss

    def _loss(self, rows: np.ndarray) -> float:
        """As in `Course.losses`; a head that only grew too sure of itself, which a temperature mends, is no worse."""
        said, codes = self.log_probabilities(rows)[None], self.codes[rows]
        if not np.isfinite(said).all():
            return math.nan
        every = frozenset(["all"])
        there = {"all": np.ones(len(rows), bool)}
        fused = fit_fusion({every: said}, there["all"][None], there, codes, [every])
        return float(-fused.log_probabilities(said, there["all"][None], there)[np.arange(len(rows)), codes].mean())

    def _values(self) -> list[np.ndarray]:
        return [each.numpy() for each in self.variables]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def _check(self, loss: float, epoch: int, step: int) -> None:
        if not math.isfinite(loss):
            raise ModelError(
                f"fine-tuning {self._named}: the loss is not finite in epoch {epoch}, step {step}: "
                f"give a learning rate below {self.config.learning_rate:g}"
            )

    @property
    def _named(self) -> str:
        return " and ".join(self.member.encoders)


def variables_of(network: Any) -> list[Any]:
    """What can be trained of a Keras model or a SavedModel, as TensorFlow's own variables."""
    k = keras()
    return [each.value if isinstance(each, k.Variable) else each for each in network.trainable_variables]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _between(first: Sequence[np.ndarray], last: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """So far on the straight way from the first values to the last; the ends are exact."""
    if share in (0, 1):
        return list(last if share else first)
    return [((1 - share) * a + share * b).astype(a.dtype) for a, b in zip(first, last, strict=True)]


def _class_weights(codes: np.ndarray, train: np.ndarray, classes: int) -> np.ndarray:
    """Inverse frequencies of the categories among the rows learnt from ``(K,)``, as heads weigh them."""
    counts = np.bincount(codes[train], minlength=classes)
    found: np.ndarray = len(train) / (np.maximum(counts, 1) * max(1, np.count_nonzero(counts)))
    return found
