"""Any SavedModel of one text or one photo → one vector: what it takes, what it gives, and how it is run.

Both of TensorFlow Hub's formats are read: TF2, an object that is called ("Reusable SavedModels", as TensorFlow's guide
names them), and TF1, a graph with signatures and ``tfhub_module.pb`` beside it; and any SavedModel with signatures.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.errors import EncoderError, one_line
from headstart.extract.encoder import Modality
from headstart.extract.frozen import Precision, folded, frozen
from headstart.files import file_digest
from headstart.runtime import tensorflow

GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
HUB_MARK = "tfhub_module.pb"
"""Beside the graph in the hub's TF1 format, whose graphs have no tags."""
WEIGHTS = (*GRAPHS, HUB_MARK, "variables/variables.*", "assets/**/*")
"""The files that decide the vectors. Fingerprints, Keras's notes, warm-up requests and the like do not."""
SIGNATURES = ("default", "serving_default")
"""Where a module that cannot be called is entered: the name in the hub's TF1 format, then TensorFlow Serving's."""
DEFAULT_OUTPUT = "default"
"""The vector's name among several outputs, in both of the hub's formats."""
TEXTS = ("a", "two words")
"""What an encoder is tried on."""


class Damaged(EncoderError):
    """A module that lacks nothing but cannot be loaded: fetched again, it may be whole."""


class Wanted(NamedTuple):
    """What a handle's options say about the module; None where the module is to say it."""

    size: int | None = None
    range: tuple[float, float] | None = None
    signature: str | None = None
    output: str | None = None
    of_the_hub: bool = False
    """It keeps the hub's conventions: photos of real numbers from 0 to 1."""


@dataclass(frozen=True)
class Interface:
    """What a module takes and gives, learnt by loading it and trying it on two items."""

    modality: Modality
    dim: int
    dtype: str
    """Of its input, as TensorFlow names it."""
    signature: str | None
    """None: the module itself is called."""
    output: str | None
    """Which of its outputs the vector is; None where it gives nothing else."""
    size: int | None = None
    """Height and width of the photos, in pixels."""
    low: float | None = None
    """What a black pixel is given as."""
    high: float | None = None
    """What a white pixel is given as."""


def lacking(folder: Path) -> str | None:
    """What a SavedModel has and this folder has not, in words; None for a whole one. Starts no TensorFlow."""
    if not folder.is_dir():
        return "no such folder"
    graph = next((folder / name for name in GRAPHS if (folder / name).is_file()), None)
    if graph is None:
        return f"no {GRAPHS[0]}"
    shards = [path.name for path in folder.glob("variables/variables.data-*-of-*")]
    index = (folder / "variables/variables.index").is_file()
    if not shards and not index:
        # A graph without variables need not have the files; one with variables has the operation that reads them.
        return "no variables" if b"RestoreV2" in graph.read_bytes() else None
    if not index:
        return "no variables/variables.index"
    wanted = max((int(name.rpartition("-")[2]) for name in shards), default=1)
    return None if len(shards) == wanted else f"{len(shards)} of {wanted} files variables/variables.data-…"


def weights_digest(folder: Path) -> str:
    """SHA-256, in hex, of the bytes of the files that decide the vectors, and of their names in the folder."""
    files = {path.relative_to(folder).as_posix(): path for name in WEIGHTS for path in folder.glob(name)}
    whole = hashlib.sha256()
    for name in sorted(files):
        if files[name].is_file():
            whole.update(f"{name}\0{file_digest(files[name])}\n".encode())
    return whole.hexdigest()


