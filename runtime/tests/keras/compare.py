"""Compares the files that the tests' writer makes (runtime/tests/common/keras) with those that Keras writes.

    XCC_KERAS_DUMP=/tmp/drawn cargo test -p xcc-runtime --test keras_graphs dump -- --ignored
    KERAS_BACKEND=jax python compare.py /tmp/drawn 3         # Keras 3: pip install keras h5py jax scipy
    python compare.py /tmp/drawn 2                           # tf_keras: pip install tensorflow-cpu tf_keras h5py

Each `N-3.json` (or `N-2.json`) describes a model: layers in creation order, with names where a person gave them. It is
built here layer by layer and saved in every format; the same layers, groups, attributes and numbers must be in both
files, and each field of our descriptions must be in those of Keras with the same value.
"""

import collections
import glob
import json
import os
import sys
import tempfile
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

# Our formats, by the era that writes them: file name, and whether groups say the names of layers.
FORMATS = {"3": ["model.h5", "model.weights.h5", "model.keras"], "2": ["model.h5", "weights.h5", "model.keras"]}


def stems(model):
    """The classes of a model's layers, and of models in it."""
    for layer in model["layers"]:
        yield layer["class"]
        if layer["model"]:
            yield from stems(layer["model"])


def start_counting(keras, era, described):
    """Lets Keras count names as if it had made so many layers of each class before."""
    keras.backend.clear_session()
    made_before = described["made_before"]
    if era == "3" and made_before:
        from keras.src.backend.common import global_state
        from keras.src.utils.naming import to_snake_case
        counts = {to_snake_case(stem): made_before for stem in [*stems(described), "Functional", "Sequential"]}
        global_state.set_global_attribute("object_name_uids", collections.defaultdict(int, counts))
    elif era == "2":
        keras.src.backend.get_default_graph_uid_map().default_factory = lambda: made_before
        for _ in range(made_before):
            keras.backend.get_uid("input")


def build(keras, described):
    """The model, made layer by layer; checks the names that Keras makes up for layers."""
    values, layers = [], []
    for layer in described["layers"]:
        config = dict(layer["attributes"])
        if layer["given"]:
            config["name"] = layer["name"]
        inputs = [values[at] for at in layer["inputs"]]
        if layer["class"] == "InputLayer":
            made = keras.Input(shape=tuple(layer["shape"]))
            values.append(made)
            continue
        if layer["model"]:
            made = build(keras, layer["model"])
        else:
            made = getattr(keras.layers, layer["class"])(**config)
        assert made.name == layer["name"], f"{made.name} is not {layer['name']}"
        joins = layer["class"] in ("Add", "Concatenate")
        layers.append(made)
        values.append(made(inputs if joins else inputs[0]))
        if layer["frozen"]:
            made.trainable = False
        if layer["tensors"]:
            arrays = [np.array(t["values"], "float32").reshape(t["shape"]) for t in layer["tensors"]]
            made.set_weights(arrays)
    # Models have their names given: in Keras 3 a Sequential counts as several functional models while it is built.
    if described["sequential"]:
        return keras.Sequential([values[0], *layers], name=described["name"])
    return keras.Model(values[0], values[described["output"]], name=described["name"])


def contents(file):
    """Groups and attributes that readers look at, and all numbers, by path."""
    found = {}

    def visit(path, item):
        for name in ("layer_names", "weight_names", "name"):
            if name in item.attrs:
                value = item.attrs[name]
                text = lambda part: part.decode() if isinstance(part, bytes) else str(part)
                found[path, name] = text(value) if np.ndim(value) == 0 else [text(part) for part in value]
        found[path] = item[()].tolist() if isinstance(item, h5py.Dataset) else None

    visit("/", file)
    file.visititems(visit)
    # Keras 3 makes no groups for layers without weights in nameless files.
    return {key: value for key, value in found.items() if value is not None}


def differences(ours, theirs, path=""):
    """Fields of our description that are not alike in Keras'."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key == "module" or key == "registered_name":
                continue
            if key not in theirs:
                yield f"{path}/{key}: missing in Keras'"
            else:
                yield from differences(value, theirs[key], f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (a, b) in enumerate(zip(ours, theirs)):
            yield from differences(a, b, f"{path}/{at}")
    elif ours != theirs:
        yield f"{path}: {ours!r} is {theirs!r} in Keras'"


def flat(value):
    """References to inputs and outputs are one list, or a list of lists."""
    if isinstance(value, dict):
        value = {key: flat(part) for key, part in value.items()}
        for key in ("input_layers", "output_layers"):
            if key in value and isinstance(value[key][0], str):
                value[key] = [value[key]]
        # An object that is written for the second time has an id.
        value.pop("shared_object_id", None)
    elif isinstance(value, list):
        value = [flat(part) for part in value]
    return value


def compare_files(ours, theirs):
    """What is not alike in two HDF5 files."""
    a, b = contents(ours), contents(theirs)
    for key in sorted(set(a) | set(b), key=str):
        if a.get(key) != b.get(key):
            yield f"{key}: {str(a.get(key))[:200]} is {str(b.get(key))[:200]} in Keras'"


def described_in(path):
    """The description in a file; nothing if there is none."""
    if path.endswith(".keras"):
        return json.loads(zipfile.ZipFile(path).read("config.json"))
    with h5py.File(path) as file:
        text = file.attrs.get("model_config")
    return json.loads(text) if text is not None else {}


def weights_in(path):
    """The HDF5 file that holds the weights of a file."""
    if path.endswith(".keras"):
        import io
        return h5py.File(io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5")))
    return h5py.File(path)


def compare(ours, theirs):
    """What is not alike in two files of a format."""
    yield from compare_files(weights_in(ours), weights_in(theirs))
    yield from differences(flat(described_in(ours)), flat(described_in(theirs)))


def main(folder, era):
    """Compares the files of all models of an era."""
    if era == "3":
        import keras
    else:
        import tf_keras as keras
    wrong = files = 0
    for path in sorted(glob.glob(os.path.join(folder, f"*-{era}.json"))):
        with open(path) as text:
            described = json.load(text)
        start_counting(keras, era, described)
        model = build(keras, described)
        for name in FORMATS[era]:
            with tempfile.TemporaryDirectory() as temporary:
                saved = os.path.join(temporary, name)
                model.save_weights(saved) if "weights" in name else model.save(saved)
                found = list(compare(path.replace(".json", "-" + name), saved))
            files += 1
            wrong += bool(found)
            for line in found[:5]:
                print(f"{os.path.basename(path)}, {name}: {line}")
    print(f"{files} files, {wrong} not as Keras writes them")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
