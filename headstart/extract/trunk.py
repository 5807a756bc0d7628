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

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the activations of one item."""
        return tuple(map(int, self._cut["shape"]))

    @cached_property
    def _cut(self) -> dict[str, Any]:
        """Where the network is cut; learnt by building it, once: a note says it from then on."""
        note = read_note(NOTE, self.base.fingerprint)
        if note is None or "weights" not in note:
            lower = self._halves[0]
            note = {"shape": list(lower.output.shape[1:]), "weights": len(lower.weights)}
            write_note(NOTE, self.base.fingerprint, note)
        return note

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
        # Several layers may have one shape: how many weights lie below tells them apart.
        return {**self.base.spec(), "trunk": [list(self.shape), self._cut["weights"]]}

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
        EncoderError: no single tensor carries all of it before its last variables, or it is no functional Keras model.
    """
    k = keras()
    nodes = _nodes(model)
    if not nodes:
        raise EncoderError(f"{name} cannot be cut, as it is no functional Keras model: fine-tune it in full")
    last = nodes[-1].operation
    if isinstance(last, k.Model) and len(_nodes(last)) > 1:  # preprocessing, then the network
        lower, upper = split(last, name)
        return k.Model(model.input, lower(nodes[-1].input_tensors[0])), upper
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


def _nodes(model: Any) -> list[Any]:
    """Each use of an operation in a functional model, bottom to top; none of another model.

    Operations also know their uses elsewhere: in a model made of a part of this one, as `split` makes them.
    """
    by_depth = getattr(model, "_nodes_by_depth", {})
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _cuts(model: Any) -> list[Any]:
    """Tensors of a fixed size through which all passes, with something to train below and above, bottom to top."""
    nodes = _nodes(model)
    needed = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.input_tensors}
    needed |= {id(tensor): len(nodes) for tensor in model.outputs}
    uses: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        if getattr(node.operation, "trainable_variables", ()):
            uses.setdefault(id(node.operation), []).append(place)
    trained = [place for places in uses.values() for place in places]
    live: set[int] = set()
    cuts = []
    for place, node in enumerate(nodes):
        live = {each for each in (*live, *map(id, node.outputs)) if needed.get(each, -1) > place}
        between = trained and min(trained) <= place < max(trained)
        # What is used below and above would change below while it learns above.
        shared = any(places[0] <= place < places[-1] for places in uses.values())
        tensor = node.outputs[0]
        fixed = None not in tensor.shape[1:] and len(tensor.shape) in (2, 4)
        if between and not shared and fixed and live == {id(tensor)}:
            cuts.append(tensor)
    return cuts


def _flat(x: Any) -> Any:
    return keras().ops.reshape(x, (-1, prod(x.shape[1:])))
