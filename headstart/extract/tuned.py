"""Fine-tuned encoders: an encoder's own code and files, and the variables that fine-tuning has changed.

`tuned:FOLDER` is an encoder like any other, with a fingerprint of its own. Its folder also holds the keys of the
listings that it learnt from: whoever judges a head on its vectors must not judge on those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import EncoderError
from headstart.extract.encoder import Card, Encoder, InGraph, Modality
from headstart.extract.frozen import folded, frozen
from headstart.runtime import now, versions
from headstart.sealed import Kind, read_card, read_part, write_folder

TUNED = Kind(
    what="fine-tuned encoder",
    card="tuned.json",
    format=1,
    error=EncoderError,
    make="fine-tune",
    command="headstart fine-tune --save",
    parts=r"(variables|learnt)-[0-9a-f]{8}\.npz",
)


class TunedEncoder(Encoder):
    """An encoder that `save_tuned` wrote.

    Args:
        folder: with ``tuned.json``.

    Raises:
        EncoderError: when it is first used: the folder is damaged, or the encoder that was tuned is another one here.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.name = Path(folder).expanduser(), f"tuned:{folder}"
        self.card = Card("Fine-tuned by headstart", source="a folder of your own")

    @cached_property
    def base(self) -> Encoder:
        """The encoder that was tuned."""
        from headstart.extract.registry import encoder

        base = encoder(str(self._card["base"]))
        if base.fingerprint != self._card["fingerprint"]:
            raise EncoderError(
                f"{self.name} was made of {base.name} {self._card['fingerprint'][:12]}, which is "
                f"{base.fingerprint[:12]} here: bring the one it was made of, or fine-tune again"
            )
        return base

    @property
    def lineage(self) -> list[TunedEncoder]:
        """This, and the fine-tuned encoders that it was made of, the last first: their folders are needed, too."""
        return [self, *(self.base.lineage if isinstance(self.base, TunedEncoder) else ())]

    @property
    def origin(self) -> Encoder:
        """The encoder that was tuned first, where one was tuned again and again."""
        return self.lineage[-1].base

    @property
    def modality(self) -> Modality:  # type: ignore[override]
        """Of the encoder that was tuned."""
        return self.base.modality

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Of the encoder that was tuned."""
        return self.base.dim

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Of the encoder that was tuned."""
        return self.base.batch

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return self.base.takes

    def prepare(self, item: Any) -> Any:
        """As the encoder that was tuned does."""
        return self.base.prepare(item)

    def collate(self, batch: Sequence[Any]) -> np.ndarray:
        return self.base.collate(batch)

    def together(self, batch: Sequence[Any]) -> Any:
        return self.base.together(batch)

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Prepared items → vectors of shape (len(batch), dim)."""
        return self.through(self._run, batch, self.dim)

    def load(self) -> None:
        _ = self._run

    def spec(self) -> dict[str, Any]:
        # Of one that was tuned again, the last variables count: they are all that can be trained.
        return {**self.base.spec(), "tuned": self._card["files"]["variables.npz"]["digest"]}

    def trainable(self) -> Any:
        """The network as it was tuned; it can be tuned further."""
        network = self.base.trainable()
        arrays = read_part(TUNED, self.folder, self._card["files"]["variables.npz"]).arrays()
        variables = network.trainable_variables
        if [tuple(arrays[each].shape) for each in arrays] != [tuple(each.shape) for each in variables]:
            raise EncoderError(f"{self.folder} does not fit {self.base.name}: fine-tune again")
        for variable, value in zip(variables, arrays.values(), strict=True):
            variable.assign(value)
        return network

    def in_graph(self, network: Any = None) -> InGraph:
        """As the encoder that was tuned, with the network as it was tuned."""
        return self.base.in_graph(self._network if network is None else network)

    @property
    def learnt(self) -> np.ndarray:
        """Keys of the contents that it learnt from, ``(2, n)`` uint64 as `EmbeddingStore.lookup` takes them."""
        return read_part(TUNED, self.folder, self._card["files"]["learnt.npz"]).arrays()["keys"]

    @cached_property
    def _card(self) -> dict[str, Any]:
        return read_card(TUNED, self.folder)

    @cached_property
    def _network(self) -> Any:  # kept: its variables live as long as it does
        return self.trainable()

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        network, (shape, dtype) = self._network, self.takes
        run = lambda x: network(x, training=False)  # noqa: E731
        return folded(run, shape) if dtype == "uint8" else frozen(run, shape, dtype, constants=False)


def save_tuned(
    folder: Path, base: Encoder, variables: Sequence[np.ndarray], learnt: np.ndarray, told: Mapping[str, Any]
) -> None:
    """Write a fine-tuned encoder.

    Args:
        folder: made if need be; one that is there is replaced in one step.
        base: the encoder that was tuned.
        variables: values of the ``trainable_variables`` of its network.
        learnt: keys of the contents that it learnt from, ``(2, n)`` uint64.
        told: how, as JSON values, for whoever reads the card.

    Raises:
        EncoderError: the folder cannot be written.
    """
    arrays = {f"{number:04d}": value for number, value in enumerate(variables)}
    card = {"base": base.name, "fingerprint": base.fingerprint, "how": dict(told), "created": now(), **versions()}
    parts: dict[str, Callable[[Path], object]] = {
        "variables.npz": lambda path: np.savez(path, **arrays),  # type: ignore[arg-type]
        "learnt.npz": lambda path: np.savez_compressed(path, keys=learnt),
    }
    write_folder(TUNED, folder, card, parts)
