"""Checks weight files by letting Keras read them."""

import keras
import numpy as np
import tf_keras

from seeded_model import logits_model

TOLERANCE = 1e-4
"""Float32 against float64 over a whole network, relative to the largest output."""


def check_outputs(paths, keras3_model, keras2_model, batch, expected):
    """Prints how far each file's network is from the logits `expected`; fails when it is too far.

    Logits, because a softmax hides errors. The models serve as empty vessels for the files that hold weights only.
    """
    for path in paths:
        found = read_logits(path, keras3_model, keras2_model, batch)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        print(f"{path.name:20} {path.stat().st_size:>10} bytes, worst error of logits {error:.1e}")
        assert error < TOLERANCE, f"{path} does not give the expected outputs"


def read_logits(path, keras3_model, keras2_model, batch):
    """The logits of the network in a file."""
    keras2 = path.name.startswith("keras2")
    package = tf_keras if keras2 else keras
    if path.suffix == ".keras" or path.name in ("keras2_whole.h5", "keras3_whole.h5"):
        model = package.models.load_model(path, compile=False)
    else:
        model = keras2_model if keras2 else keras3_model
        model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
        model.load_weights(path)
    return logits_model(package, model)(batch, training=False).numpy()
