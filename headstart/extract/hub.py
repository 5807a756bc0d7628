"""Encoders from TensorFlow Hub, and any SavedModel in a folder.

The hub's own library only fetches: what lies in its cache, or in a folder, is used without it. The cache is laid out as
the library lays it out, so that both share it: ``$TFHUB_CACHE_DIR/<sha1 of the handle>/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.cache import cache_folder, read_note, write_note
from headstart.errors import EncoderError, one_line
from headstart.extract import saved_model
from headstart.extract.batching import alike
from headstart.extract.encoder import Encoder, InGraph, Modality
from headstart.extract.frozen import checked_precision, exportable, in_spec
from headstart.extract.graph_hub import with_constants
from headstart.extract.graph_texts import truncated
from headstart.extract.images import PIXELS, checked_size, decode
from headstart.extract.saved_model import Interface, Wanted, lacking
from headstart.files import write_text_atomically
from headstart.progress import say
from headstart.runtime import tensorflow

VARIABLE = "TFHUB_CACHE_DIR"
CHARACTERS = 16_384
"""Of a text; a transformer's memory grows with their square."""
BUDGET = 32_768
"""Characters, padding included, that go through a text network at once."""
SILENCE = 30.0
"""Seconds without a byte from the hub, or without growth of another process's download, until it counts as dead."""
NOTE = "saved-model"


