"""The networks of Keras Applications, trained on ImageNet: photo → the average over the picture of their last features.

Keras's own classes make the networks, with their own preprocessing and input size; their papers and the licences of
their weights are listed at https://keras.io/api/applications/. The weights are those that Keras publishes, in Keras's
own cache, or a file of the user's.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.cache import cache_folder, read_note, write_note
from headstart.errors import EncoderError, one_line
from headstart.extract.encoder import InGraph, variables_of
from headstart.extract.frozen import checked_precision, exportable, frozen, in_spec
from headstart.extract.images import PIXELS, checked_size
from headstart.extract.photo_network import PhotoNetwork
from headstart.files import file_digest, write_atomically
from headstart.progress import say
from headstart.runtime import keras, tensorflow

NOTE = "keras-application"


class Application(NamedTuple):
    """What is known of a network without starting Keras."""

    family: str
    """The module of ``keras.applications`` with its ``preprocess_input``."""
    size: int
    """Side of the photos that it was trained on, in pixels."""
    dim: int


APPLICATIONS = {
    "ConvNeXtTiny": Application("convnext", 224, 768),
    "ConvNeXtSmall": Application("convnext", 224, 768),
    "ConvNeXtBase": Application("convnext", 224, 1024),
    "ConvNeXtLarge": Application("convnext", 224, 1536),
    "ConvNeXtXLarge": Application("convnext", 224, 2048),
    "DenseNet121": Application("densenet", 224, 1024),
    "DenseNet169": Application("densenet", 224, 1664),
    "DenseNet201": Application("densenet", 224, 1920),
    "EfficientNetB0": Application("efficientnet", 224, 1280),
    "EfficientNetB1": Application("efficientnet", 240, 1280),
    "EfficientNetB2": Application("efficientnet", 260, 1408),
    "EfficientNetB3": Application("efficientnet", 300, 1536),
    "EfficientNetB4": Application("efficientnet", 380, 1792),
    "EfficientNetB5": Application("efficientnet", 456, 2048),
    "EfficientNetB6": Application("efficientnet", 528, 2304),
    "EfficientNetB7": Application("efficientnet", 600, 2560),
    "EfficientNetV2B0": Application("efficientnet_v2", 224, 1280),
    "EfficientNetV2B1": Application("efficientnet_v2", 240, 1280),
    "EfficientNetV2B2": Application("efficientnet_v2", 260, 1408),
    "EfficientNetV2B3": Application("efficientnet_v2", 300, 1536),
    "EfficientNetV2S": Application("efficientnet_v2", 384, 1280),
    "EfficientNetV2M": Application("efficientnet_v2", 480, 1280),
    "EfficientNetV2L": Application("efficientnet_v2", 480, 1280),
    "InceptionResNetV2": Application("inception_resnet_v2", 299, 1536),
    "InceptionV3": Application("inception_v3", 299, 2048),
    "MobileNet": Application("mobilenet", 224, 1024),
    "MobileNetV2": Application("mobilenet_v2", 224, 1280),
    "MobileNetV3Large": Application("mobilenet_v3", 224, 960),
    "MobileNetV3Small": Application("mobilenet_v3", 224, 576),
    "NASNetLarge": Application("nasnet", 331, 4032),
    "NASNetMobile": Application("nasnet", 224, 1056),
    "ResNet50": Application("resnet", 224, 2048),
    "ResNet101": Application("resnet", 224, 2048),
    "ResNet152": Application("resnet", 224, 2048),
    "ResNet50V2": Application("resnet_v2", 224, 2048),
    "ResNet101V2": Application("resnet_v2", 224, 2048),
    "ResNet152V2": Application("resnet_v2", 224, 2048),
    "VGG16": Application("vgg16", 224, 512),
    "VGG19": Application("vgg19", 224, 512),
    "Xception": Application("xception", 299, 2048),
}


class Published(NamedTuple):
    """The file of weights that this version of Keras fetches for a network."""

    file: str
    origin: str
    digest: str | None
    """MD5 or SHA-256, in hex; Keras knows none for some."""


class KerasApplication(PhotoNetwork):
    """One of Keras Applications, without its classifier.

    Args:
        application: its class in ``keras.applications``, such as ``InceptionV3``.
        weights: a file (.h5 or .weights.h5) instead of Keras's download: the one that Keras publishes, or one saved
            from the network trained further; its classifier may be in it. (``keras.applications`` builds EfficientNet
            B0 to B7 with one more rescaling for its own weights than for none: the file is taken to be of the former.)
        size: side of the photos in pixels, where it is not to be the one that the network was trained on.
        precision: see `frozen.Precision`.

    Raises:
        EncoderError: there is no such application, or an option makes no sense.
    """

    batch = 32

    def __init__(
        self, application: str, *, weights: str | None = None, size: int | None = None, precision: str = "float32"
    ) -> None:
        if application not in APPLICATIONS:
            near = difflib.get_close_matches(application, APPLICATIONS, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(APPLICATIONS)}"
            raise EncoderError(f"Keras Applications has no {application!r}; {hint}")
        self.application, self.name = application, f"keras:{application}"
        self._family, default, self.dim = APPLICATIONS[application]
        self.size = checked_size(default if size is None else size)
        self._given = None if weights is None else Path(str(weights)).expanduser()
        self._precision = checked_precision(precision)

    def spec(self) -> dict[str, Any]:
        return {
            "weights": self._digest,
            "network": f"Keras Applications {self.application}, average over the picture",
            "input": [self.size, self.size, "the application's own preprocess_input"],
            "pixels": PIXELS,
            "normalisation": None,
            **in_spec(self._precision),
        }

    def trainable(self) -> Any:
        """A new Keras model, pixels (n, size, size, 3) from 0 to 255 → vectors (n, dim)."""
        return self._model(self._file)

    def in_graph(self, network: Any = None) -> InGraph:
        """The network with its preprocessing."""
        exportable(self.name, self._precision)
        model = self.trainable() if network is None else network
        call = lambda pixels: model(tensorflow().cast(pixels, "float32"), training=False)  # noqa: E731
        return InGraph(call, variables_of(model), self.size)

    def here(self) -> bool:
        """The file of weights lies where it belongs. Fetches nothing and starts no TensorFlow."""
        if self._given is not None:
            return self._given.is_file()
        known = self._noted()
        return known is not None and _whole(self._place(known), known.digest)

    def pull(self, source: Path | None = None) -> None:
        """Let Keras fetch its weights, or keep a copy of that file, got elsewhere, in headstart's own cache.

        Raises:
            EncoderError: it cannot be fetched, or the source is not the file that Keras publishes.
        """
        if self._given is not None:
            if source is not None:
                raise EncoderError(f"{self.name} reads its weights from {self._given}: copy {source} there")
        elif source is not None:
            self._install(source)
        self.spec()

    @cached_property
    def _file(self) -> Path:
        """The weights; fetched where they are not here."""
        if self._given is not None:
            if not self._given.is_file():
                raise EncoderError(f"{self.name}: there is no file of weights {self._given}")
            return self._given
        place = self._place(self._published)
        return place if _whole(place, self._published.digest) else self._fetch()

    @cached_property
    def _digest(self) -> str:
        return file_digest(self._file)

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        model, shape = self.trainable(), (None, self.size, self.size, 3)
        return frozen(lambda x: model(x, training=False), shape, "uint8", precision=self._precision)

    @cached_property
    def _published(self) -> Published:
        """Known from a note, or learnt by asking the application for its weights and hearing what it would fetch."""
        if known := self._noted():
            return known
        heard: list[Published] = []

        def hear(fname: str, origin: str, *, file_hash: str | None = None, **_: Any) -> str:
            heard.append(Published(fname, origin, file_hash))
            raise _Heard

        with self._explaining(), suppress(_Heard), _fetching_by(hear):
            self._build(weights="imagenet")
        write_note(NOTE, self._key, heard[0]._asdict())
        return heard[0]

    def _noted(self) -> Published | None:
        note = read_note(NOTE, self._key)
        return None if note is None else Published(note["file"], note["origin"], note["digest"])

    @property
    def _key(self) -> str:
        return json.dumps([1, self.application, self.size, importlib.metadata.version("keras")])

    def _pulled(self, published: Published) -> Path:
        """Where a file got elsewhere is kept: not where Keras looks, which would take it for its own."""
        return cache_folder() / NOTE / published.file

    def _place(self, published: Published) -> Path:
        pulled = self._pulled(published)
        return pulled if pulled.is_file() else _keras_home() / "models" / published.file

    def _fetch(self) -> Path:
        file, origin, digest = self._published
        say(f"{self.name}: fetching {file} into {_keras_home() / 'models'}")
        try:
            _keras_home().mkdir(parents=True, exist_ok=True)
            with redirect_stdout(sys.stderr):  # Keras's progress; results alone go to stdout
                return Path(
                    keras().utils.get_file(
                        file, origin, cache_subdir="models", file_hash=digest, cache_dir=str(_keras_home())
                    )
                )
        except Exception as error:  # of the network or of the disk
            raise EncoderError(
                f"{self.name}: {file} is not in {_keras_home() / 'models'} and could not be fetched "
                f"({one_line(error)}): run once online, or got elsewhere give it as "
                f"keras:{self.application}#weights=FILE, or `headstart encoders pull {self.name} --from FILE`"
            ) from None

    def _install(self, source: Path) -> None:
        """Keep a copy of Keras's own file, got elsewhere."""
        published = self._published
        if not source.is_file():
            raise EncoderError(f"{self.name}: there is no file {source}")
        if not _whole(source, published.digest) or source.name.endswith(".weights.h5"):
            raise EncoderError(
                f"{self.name}: {source} is not the {published.file} that Keras publishes; give weights of your own as "
                f"keras:{self.application}#weights={source}"
            )
        self._model(source)
        place = self._pulled(published)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as file:
                write_atomically(place, lambda copy: shutil.copyfileobj(file, copy))
        except OSError as error:
            raise EncoderError(f"{self.name}: {source} cannot be copied to {place} ({one_line(error)})") from None

    def _model(self, file: Path) -> Any:
        """Preprocessing and network, with the weights in that file."""
        k = keras()
        pixels = k.layers.Input((self.size, self.size, 3), name="pixels")
        family = getattr(k.applications, self._family)
        return k.Model(pixels, self._network(file)(family.preprocess_input(pixels)), name=self.application)

    def _network(self, file: Path) -> Any:
        with self._explaining(file):
            # Keras builds EfficientNet differently for the weights that it publishes: let it load them itself.
            if self._given is None or self._family == "efficientnet":
                with _fetching_by(lambda *_, **__: str(file)):
                    try:
                        return self._build(weights="imagenet")
                    except ValueError:  # the classifier is in it, too
                        if self._given is None or self.size != APPLICATIONS[self.application].size:
                            raise
                        whole = self._build(weights="imagenet", include_top=True, input_shape=None, pooling=None)
                        return keras().Model(whole.input, whole.get_layer("avg_pool").output)
            network = self._build(weights=None)
            try:
                network.load_weights(file)
            except ValueError:  # the classifier is in it, too; its layers come last
                whole = self._build(weights=None, include_top=True, input_shape=None, pooling=None)
                whole.load_weights(file)
                network.set_weights(whole.get_weights()[: len(network.weights)])
            return network

    def _build(self, **options: Any) -> Any:
        make, shape = getattr(keras().applications, self.application), (self.size, self.size, 3)
        return make(**{"include_top": False, "pooling": "avg", "input_shape": shape, **options})

    @contextmanager
    def _explaining(self, file: Path | None = None) -> Iterator[None]:
        """Keras refuses sizes and files with errors of many kinds, and warns of each layer before."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (EncoderError, _Heard):
            raise
        except Exception as error:
            reason = one_line(error).rstrip(":")
            if file is None:
                message = f"Keras cannot build it for photos of {self.size} pixels ({reason}): give another size"
            else:
                message = (
                    f"Keras cannot put the weights in {file} into it, for photos of {self.size} pixels ({reason}): "
                    "give the whole .h5 or .weights.h5 file of this very application, or another size"
                )
            raise EncoderError(f"{self.name}: {message}") from None


class _Heard(Exception):
    """Ends the building of a network when its file is known."""


def _keras_home() -> Path:
    """Where Keras keeps what it fetches."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def _whole(file: Path, digest: str | None) -> bool:
    """The file is there and, as far as Keras knows its digest, is what Keras publishes."""
    if digest is None or not file.is_file():
        return file.is_file()
    with file.open("rb") as opened:
        kind = "md5" if len(digest) == 32 else "sha256"
        return hashlib.file_digest(opened, kind).hexdigest() == digest


@contextmanager
def _fetching_by(fetch: Callable[..., str]) -> Iterator[None]:
    """Applications ask `fetch` for their file of weights: Keras has no public way to say which it is."""
    keras()
    from keras.src.utils import file_utils

    before = file_utils.get_file
    file_utils.get_file = fetch
    try:
        yield
    finally:
        file_utils.get_file = before
