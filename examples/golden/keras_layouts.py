"""Writes one network in every layout of weight files that Keras has had.

    keras3.weights.h5        Keras 3 save_weights: groups by class counter, layer names as attributes
    keras3.keras             Keras 3 save: a zip archive of the same and config.json
    keras3_whole.h5          Keras 3 save to HDF5: layer_names and weight_names under /model_weights, no `:0`
    keras3_weights.h5        the same tree at the root
    keras2_weights.h5        tf_keras (Keras 2) save_weights to HDF5: layer_names and weight_names at the root
    keras2_whole.h5          tf_keras save to HDF5: the same under /model_weights
    keras2.keras             tf_keras save: as keras3.keras, but no attributes at all
    keras1_weights.h5        as Keras 1 wrote it: numbered groups, `_W`, `_running_std`, fixed-length strings
    keras1_whole.h5          the same under /model_weights

Keras 1 does not run on a Python of today, so its two files are written with h5py.
"""

from collections import Counter

import h5py
import numpy as np
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from seeded_model import role_of

KERAS1_CLASSES = {
    "InputLayer": "input", "Conv2D": "convolution2d", "SeparableConv2D": "separableconvolution2d",
    "BatchNormalization": "batchnormalization", "MaxPooling2D": "maxpooling2d", "Add": "merge",
    "GlobalAveragePooling2D": "globalaveragepooling2d",
}
KERAS1_ROLES = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}


def write_all(keras3_model, keras2_model, creation_order, folder):
    """Writes every layout into `folder`; returns the paths.

    `creation_order` lists the names of the layers as the program created them, which Keras 1 numbered them by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keras3_model.save_weights(folder / "keras3.weights.h5")
    keras3_model.save(folder / "keras3.keras")
    keras3_model.save(folder / "keras3_whole.h5")
    with h5py.File(folder / "keras3_weights.h5", "w") as file:
        save_weights_to_hdf5_group(file, keras3_model)
    keras2_model.save_weights(folder / "keras2_weights.h5")
    keras2_model.save(folder / "keras2_whole.h5")
    keras2_model.save(folder / "keras2.keras")
    names = keras1_names(keras3_model, creation_order)
    with h5py.File(folder / "keras1_weights.h5", "w") as file:
        write_keras1(keras3_model, names, file)
    with h5py.File(folder / "keras1_whole.h5", "w") as file:
        write_keras1(keras3_model, names, file.create_group("model_weights"))
    return sorted(path for path in folder.iterdir() if path.suffix in (".h5", ".keras"))


def keras1_names(model, creation_order):
    """Keras 1's name for each layer: its class and how many of that class had been created, from 1."""
    counts, names = Counter(), {}
    for name in creation_order:
        kind = type(model.get_layer(name)).__name__
        stem = KERAS1_CLASSES.get(kind, kind.lower())
        counts[stem] += 1
        names[name] = f"{stem}_{counts[stem]}"
    return names


def write_keras1(model, names, group):
    """Writes all layers, those without weights too, in the order of `model.layers`, as Keras 1 did."""
    group.attrs["layer_names"] = fixed_length([names[layer.name] for layer in model.layers])
    for layer in model.layers:
        name = names[layer.name]
        roles = [role_of(weight) for weight in layer.weights]
        datasets = [f"{name}_{KERAS1_ROLES.get(role, role)}:0" for role in roles]
        layer_group = group.create_group(name)
        layer_group.attrs["weight_names"] = fixed_length(datasets)
        for dataset, weight in zip(datasets, layer.get_weights(), strict=True):
            layer_group.create_dataset(dataset, data=weight)


def fixed_length(names):
    """Null-padded ASCII as h5py 2 stored it; an empty list becomes an empty float64 array."""
    return np.array([name.encode() for name in names])