def load(folder: Path) -> Any:
    """The SavedModel in the folder; its tables are filled. Whoever runs its functions must keep hold of it.

    Raises:
        EncoderError: it is damaged, or needs operations that no installed package has.
    """
    loader = tensorflow().saved_model.load
    tags: list[str] | None = [] if (folder / HUB_MARK).is_file() else None
    try:
        try:
            return loader(str(folder), tags)
        except Exception as error:
            if (missing := re.search(r"Op type not registered '([^']+)'", str(error))) is None:
                raise
            _more_operations(folder, missing[1])
            return loader(str(folder), tags)
    except EncoderError:
        raise
    except Exception as error:  # on damaged files TensorFlow raises nearly every kind there is
        raise Damaged(f"{folder} cannot be loaded as a SavedModel ({one_line(error)}): fetch it again") from None


def _more_operations(folder: Path, missing: str) -> None:
    """Register those of TensorFlow Text: tokenizers and normalisers of the hub's multilingual text encoders."""
    try:
        importlib.import_module("tensorflow_text")
    except Exception:  # built for another TensorFlow, it does not raise an ImportError
        raise EncoderError(
            f"{folder} needs the operation {missing}: pip install tensorflow-text, "
            "in the version of the installed TensorFlow"
        ) from None


def learn(module: Any, wanted: Wanted) -> Interface:
    """What the module takes and gives, found in its signatures and by trying it on two items.

    Raises:
        EncoderError: it takes neither texts nor photos, gives no vector, or the options are to say which.
    """
    call = _entry(module, wanted.signature)
    interface = Interface("text", 0, "string", call.signature, None)
    if call.spec.dtype.name != "string":
        interface = _photo_input(call, wanted)
    elif wanted.size or wanted.range:
        raise EncoderError("it takes texts: the options size and range are for photos")
    tf = tensorflow()
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (2, interface.size or 1, interface.size or 1, 3), np.uint8)
    trial = tf.constant(TEXTS if interface.modality == "text" else photos)
    try:
        outputs, first = (_named(call.run(_as_input(some, call.spec, interface))) for some in (trial, trial[:1]))
    except Exception as error:  # whatever a stranger's graph raises
        raise EncoderError(f"it fails on one or two {interface.modality}s ({one_line(error)})") from None
    output = _output(outputs, wanted.output)
    together, alone = outputs[output][:1].numpy(), first[output].numpy()
    if np.isfinite(together).all() and not np.allclose(together, alone, rtol=0.01, atol=0.01 * np.abs(alone).max()):
        raise EncoderError(
            f"a {interface.modality}'s vector changes with the others in its batch: save the module as not in training"
        )
    return Interface(**{**vars(interface), "dim": int(outputs[output].shape[1]), "output": output or None})


def holds_references(module: Any) -> bool:
    """A graph whose variables live in its operations, as in the hub's TF1 format: saved again, they would be empty."""
    graph = getattr(module, "graph", None)
    return graph is not None and any(each.type in ("Variable", "VariableV2") for each in graph.get_operations())


def network(module: Any, interface: Interface, precision: Precision) -> Callable[[np.ndarray], np.ndarray]:
    """The module as a function: texts (n,), as objects, or uint8 pixels (n, size, size, 3) → float32 (n, dim).

    Photos are scaled to the module's range inside the graph. The module must live as long as the function.
    """
    call = graph(module, interface)
    if interface.modality == "text":
        return frozen(call, (None,), "string", constants=False, precision=precision)
    size = interface.size or 1
    return folded(call, (None, size, size, 3), precision)


