"""Writes a network of 291 numbers with seeded weights in every Keras layout: fixtures of a few kilobytes.

    python examples/golden/keras_tiny.py FOLDER

Also writes input.npy (1 x 9 x 9 x 3, the seeded input), logits.npy and probabilities.npy (1 x 5, by Keras in float32),
and reads every file back with Keras. The network has what makes a layout hard to read: a residual block whose shortcut
is created before the main path but comes after it in Keras' order of layers, and whose layers have counted names.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tf_keras

from keras_layouts import write_all
from read_back import check_outputs
from seeded_model import logits_model, seed_model, seeded_input, softmax


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (keras3_model, created), (keras2_model, _) = build(keras), build(tf_keras)
    seed_model(keras3_model)
    seed_model(keras2_model)
    batch = seeded_input((1, 9, 9, 3))
    logits = logits_model(keras, keras3_model)(batch, training=False).numpy()
    paths = write_all(keras3_model, keras2_model, created, folder)
    np.save(folder / "input.npy", batch)
    np.save(folder / "logits.npy", logits)
    np.save(folder / "probabilities.npy", softmax(logits))
    check_outputs(paths, keras3_model, keras2_model, batch, logits)


def build(package):
    """Returns the model, made with Keras 3 or tf_keras, and the names of its layers as they were created."""
    layers, created = package.layers, []

    def put(layer, *inputs):
        created.append(layer.name)
        return layer(inputs[0] if len(inputs) == 1 else list(inputs))

    image = package.Input((9, 9, 3), name="image")
    created.append("image")
    x = put(layers.Conv2D(4, 3, strides=2, use_bias=False, name="stem"), image)
    x = put(layers.BatchNormalization(name="stem_bn"), x)
    x = put(layers.ReLU(name="stem_act"), x)
    shortcut = put(layers.Conv2D(6, 1, use_bias=False), x)
    shortcut = put(layers.BatchNormalization(), shortcut)
    main = put(layers.SeparableConv2D(6, 3, padding="same", use_bias=False, name="sepconv"), x)
    main = put(layers.BatchNormalization(name="sepconv_bn"), main)
    x = put(layers.Add(), main, shortcut)
    x = put(layers.GlobalAveragePooling2D(name="avg_pool"), x)
    x = put(layers.Dense(5, activation="softmax", name="predictions"), x)
    return package.Model(image, x, name="tiny"), created


if __name__ == "__main__":
    main()