class HubEncoder(Encoder):
    """A module of TensorFlow Hub, by its handle, or a SavedModel in a folder.

    Args:
        module: an http(s) handle, or a folder.
        modality, dim: what it is expected to be; the module must agree.
        size: side of the photos in pixels, for a module that takes any.
        range: ``low..high``, what black and white pixels are given as. The hub's own modules take 0..1 by its
            convention; of any other that takes real numbers it must be said.
        signature: by which it is called, where it has several.
        output: which of its outputs the vector is, where it has several.
        precision: see `frozen.Precision`.
    """

    def __init__(
        self,
        module: str,
        modality: Modality | None = None,
        dim: int | None = None,
        *,
        size: int | None = None,
        range: str | None = None,
        signature: str | None = None,
        output: str | None = None,
        precision: str = "float32",
    ) -> None:
        self.module, self.name = module, f"hub:{module}"
        self._expected = modality, dim
        size = None if size is None else checked_size(size)
        of_the_hub = self._handle or (self._place / saved_model.HUB_MARK).is_file()
        self._wanted = Wanted(size, None if range is None else _range(range), signature, output, of_the_hub)
        self._precision = checked_precision(precision)

    @cached_property
    def modality(self) -> Modality:  # type: ignore[override]
        """Of the module; where it is expected, the module is not looked at."""
        return self._expected[0] or self._interface.modality

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Of the module; where it is expected, the module is not looked at."""
        return self._expected[1] or self._interface.dim

    @cached_property
    def batch(self) -> int:  # type: ignore[override]
        """Texts go through the network in small groups, however many there are."""
        return 1024 if self.modality == "text" else 32

    def prepare(self, item: Any) -> Any:
        """A text → its first 16,384 characters in UTF-8; a photo file's bytes → uint8 pixels (size, size, 3)."""
        if self.modality == "image":
            return decode(item, self._interface.size or 1)
        return item[:CHARACTERS].encode("utf-8", "replace")  # a lone surrogate becomes "?"

    def load(self) -> None:
        """Load the module, and run it once: TensorFlow folds the constants at the first call."""
        if self.modality == "text":
            self.encode([self.prepare("a")])
        else:
            size = self._interface.size or 1
            self.encode([np.zeros((size, size, 3), np.uint8)])

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Texts or pixels, as `prepare` makes them → vectors of shape (len(batch), dim)."""
        return self.through(self._vectors, batch, self.dim)

    def _vectors(self, items: np.ndarray) -> np.ndarray:
        """A stranger's graph may fail on some item, or give one row for all: numpy would spread it over them."""
        run = self._run
        try:
            vectors = run(items)
        except Exception as error:  # whatever its operations raise
            raise EncoderError(f"{self.name} fails on {len(items)} {self.modality}s ({one_line(error)})") from None
        if vectors.shape != (len(items), self._interface.dim):
            raise EncoderError(
                f"{self.name} gives {vectors.shape} for {len(items)} {self.modality}s, not a vector of "
                f"{self._interface.dim} numbers each: it does not take several at once, or loses empty ones"
            )
        return vectors

    def spec(self) -> dict[str, Any]:
        told = self._interface
        size = {"size": told.size, "range": [told.low, told.high], "pixels": PIXELS}
        return {
            "weights": self._digest,
            "network": "SavedModel",
            "signature": told.signature,
            "output": told.output,
            "input": {"dtype": told.dtype, **(size if told.modality == "image" else {"characters": CHARACTERS})},
            **in_spec(self._precision),
        }

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        size = self._interface.size
        return ((None,), "string") if self.modality == "text" else ((None, size, size, 3), "uint8")

    def collate(self, batch: Sequence[Any]) -> np.ndarray:
        return np.array(batch, object) if self.modality == "text" else np.stack(batch)

    def together(self, batch: Sequence[Any]) -> Iterable[list[int]]:
        return alike([len(text) for text in batch], BUDGET) if self.modality == "text" else super().together(batch)

    def trainable(self) -> Any:
        """The module loaded anew, with the variables that can be trained.

        Raises:
            EncoderError: it has none.
        """
        try:
            return saved_model.Trainable(saved_model.load(self._folder), self._interface)
        except EncoderError as error:
            raise EncoderError(f"{self.name}: {error}") from None

    def in_graph(self, network: Any = None) -> InGraph:
        """The module as it is, or trained further."""
        exportable(self.name, self._precision)
        call, tracked = (None, self._module) if network is None else (network, network.module)
        if call is None:
            if saved_model.holds_references(tracked):
                tracked = with_constants(self._folder)
            call = saved_model.graph(tracked, self._interface)
        if self.modality == "image":
            return InGraph(call, tracked, self._interface.size)
        return InGraph(lambda texts: call(truncated(texts, CHARACTERS)), tracked)

    def here(self) -> bool:
        """A whole SavedModel lies where it belongs. Fetches nothing and starts no TensorFlow."""
        return lacking(self._place) is None

    def pull(self, source: Path | None = None) -> None:
        """Fetch the module, or install it from a folder or .tar.gz got elsewhere; half a one is replaced.

        Raises:
            EncoderError: it cannot be fetched, another process is fetching it, or the source is not that encoder.
        """
        if not self._handle:
            if source is not None:
                raise EncoderError(
                    f"{self.name} is a folder of your own: copy {source} there, or give that as hub:FOLDER"
                )
        elif source is not None or not self.here() or self._damaged():
            if source is not None and not source.exists():
                raise EncoderError(f"{self.name}: there is no {source}: give a folder or .tar.gz that holds the module")
            try:
                self._clear(keep=source is not None and self.here())
                for learnt in ("_folder", "_digest", "_module", "_interface"):
                    self.__dict__.pop(learnt, None)
                if source is not None:
                    self._install(source)
            except OSError as error:
                raise EncoderError(f"{self.name} cannot be brought to {self._place} ({one_line(error)})") from None
        self.spec()

    def _damaged(self) -> bool:
        """A file is there by its name and cut off in fact; a wrong option or a missing package is another matter."""
        try:
            self.spec()
        except EncoderError:
            try:
                _ = self._module
            except saved_model.Damaged:
                return True
            except EncoderError:
                pass
        return False

    @property
    def _handle(self) -> bool:
        return self.module.startswith(("http://", "https://"))

    @property
    def _place(self) -> Path:
        """Where the module lies, or would lie."""
        if not self._handle:
            return Path(os.path.expanduser(self.module))  # noqa: PTH111 (a user who is not known is a folder's name)
        return _cache() / hashlib.sha1(self.module.encode()).hexdigest()

    @cached_property
    def _folder(self) -> Path:
        """The folder of the whole module, fetched where it is not there."""
        place, lack = self._place, lacking(self._place)
        if lack is None:
            return place
        if not self._handle:
            raise EncoderError(
                f"{self.name}: {place} is not a whole SavedModel ({lack}); give the folder of saved_model.pb"
            )
        if (place.is_dir() and any(place.iterdir())) or self._leftovers():
            raise EncoderError(
                f"{self.name}: {place} holds half a module ({lack}): fetch it again with `headstart encoders pull "
                f"{self.name}`"
            )
        self._fetch()
        return place

    def _leftovers(self) -> list[Path]:
        """What a download of the hub's library that goes on, or was cut off, has beside the folder."""
        return [
            *self._place.parent.glob(f"{self._place.name}.*.tmp"),
            *self._place.parent.glob(f"{self._place.name}.lock"),
        ]

    def _clear(self, keep: bool) -> None:
        """Remove what a dead download has left, for which the hub's library would wait, and perhaps the module."""
        leftovers = self._leftovers()
        files = [path for each in leftovers for path in (each, *each.rglob("*"))]
        if any(time.time() - path.stat().st_mtime < SILENCE for path in files):
            raise EncoderError(f"{self.name}: another process is fetching it into {self._place}: wait for it")
        for path in leftovers if keep or not self._place.exists() else [*leftovers, self._place]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _fetch(self) -> None:
        tensorflow()  # first, so that the library's own import finds it quiet and with its threads set
        say(f"{self.name}: fetching {self.module} into {self._place}")
        try:
            with warnings.catch_warnings(), _fetching_into(_cache()):
                warnings.simplefilter("ignore")  # the library's import is told off by setuptools
                import tensorflow_hub

                tensorflow_hub.resolve(self.module)
            lack = lacking(self._place)
        except ImportError as error:
            raise EncoderError(
                f"{self.name} is fetched by tensorflow-hub, which cannot be imported ({one_line(error)}): "
                'pip install tensorflow-hub tf-keras "setuptools<82"'
            ) from None
        except Exception as error:  # of the network, of the archive, of TensorFlow's file system
            lack = one_line(error)
        if lack is not None:
            raise EncoderError(
                f"{self.name}: {self.module} is not in {_cache()} and could not be fetched ({lack}): run once online, "
                f"or `headstart encoders pull {self.name} --from FILE` with its .tar.gz or folder from elsewhere, or "
                f"set {VARIABLE} to a cache that holds it"
            )

    def _install(self, source: Path) -> None:
        """Put the SavedModel from a folder or archive into the cache, having tried that it is this encoder."""
        place = self._place
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as aside:
            found = _unpack(source, Path(aside) / "module")
            self._learnt(saved_model.weights_digest(found), lambda: saved_model.load(found))
            if place.exists():
                place.rename(Path(aside) / "old")
            found.rename(place)
        # As the hub's library does: for people, who cannot tell from a digest what lies there.
        write_text_atomically(place.with_name(f"{place.name}.descriptor.txt"), f"Module: {self.module}\n")

    @cached_property
    def _digest(self) -> str:
        return saved_model.weights_digest(self._folder)

    @cached_property
    def _module(self) -> Any:  # kept: its variables and tables live as long as it does
        return saved_model.load(self._folder)

    @cached_property
    def _interface(self) -> Interface:
        return self._learnt(self._digest, lambda: self._module)

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        return saved_model.network(self._module, self._interface, self._precision)

    def _learnt(self, digest: str, load: Callable[[], Any]) -> Interface:
        """What the module of that digest takes and gives; it is loaded only where no note says so."""
        key = json.dumps([1, digest, self._wanted])
        try:
            interface = Interface(**(read_note(NOTE, key) or {}))
        except TypeError:  # no note, or one of another version
            try:
                interface = saved_model.learn(load(), self._wanted)
            except EncoderError as error:
                raise EncoderError(f"{self.name}: {error}") from None
            write_note(NOTE, key, vars(interface))
        modality, dim = self._expected
        if modality not in (None, interface.modality):
            raise EncoderError(f"{self.name} is to read {modality}s, the module reads {interface.modality}s")
        if dim not in (None, interface.dim):
            raise EncoderError(f"{self.name} is to give vectors of {dim} numbers, the module gives {interface.dim}")
        return interface


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(each) for each in str(text).split(".."))
    except ValueError:
        low = high = np.nan
    if not low < high or not np.isfinite([low, high]).all():
        raise EncoderError(f"range={text} is not LOW..HIGH: give what black and white pixels are, as in range=-1..1")
    return low, high


