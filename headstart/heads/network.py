"""A head of a bank as a Keras model of its own, for saving and serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.heads.config import HeadConfig
from headstart.heads.groups import Group
from headstart.runtime import keras, tensorflow


def plain_network(config: HeadConfig, group: Group, side: int, place: int, logits: bool = False) -> Any:
    """The head at this side and place of a group.

    Its inputs are the vectors of the head's encoders, in the order of its config, and their presence bits ``(n, E)``;
    its output is the probabilities ``(n, K)``, or their `logits`. Centring and scaling are folded into the weights.
    """
    from headstart.heads.layer import through_gate

    layers, ops, layer = keras().layers, keras().ops, group.layer
    last = "linear" if logits else "softmax"
    column = place - group.numbers.shape[1]  # from the end: scouts come first
    names = config.encoders
    vectors = {
        name: keras().Input((group.rows.dims[name],), name=f"vectors_{number}") for number, name in enumerate(names)
    }
    present = keras().Input((len(names),), name="present")
    bits = {name: present[:, number : number + 1] for number, name in enumerate(names)}
    weights: dict[str, list[np.ndarray]] = {}

    def dense(inputs: list[Any], name: str, kernel: np.ndarray, bias: np.ndarray, activation: str | None) -> Any:
        weights[name] = [kernel, bias]
        joined = layers.Concatenate(name=f"{name}_inputs")(inputs)
        return layers.Dense(len(bias), activation=activation, name=name)(joined)

    units, width = layer.shape_.units, layer.shape_.width
    values, gates = [], []
    for number in range(len(layer.parts)):
        kernel, presence, bias = group.raw_layer(number, side, column)
        own = [name for name in names if name in kernel]
        stacked = np.concatenate([*(kernel[name] for name in own), *(presence[name][None] for name in own)])
        inputs = [*(vectors[name] for name in own), *(bits[name] for name in own)]
        label = "category" if width == units == layer.shape_.classes and not layer.shape_.hidden else f"first_{number}"
        activation = "relu" if layer.shape_.hidden else last if label == "category" else None
        values.append(dense(inputs, label, stacked[:, :units], bias[:units], activation))
        if layer.shape_.gated:
            gates.append(dense(inputs, f"gate_{number}", stacked[:, units:], bias[units:], None))
    out = values[0]
    if layer.shape_.gated:
        gate = layers.Activation("sigmoid", name="gate")(layers.Add(name="gate_sum")(gates))
        there = [
            ops.max(layers.Concatenate(name=f"there_{number}")([bits[n] for n in each] * 2), axis=1, keepdims=True)
            for number, each in enumerate(group.kinds)
        ]
        out = through_gate(gate, values, there)
    if layer.shape_.hidden:
        kernel, bias = (weight.numpy()[side, :, column] for weight in layer.out_layer())
        weights["category"] = [kernel, bias[0]]
        out = layers.Dense(layer.shape_.classes, activation=last, name="category")(out)
    elif layer.shape_.gated:
        out = layers.Activation(last, name="category")(out)
    model = keras().Model([*vectors.values(), present], out)
    for name, each in weights.items():
        model.get_layer(name).set_weights(each)
    return model


def traced(network: Any) -> Callable[..., np.ndarray]:
    """A Keras model as a function of its inputs' arrays, in inference mode.

    As a graph it answers a single listing in a tenth of the time that Keras takes to call its layers.
    """
    tf = tensorflow()
    specs = [tf.TensorSpec(each.shape, each.dtype) for each in network.inputs]
    call = tf.function(lambda *inputs: network(list(inputs), training=False), autograph=False)
    graph = call.get_concrete_function(*specs)
    return lambda *arrays: np.asarray(graph(*map(tf.constant, arrays)))
