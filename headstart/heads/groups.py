"""The heads of a bank in groups of one shape, each with its Keras layer and what that reads.

Axes of arrays are those of `headstart.heads.layer`. A side's C columns are the scouts of its H heads, then the heads;
of heads without inner rows, the heads alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.heads.config import HeadConfig
from headstart.heads.sides import Axes, Rows, step_roots
from headstart.runtime import tensorflow

if TYPE_CHECKING:
    from headstart.heads.bank import HeadTask

BATCH = 4096
"""Listings a step, where there are too many for coordinates. A `PART` of all where that is more: the noise of small
steps must not outweigh what more listings tell."""
PART = 1 / 16
SLICE = 2**25
"""Numbers that are held while some listings are read and classified."""
JUDGED = 65_536
"""So many inner rows are enough to judge a head."""
LOOK = 3
"""Steps between two looks at the inner rows."""
LONGEST_LOOK = 64
"""The same for many listings: a pass over them, or so many steps."""


class Group:
    """Heads of one shape, as many on each training side. The base of the two ways to read listings."""

    def __init__(
        self,
        tasks: Sequence[Sequence[HeadTask]],
        numbers: Sequence[Sequence[int]],
        rows: Rows,
        codes: np.ndarray,
        classes: int,
    ) -> None:
        """Take the tasks, and their numbers in the bank, by side and place; make the layer."""
        from headstart.heads.layer import BankLayer, Shape

        self.numbers, self.rows, self.codes = np.array(numbers), rows, codes
        config = tasks[0][0].config
        self.kinds = by_modality(config.encoders, rows)
        first = tasks[0][0]
        self.judged = len(first.inner) > 0
        times = 2 if self.judged and not first.scout else 1  # a scout beside each head
        self.sides = [side[0].seen for side in tasks]
        columns = [[task.learnt for task in side] for side in tasks]
        judges = [[task.inner for task in side] for side in tasks] if self.judged else columns
        if times == 2:
            columns = [[task.train for task in side] + own for side, own in zip(tasks, columns, strict=True)]
        configs = [[task.config for task in side] * times for side in tasks]
        self.learn = SampleWeights(codes, columns, configs, classes)
        self.judge = SampleWeights(codes, judges, configs, classes)
        seeds = np.array([[task.seed for task in side] * times for side in tasks])
        rates = np.array([[each.learning_rate for each in side] for side in configs], np.float32)
        sizes = np.array([[len(each) for each in side] for side in columns])
        decay = np.array([[each.l2 for each in side] for side in configs], np.float32) / sizes
        gated = config.fusion == "gated" and len(self.kinds) > 1
        shape = Shape(classes, config.hidden, config.dropout, gated, config.absent)
        self.spaces: list[Any] = []
        """Of each part of the layer the coordinates or axes of each side."""
        every = tuple(range(len(self.kinds)))
        parts = [self._part(kinds, rates, decay) for kinds in ([(n,) for n in every] if shape.gated else [every])]
        self.layer = BankLayer(shape, parts, seeds, rates, decay)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Side, place and number of every head."""
        for (side, place), number in np.ndenumerate(self.numbers):
            yield side, place, int(number)

    def encoders(self, kinds: Sequence[int]) -> tuple[str, ...]:
        """The encoders of some modalities, given by their places."""
        return tuple(name for kind in kinds for name in self.kinds[kind])

    @property
    def at_once(self) -> int:
        """How many listings are classified at a time."""
        return max(1, SLICE // (self.learn.columns * self.layer.shape_.classes))

    def log_probabilities(self, some: np.ndarray, absent: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of some listings under every head, ``(F, some, H, K)``."""
        logits = self.layer.forward(*self.inputs([some] * len(self.sides), absent))
        found: np.ndarray = tensorflow().nn.log_softmax(logits[:, :, -self.numbers.shape[1] :]).numpy()
        return found

    def bits(self, some: Sequence[np.ndarray], absent: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Presence bits of some listings of each side, by modality, ``(F, some, E)``."""
        found = []
        for names in self.kinds:
            there = np.stack([self.rows.bits[name] for name in names], axis=1)
            if (gone := absent.get(self.rows.features.modality[names[0]])) is not None:
                there = there & ~gone[:, None]
            found.append(np.stack([there[each] for each in some]).astype(np.float32))
        return tuple(found)

    def _part(self, kinds: tuple[int, ...], rates: np.ndarray, decay: np.ndarray) -> Any:
        raise NotImplementedError

    def inputs(
        self, some: Sequence[np.ndarray], absent: Mapping[str, np.ndarray]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Vectors or coordinates, and presence bits, of some listings of each side, by modality."""
        raise NotImplementedError

    def losses(self) -> np.ndarray:
        """What each head's scout, or the head where it has none, loses on the rows that judge it, ``(F, H)``."""
        raise NotImplementedError

    def raw_layer(
        self, part: int, side: int, column: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """A column's first layer on raw vectors: kernels ``(dim, W)`` and presence ``(W,)`` by encoder, bias."""
        names = self.encoders(self.layer.parts[part].kinds)
        kernel, presence, bias = (weight.numpy()[side, :, column] for weight in self.layer.first_layer(part))
        kernels = self._raw(part, side, kernel)
        shift = self._shift(part, side, kernels)
        return kernels, {name: weight - shift[name] for name, weight in zip(names, presence, strict=True)}, bias[0]

    def _raw(self, part: int, side: int, kernel: np.ndarray) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def _shift(self, part: int, side: int, kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise NotImplementedError


class CoordinateGroup(Group):
    """Heads of few listings: the layer reads the coordinates of each side's own rows, all of them at every step."""

    def _part(self, kinds: tuple[int, ...], rates: np.ndarray, decay: np.ndarray) -> Any:
        from headstart.heads.layer import Part

        names = self.encoders(kinds)
        spaces = [self.rows.coordinates(names, side) for side in self.sides]
        self.spaces.append(spaces)
        features = max(space.dual.shape[1] for space in spaces)
        roots = np.ones((len(spaces), features, decay.shape[1]), np.float32)
        for side, (space, own) in enumerate(zip(spaces, self.sides, strict=True)):
            vectors = np.sum([part[own] for part in space.parts.values()], axis=0)
            found = step_roots(vectors, self.learn.of(side, own), decay[side], rates[side])
            roots[side, : len(found)] = found
        return Part(kinds, features, len(names), roots)

    @cached_property
    def batch(self) -> dict[str, Any]:
        """What a step reads: every side's own rows, filled up with rows of no weight."""
        longest = max(map(len, self.sides))
        some = [np.concatenate([side, np.zeros(longest - len(side), int)]) for side in self.sides]
        own = np.stack([np.arange(longest) < len(side) for side in self.sides])
        weights, judge = (
            np.stack([each.of(side, rows) for side, rows in enumerate(some)]) * own[:, :, None]
            for each in (self.learn, self.judge)
        )
        inputs, bits = self.inputs(some, {})
        rows = np.stack(some)
        batch = {
            "inputs": inputs,
            "bits": bits,
            "rows": rows,
            "codes": self.codes[rows],
            "weights": weights,
            "judge": judge,
            "listings": len(self.codes),
        }
        found: dict[str, Any] = tensorflow().nest.map_structure(tensorflow().constant, batch)
        return found

    def inputs(
        self, some: Sequence[np.ndarray], absent: Mapping[str, np.ndarray]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        found = []
        for place, names in enumerate(self.kinds):
            kind = self.rows.features.modality[names[0]]
            spaces = self.spaces[place if len(self.spaces) > 1 else 0]
            features = max(space.dual.shape[1] for space in spaces)
            out = np.zeros((len(some), len(some[0]), features), np.float32)
            for side, (space, rows) in enumerate(zip(spaces, some, strict=True)):
                out[side, :, : space.dual.shape[1]] = space.parts[kind][rows]
                if kind in absent:
                    out[side, absent[kind][rows]] = 0
            found.append(out)
        return tuple(found), self.bits(some, absent)

    def losses(self) -> np.ndarray:
        batch = self.batch
        found: np.ndarray = self.layer.losses(batch["inputs"], batch["bits"], batch["codes"], batch["judge"]).numpy()
        return found

    def _raw(self, part: int, side: int, kernel: np.ndarray) -> dict[str, np.ndarray]:
        space = self.spaces[part][side]
        found = space.kernel(self.rows, kernel[: space.dual.shape[1]])
        return {name: space.standards[name].scale * each for name, each in found.items()}

    def _shift(self, part: int, side: int, kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        standards = self.spaces[part][side].standards
        return {name: standards[name].centre @ kernel for name, kernel in kernels.items()}


class VectorGroup(Group):
    """Heads of many listings: the layer reads vectors, a batch of all sides' rows at a step."""

    def _part(self, kinds: tuple[int, ...], rates: np.ndarray, decay: np.ndarray) -> Any:
        from headstart.heads.layer import Part

        names = self.encoders(kinds)
        spaces = [Axes.of(self.rows, names, side) for side in self.sides]
        self.spaces.append(spaces)
        roots = [
            step_roots(space.sample, self.learn.of(side, space.sampled), decay[side], rates[side], space)
            for side, space in enumerate(spaces)
        ]
        return Part(kinds, spaces[0].axes.shape[0], len(names), np.stack(roots), tuple(spaces))

    @cached_property
    def pool(self) -> np.ndarray:
        """The rows that some head learns from."""
        return self.learn.rows()

    @cached_property
    def jury(self) -> np.ndarray:
        """The rows that judge some head; of very many, some at random."""
        rows, share = self.judge.rows(), JUDGED / self.judge.fewest
        return rows if share >= 1 else rows[np.random.default_rng(0).random(len(rows)) < share]

    @property
    def at_once(self) -> int:
        dims = sum(self.rows.dims[name] for names in self.kinds for name in names)
        # Vectors are gathered, joined, handed to TensorFlow and joined with their presence.
        return max(1, SLICE // (4 * dims + self.learn.columns * self.layer.shape_.classes))

    def batch_of(self, some: np.ndarray, share: float) -> dict[str, Any]:
        """What a step reads that sees this share of the pool."""
        inputs, bits = self.inputs([some], {})
        weights = np.stack([self.learn.of(side, some) for side in range(len(self.sides))]) / np.float32(share)
        return {
            "inputs": inputs,
            "bits": bits,
            "rows": np.arange(len(some)),
            "codes": self.codes[some],
            "weights": weights,
            "listings": len(some),
        }

    def inputs(
        self, some: Sequence[np.ndarray], absent: Mapping[str, np.ndarray]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        found = []
        for names in self.kinds:
            block = np.concatenate([self.rows.block(name, some[0]) for name in names], axis=1)
            if (gone := absent.get(self.rows.features.modality[names[0]])) is not None:
                block = block * ~gone[some[0], None]
            found.append(block)
        return tuple(found), tuple(bits[0] for bits in self.bits(some[:1], absent))

    def losses(self) -> np.ndarray:
        found = np.zeros(self.numbers.shape)
        total = np.zeros(self.numbers.shape)
        for start in range(0, len(self.jury), self.at_once):
            some = self.jury[start : start + self.at_once]
            weights = np.stack([self.judge.of(side, some) for side in range(len(self.sides))])
            found += self.layer.losses(*self.inputs([some], {}), self.codes[some], weights).numpy()
            total += weights.sum(axis=1)
        return found / total

    def _raw(self, part: int, side: int, kernel: np.ndarray) -> dict[str, np.ndarray]:
        standards = self.spaces[part][side].standards
        ends = np.cumsum([len(standard.centre) for standard in standards.values()])[:-1]
        return dict(zip(standards, np.split(kernel, ends), strict=True))

    def _shift(self, part: int, side: int, kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.zeros(kernel.shape[1], np.float32) for name, kernel in kernels.items()}  # it is in the layer


class SampleWeights:
    """Sample weights of columns ``(F, C)``: 0 off a column's rows, its class weights on them; their sum is 1."""

    def __init__(
        self,
        codes: np.ndarray,
        rows: Sequence[Sequence[np.ndarray]],
        configs: Sequence[Sequence[HeadConfig]],
        classes: int,
    ) -> None:
        self._codes = np.maximum(codes, 0)
        self._member = np.zeros((len(rows), len(codes), len(rows[0])), bool)
        self._table = np.zeros((len(rows), classes, len(rows[0])), np.float32)
        for side, columns in enumerate(rows):
            for column, chosen in enumerate(columns):
                self._member[side, chosen, column] = True
                count = np.bincount(codes[chosen], minlength=classes)
                if configs[side][column].balanced:
                    self._table[side, :, column] = 1 / np.maximum(count, 1) / np.count_nonzero(count)
                else:
                    self._table[side, :, column] = 1 / len(chosen)

    def of(self, side: int, rows: np.ndarray) -> np.ndarray:
        """Of these rows, float32 ``(rows, C)``."""
        found: np.ndarray = self._member[side, rows] * self._table[side, self._codes[rows]]
        return found

    @property
    def columns(self) -> int:
        """F × C."""
        return self._member.shape[0] * self._member.shape[2]

    @property
    def fewest(self) -> int:
        """Rows of the column that has the fewest."""
        return int(self._member.sum(axis=1).min())

    def rows(self) -> np.ndarray:
        """The rows that have a weight for any column."""
        return np.flatnonzero(self._member.any(axis=(0, 2)))


def by_modality(encoders: Sequence[str], rows: Rows) -> tuple[tuple[str, ...], ...]:
    """Encoders by modality, texts first, in alphabetical order: however a config names them, a head is the same."""
    kinds = {rows.features.modality[name] for name in encoders}
    found = [
        sorted(name for name in encoders if rows.features.modality[name] == kind)
        for kind in sorted(kinds, reverse=True)
    ]
    return tuple(map(tuple, found))


def grouped(tasks: Sequence[HeadTask], rows: Rows, codes: np.ndarray, classes: int, small: bool) -> list[Group]:
    """The tasks in as few groups as their shapes allow."""
    shapes: dict[Any, dict[bytes, list[int]]] = {}
    spaces = []
    for number, task in enumerate(tasks):
        config, kinds = task.config, by_modality(task.config.encoders, rows)
        gated = config.fusion == "gated" and len(kinds) > 1
        parts = kinds if gated else (tuple(name for names in kinds for name in names),)
        spaces += [(part, task.seen) for part in parts]
        shape = kinds, gated, config.hidden, config.dropout, config.absent, len(task.inner) > 0, task.scout
        shapes.setdefault(shape, {}).setdefault(task.seen.tobytes(), []).append(number)
    if small:
        rows.prepare(spaces)
    groups: list[Group] = []
    for sides in shapes.values():
        for count in sorted({len(numbers) for numbers in sides.values()}):
            numbers = [each for each in sides.values() if len(each) == count]
            kind = CoordinateGroup if small else VectorGroup
            groups.append(kind([[tasks[n] for n in each] for each in numbers], numbers, rows, codes, classes))
    return groups


def batches(groups: Sequence[Group], seed: int = 0) -> tuple[Any, int]:
    """What Keras fits the groups on, without end, and the steps between two looks."""
    tf = tensorflow()
    small = [group.batch for group in groups if isinstance(group, CoordinateGroup)]
    if len(small) == len(groups):
        return endless(tf.data.Dataset.from_tensors((tuple(small),)).repeat()), LOOK
    many = [group for group in groups if isinstance(group, VectorGroup)]
    pool = np.unique(np.concatenate([group.pool for group in many]))
    most = min(group.at_once for group in many)
    size = min(len(pool), max(BATCH, int(PART * len(pool))), most)
    passes = -(-len(pool) // size)

    def draw() -> Iterator[Any]:
        draws = np.random.default_rng(seed)
        while True:
            order = draws.permutation(pool)
            for start in range(0, passes * size, size):
                some = np.sort(order[start : start + size] if start + size <= len(order) else order[-size:])
                yield (tuple(group.batch_of(some, len(some) / len(pool)) for group in many),)

    first = next(draw())
    if passes == 1:
        return endless(tf.data.Dataset.from_tensors(tf.nest.map_structure(tf.constant, first)).repeat()), LOOK
    kinds = tf.nest.map_structure(
        lambda each: tf.TensorSpec(np.shape(each), tf.as_dtype(np.asarray(each).dtype)), first
    )
    data = tf.data.Dataset.from_generator(draw, output_signature=kinds).prefetch(1)
    return endless(data), min(max(passes, LOOK), LONGEST_LOOK)


def endless(data: Any) -> Any:
    """The same without TensorFlow's tuning thread, for which a dataset dropped before its end waits up to a minute."""
    options = tensorflow().data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
