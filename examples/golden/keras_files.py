"""Writes full Xception with seeded weights at 71 x 71 in every Keras layout, about 90 MB a file.

    python examples/golden/keras_files.py FOLDER

The outputs that a reader must reproduce are tests/golden/xception_71_*.npy (seeded input) and texture_71_*.npy
(texture_71.png). Each file is read back by a Keras that can, and its outputs are compared with those.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tf_keras

from keras_layouts import write_all
from read_back import check_outputs
from seeded_model import GOLDEN, seed_model, seeded_input
from xception import scaled_texture

SHAPE = (71, 71, 3)
RESIDUAL_BLOCKS = (2, 3, 4, 13)
"""The blocks whose shortcut has a convolution and a normalisation; Keras numbers those without naming the block."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    keras3_model = seed_model(keras.applications.Xception(weights=None, input_shape=SHAPE))
    keras2_model = seed_model(tf_keras.applications.Xception(weights=None, input_shape=SHAPE))
    paths = write_all(keras3_model, keras2_model, creation_order(keras3_model), folder)
    batch = np.concatenate([seeded_input((1, *SHAPE)), scaled_texture().astype(np.float32)])
    expected = np.concatenate([np.load(GOLDEN / f"{name}_71_logits.npy") for name in ("xception", "texture")])
    check_outputs(paths, keras3_model, keras2_model, batch, expected)


def creation_order(model):
    """Layer names in the order in which Xception's code makes them: a block's shortcut before its main path."""
    return sorted((layer.name for layer in model.layers), key=creation_key)


def creation_key(name):
    """(block, rank within the block); sorting by it keeps layers of equal rank in order."""
    for stem in ("conv2d", "batch_normalization"):
        if name.split(stem)[0] == "" and "block" not in name:
            return RESIDUAL_BLOCKS[int(name.removeprefix(stem).lstrip("_") or 0)], 0
    if name.startswith("block"):
        return int(name.removeprefix("block").split("_")[0]), 1
    if name.split("_")[0] == "add":
        return int(name.removeprefix("add").lstrip("_") or 0) + RESIDUAL_BLOCKS[0], 2
    return (0, 0) if name.startswith("input") else (99, 0)


if __name__ == "__main__":
    main()