def _cache() -> Path:
    """The folder of the hub's modules."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else cache_folder() / "tfhub"


@contextmanager
def _fetching_into(cache: Path) -> Iterator[None]:
    """The hub's library reads these; an answer that never comes ends after a while."""
    wanted = {VARIABLE: str(cache), "TFHUB_MODEL_LOAD_FORMAT": "COMPRESSED"}
    before, timeout = {name: os.environ.get(name) for name in wanted}, socket.getdefaulttimeout()
    os.environ.update(wanted)
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _unpack(source: Path, into: Path) -> Path:
    """Copy or extract a SavedModel, which lies at the top of the source or in the only folder there.

    Returns:
        Its folder, `into` or in it.
    """
    if source.is_dir():
        shutil.copytree(_whole(source, source), into)
        return into
    into.mkdir()
    try:
        with tarfile.open(source) as tar:
            tar.extractall(into, filter="data")  # nothing outside the folder, no links out of it, no devices
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises what its compression does
        raise EncoderError(f"{source} is no .tar.gz of a SavedModel, or is damaged ({one_line(error)})") from None
    return _whole(into, source)


def _whole(folder: Path, source: Path) -> Path:
    """Where the SavedModel lies in what came from the source."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    places = [folder, *(inside if len(inside) == 1 else [])]
    for place in places:
        if lacking(place) is None:
            return place
    raise EncoderError(f"{source} is not a whole SavedModel ({' / '.join(str(lacking(place)) for place in places)})")
