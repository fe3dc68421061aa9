"""Keras models with seeded weights: the numbers that xcc takes when it is run with `--seed` and without a weight file."""

import math
from pathlib import Path

import numpy as np

from seeded_weights import tensor

SEED = 0
GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "golden"
"""Where the committed results lie."""


def seed_model(model):
    """Sets every weight of a Keras model (Keras 3 or tf_keras) from the generator; returns the model."""
    for layer in model.layers:
        roles = [role_of(weight) for weight in layer.weights]
        layer.set_weights([
            tensor(f"{layer.name}/{role}", weight.shape, role, fan_in(weight.shape, role), SEED)
            for role, weight in zip(roles, layer.weights, strict=True)])
    return model


def role_of(weight):
    """`kernel`, `gamma`, ...; Keras 3 names a weight `kernel`, tf_keras `block1_conv1/kernel:0`."""
    return weight.name.split("/")[-1].split(":")[0]


def fan_in(shape, role):
    """How many inputs meet in one output element; only kernels have a use for it."""
    if role == "depthwise_kernel":
        return math.prod(shape[:2])
    return math.prod(shape[:-1]) if role.endswith("kernel") else 1


def seeded_input(shape):
    """An input batch of this shape, uniform in -1..1: the generator's tensor `input`, as a kernel of fan-in 6."""
    return tensor("input", shape, "kernel", 6, SEED)


def logits_model(keras, model):
    """The same model without its final softmax; it shares the layers' weights."""
    last = model.layers[-1]
    linear = last.__class__.from_config({**last.get_config(), "activation": "linear", "name": "logits"})
    logits = linear(last.input)
    linear.set_weights(last.get_weights())
    return keras.Model(model.input, logits)


def softmax(logits):
    """exp(x) / sum(exp(x)) along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
