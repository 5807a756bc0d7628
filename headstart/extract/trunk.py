"""The frozen lower part of a network as an encoder of its own, so that what lies above can be trained by itself.

Its activations are kept in a store like any other vectors: `trunk:efficientnet-lite0` reads every photo once, and its
upper layers then train without a pixel being looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from headstart.cache import read_note, write_note
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.frozen import frozen
from headstart.extract.registry import TRUNK
from headstart.runtime import keras

NOTE = "trunk"


class Trunk(Encoder):
    """The activations of `base` where its network is narrowest before its last layers; see `split`."""

    def __init__(self, base: Encoder) -> None:
        self.base, self.name, self.modality, self.batch = base, f"{TRUNK}:{base.name}", base.modality, base.batch

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the activations of one item. Learnt by building the network, once: a note says it from then on."""
        note = read_note(NOTE, self.base.fingerprint)
        if note is None:
            note = {"shape": self._halves[0].output.shape[1:]}
            write_note(NOTE, self.base.fingerprint, note)
        return tuple(map(int, note["shape"]))

    @property
    def dim(self) -> int:  # type: ignore[override]
        """All numbers of an item's activations."""
        return prod(self.shape)

    def prepare(self, item: Any) -> Any:
        """As `base` does."""
        return self.base.prepare(item)

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Prepared items → activations of shape (len(batch), dim)."""
        return self.base.through(self._run, batch, self.dim)

    def load(self) -> None:
        _ = self._run

    def spec(self) -> dict[str, Any]:
        return {**self.base.spec(), "trunk": list(self.shape)}

    def trainable(self) -> Any:
        raise EncoderError(f"{self.name} is the part that stays frozen: fine-tune {self.base.name}")

    @cached_property
    def _halves(self) -> tuple[Any, Any]:
        return split(self.base.trainable(), self.base.name)

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        trunk, _ = self._halves
        constants = self.modality == "image"
        return frozen(lambda x: _flat(trunk(x, training=False)), *self.base.takes, constants=constants)


def split(model: Any, name: str = "the network") -> tuple[Any, Any]:
    """A network's trunk and what lies above it, two Keras models that share its variables.

    The cut goes where a single tensor carries all. Of pictures, among the tensors at the last resolution at which
    convolutions still follow, it is the first of the smallest, such as 7 × 7 × 192 in EfficientNet-Lite0; of texts it
    is the first vector.

    Args:
        model: a functional Keras model of one input and one output, maybe with another one inside it.
        name: for the error.

    Raises:
        EncoderError: no single tensor carries all of it before its last variables.
    """
    k = keras()
    last = model.operations[-1]
    if isinstance(last, k.Model) and len(last.operations) > 1:  # preprocessing, then the network
        lower, upper = split(last, name)
        return k.Model(model.input, lower(last._inbound_nodes[-1].input_tensors[0])), upper
    cuts = _cuts(model)
    pictures = [cut for cut in cuts if len(cut.shape) == 4]
    if pictures:
        least = min(prod(cut.shape[1:3]) for cut in pictures)
        found = min((cut for cut in pictures if prod(cut.shape[1:3]) == least), key=lambda cut: prod(cut.shape[1:]))
    elif cuts:
        found = cuts[0]
    else:
        raise EncoderError(f"{name} has no layer that all of it passes through before the last: fine-tune it in full")
    return k.Model(model.input, found), k.Model(found, model.output)


def _cuts(model: Any) -> list[Any]:
    """Tensors of a fixed size through which all passes, with something to train below and above, bottom to top."""
    operations = list(model.operations)
    reads = {id(op): [t for node in op._inbound_nodes for t in node.input_tensors] for op in operations}
    last_read: dict[int, int] = {}
    for place, op in enumerate(operations):
        for tensor in reads[id(op)]:
            last_read[id(tensor)] = place
    trained = [place for place, op in enumerate(operations) if getattr(op, "trainable_variables", ())]
    live: dict[int, int] = {}
    cuts = []
    for place, op in enumerate(operations):
        for node in op._inbound_nodes:
            for tensor in node.outputs:
                live[id(tensor)] = last_read.get(id(tensor), len(operations))
        live = {tensor: until for tensor, until in live.items() if until > place}
        inside = trained and trained[0] <= place < trained[-1]
        tensor = op._inbound_nodes[-1].outputs[0]
        if inside and set(live) == {id(tensor)} and None not in tensor.shape[1:] and len(tensor.shape) in (2, 4):
            cuts.append(tensor)
    return cuts


def _flat(x: Any) -> Any:
    return keras().ops.reshape(x, (-1, prod(x.shape[1:])))
