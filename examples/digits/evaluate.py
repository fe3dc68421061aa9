"""Counts right answers on the held-out digits.

    python examples/digits/evaluate.py              # by Keras, with the committed specs/digits.safetensors
    python examples/digits/evaluate.py Y.npy        # of an array that another program made: 1000 x 10
"""

import argparse
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent.parent / "specs" / "digits.safetensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, nargs="?")
    path = parser.parse_args().outputs
    labels = np.load(HERE / "held_out_labels.npy")
    probabilities = np.load(path).reshape(len(labels), -1) if path else by_keras()
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    for index in wrong:
        print(f"image {index}: a {labels[index]} taken for a {answers[index]}")
    print(f"{len(labels) - len(wrong)} of {len(labels)} right ({100 - 100 * len(wrong) / len(labels):.1f} %)")


def by_keras():
    """The probabilities that the committed weights give, put into the model by name."""
    from safetensors.numpy import load_file

    import network

    model, tensors = network.build(), load_file(WEIGHTS)
    for layer in model.layers:
        layer.set_weights([tensors.pop(f"{layer.name}/{weight.name}") for weight in layer.weights])
    assert not tensors, f"tensors without a layer: {sorted(tensors)}"
    images = np.load(HERE / "held_out_images.npy").astype(np.float32) / 255
    return model.predict(images, batch_size=100, verbose=0)


if __name__ == "__main__":
    main()