class Trainable:
    """A module as a network to fine-tune: like `network`, from a batch to its vectors, and with variables.

    Attributes:
        module: as it was loaded.
        trainable_variables: those that the vectors depend on.
    """

    def __init__(self, module: Any, interface: Interface) -> None:
        """Find them, by trying it on two items.

        Raises:
            EncoderError: it has none, as one that was exported for serving alone.
        """
        tf = tensorflow()
        self.module, self._graph = module, graph(module, interface)
        variables = list(getattr(module, "trainable_variables", ()))
        size = interface.size or 1
        trial = tf.constant(TEXTS) if interface.modality == "text" else tf.zeros((2, size, size, 3), tf.uint8)
        try:
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(self._graph(trial))
            slopes = tape.gradient(total, variables)
        except Exception as error:  # of operations without a gradient
            raise EncoderError(f"it cannot be fine-tuned ({one_line(error)}): choose another encoder") from None
        self.trainable_variables = [each for each, slope in zip(variables, slopes, strict=True) if slope is not None]
        if not self.trainable_variables:
            raise EncoderError("it has no variables that could be trained: choose a TF2 module, or another encoder")

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Texts (n,) or uint8 pixels (n, size, size, 3) → float32 (n, dim), always as in use."""
        return self._graph(x)


def graph(module: Any, interface: Interface) -> Callable[[Any], Any]:
    """The module as a function of tensors: texts (n,) or uint8 pixels (n, size, size, 3) → float32 (n, dim)."""
    tf = tensorflow()
    call = _entry(module, interface.signature)

    def run(x: Any) -> Any:
        outputs = _named(call.run(_as_input(x, call.spec, interface)))
        return tf.cast(outputs[interface.output or ""], tf.float32)

    return run


class _Call(NamedTuple):
    """One way into a module."""

    signature: str | None
    spec: Any
    """The TensorSpec of its only input."""
    run: Callable[[Any], Any]


def _entry(module: Any, signature: str | None) -> _Call:
    """How the module is called: as asked for, else as an object, else by the signature that the formats name."""
    calls = {call.signature: call for call in (*_signatures(module), *_direct(module)) if _usable(call.spec)}
    names = (signature,) if signature else (None, *SIGNATURES)
    for name in names:
        if name in calls:
            return calls[name]
    if not signature and len(calls) == 1:
        return next(iter(calls.values()))
    if signature:
        problem = f"no signature {signature!r} that takes texts or photos alone"
    else:
        problem = "several signatures" if calls else "no signature that takes texts or photos alone"
    usable = ", ".join(sorted(name for name in calls if name))
    hint = (
        f"choose one with #signature=NAME: {usable}" if usable else "an encoder takes texts (n,) or photos (n, h, w, 3)"
    )
    raise EncoderError(f"it has {problem}; it has {_listed(module)}; {hint}")


def _direct(module: Any) -> Iterator[_Call]:
    """The module called as an object, but not as in training."""
    tf = tensorflow()
    for function in getattr(module.__call__, "concrete_functions", ()) if callable(module) else ():
        args, kwargs = function.structured_input_signature
        leaves = tf.nest.flatten((args, kwargs))
        training = any(leaf is True for leaf in leaves)  # the only flag there is in practice
        if args and not training and [leaf for leaf in leaves if isinstance(leaf, tf.TypeSpec)] == [args[0]]:
            yield _Call(None, args[0], partial(_called, module, args[1:], kwargs))


def _called(module: Any, rest: tuple[Any, ...], keywords: Mapping[str, Any], x: Any) -> Any:
    return module(x, *rest, **keywords)


def _signatures(module: Any) -> Iterator[_Call]:
    for name, function in getattr(module, "signatures", {}).items():
        inputs = function.structured_input_signature[1]
        if len(inputs) == 1:
            key, spec = next(iter(inputs.items()))
            yield _Call(name, spec, partial(_called_by_name, function, key))


def _called_by_name(function: Callable[..., Any], key: str, x: Any) -> Any:
    return function(**{key: x})


def _usable(spec: Any) -> bool:
    """Strings (n,) or (n, 1), or photos (n, height, width, 3), for any n."""
    shape, dtype = spec.shape, spec.dtype
    if shape.rank is not None and (shape.rank == 0 or shape[0] is not None):
        return False
    if dtype.name == "string":
        return bool(shape.is_compatible_with([None]) or shape.is_compatible_with([None, 1]))
    return (dtype.is_floating or dtype.is_integer) and bool(shape.is_compatible_with([None, None, None, 3]))


def _photo_input(call: _Call, wanted: Wanted) -> Interface:
    """Size, type and range of the photos, their output not known yet."""
    shape, dtype = call.spec.shape, call.spec.dtype
    height, width = (None, None) if shape.rank is None else (shape[1], shape[2])
    if height != width:
        raise EncoderError(f"it takes photos of {height} × {width} pixels, and only squares are made here")
    if height is None and wanted.size is None:
        raise EncoderError("it does not say what size of photos it takes: give it, as in #size=224")
    if height is not None and wanted.size not in (None, height):
        raise EncoderError(f"it takes photos of {height} × {height} pixels, not of size={wanted.size}")
    whole = not dtype.is_floating
    given = wanted.range or ((0.0, 1.0) if wanted.of_the_hub else None)
    if not whole and given is None:
        raise EncoderError(
            "it does not say what range of pixels it takes: give it, as in #range=0..1, -1..1 or 0..255 for one that "
            "scales them itself"
        )
    if whole and wanted.range not in (None, (0.0, 255.0)):
        raise EncoderError(f"it takes photos as {dtype.name}, which are whole numbers: leave out range, it is 0..255")
    low, high = (0.0, 255.0) if whole or given is None else given
    return Interface("image", 0, dtype.name, call.signature, None, height or wanted.size, low, high)


def _as_input(x: Any, spec: Any, interface: Interface) -> Any:
    """A tensor of texts (n,) or of uint8 pixels as the module takes it."""
    tf = tensorflow()
    if interface.low is None or interface.high is None:
        return tf.expand_dims(x, -1) if spec.shape.rank == 2 else x
    pixels = tf.cast(x, tf.float32)
    if (interface.low, interface.high) != (0.0, 255.0):
        pixels = pixels * ((interface.high - interface.low) / 255) + interface.low
    return tf.cast(pixels, spec.dtype)


def _named(outputs: Any) -> dict[str, Any]:
    """What a module gives, by name; a tensor alone has the empty name."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, (list, tuple)):
        return {str(place): output for place, output in enumerate(outputs)}
    return {"": outputs}


def _output(outputs: Mapping[str, Any], wanted: str | None) -> str:
    """The name of the output that holds a vector for each of the two items."""
    vectors = sorted(
        name
        for name, value in outputs.items()
        if value.dtype.is_floating and value.shape.rank == 2 and value.shape[0] == 2 and value.shape[1] > 0
    )
    if wanted is None and DEFAULT_OUTPUT in vectors:
        return DEFAULT_OUTPUT
    if wanted in vectors:
        return str(wanted)
    if wanted is None and len(vectors) == 1:
        return vectors[0]
    given = ", ".join(
        f"{name or 'one output'} {value.dtype.name} {_shape(value.shape[1:], 'n')}" for name, value in outputs.items()
    )
    if wanted is None and not vectors:
        raise EncoderError(
            f"it gives no vector (n, dim), it gives {given}: choose a module that pools, a feature vector"
        )
    choice = f"choose one with #output=NAME: {', '.join(vectors)}" if vectors else "none of them is a vector (n, dim)"
    problem = f"no vector is called {wanted!r}" if wanted else "it gives several vectors"
    raise EncoderError(f"{problem}, it gives {given}; {choice}")


def _listed(module: Any) -> str:
    """The signatures of a module, with their inputs and outputs."""
    signatures = getattr(module, "signatures", {})
    listed = [
        f"{name}({_specs(function.structured_input_signature[1])}) → {_specs(function.structured_outputs)}"
        for name, function in signatures.items()
    ]
    return "; ".join(listed) or "none"


def _specs(specs: Any) -> str:
    named = _named(specs)
    return ", ".join(f"{name} {spec.dtype.name} {_shape(spec.shape)}".strip() for name, spec in named.items())


def _shape(shape: Any, *first: str) -> str:
    if shape.rank is None:
        return "(any shape)"
    return f"({', '.join((*first, *('n' if size is None else str(size) for size in shape)))})"
