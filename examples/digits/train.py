"""Trains the network of specs/digits.xc and writes its weights, the held-out images and a few PNG digits.

    python examples/digits/train.py              # trains on 4,000 images, writes everything
    python examples/digits/train.py --validate   # trains on 3,600, prints the accuracy on the other 400, writes nothing

The schedule is fixed in advance: no epoch is chosen by its result. See README.md for packages and versions.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

import mnist
import network

HERE = Path(__file__).resolve().parent
SPECS = HERE.parent.parent / "specs"
SEED = 7
EPOCHS = 80
BATCH = 50
PEAK_RATE = 4e-3
LABEL_SMOOTHING = 0.05


class Augmented(keras.utils.PyDataset):
    """Batches of freshly augmented images in a new order each epoch."""

    def __init__(self, images, labels):
        super().__init__()
        self.images = mnist.scale(images)
        self.targets = np.eye(mnist.CLASSES, dtype=np.float32)[labels]
        self.rng = np.random.default_rng(SEED)
        self.order = self.rng.permutation(len(labels))

    def __len__(self):
        return len(self.order) // BATCH

    def __getitem__(self, index):
        chosen = self.order[index * BATCH:(index + 1) * BATCH]
        return mnist.augment(self.images[chosen], self.rng), self.targets[chosen]

    def on_epoch_end(self):
        self.order = self.rng.permutation(self.order)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validate", action="store_true", help="hold back 400 training images and report on them")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()

    images, labels = mnist.load()
    training, validation, held_out = mnist.split(labels)
    if arguments.validate:
        model = train(images[training], labels[training], arguments.epochs)
        report("validation", model, images[validation], labels[validation])
        return
    training = np.concatenate([training, validation])
    model = train(images[training], labels[training], arguments.epochs)
    probabilities = report("held-out", model, images[held_out], labels[held_out])
    write(model, images[held_out], labels[held_out], probabilities)


def train(images, labels, epochs):
    """Returns the model after `epochs` epochs of AdamW with a short warm-up and a cosine decay to zero."""
    keras.utils.set_random_seed(SEED)
    model = network.build()
    batches = Augmented(images, labels)
    steps = epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - steps // 20, warmup_target=PEAK_RATE, warmup_steps=steps // 20)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.01),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
        metrics=["accuracy"])
    model.fit(batches, epochs=epochs, verbose=2)
    return model


def report(name, model, images, labels):
    """Prints how many images are classified right; returns the probabilities, N x 10."""
    probabilities = model.predict(mnist.scale(images), batch_size=100, verbose=0)
    right = int((probabilities.argmax(axis=1) == labels).sum())
    print(f"{name}: {right} of {len(labels)} right ({100 * right / len(labels):.1f} %), {model.count_params()} parameters")
    return probabilities


def write(model, images, labels, probabilities):
    """Writes the weights under xcc's names, the held-out set, Keras' probabilities for it, and the PNG digits."""
    tensors = {f"{layer.name}/{weight.name}": np.ascontiguousarray(weight.numpy(), dtype=np.float32)
               for layer in model.layers for weight in layer.weights}
    save_file(tensors, SPECS / "digits.safetensors", metadata={"made_by": "examples/digits/train.py"})
    np.save(HERE / "held_out_images.npy", images)
    np.save(HERE / "held_out_labels.npy", labels)
    np.save(HERE / "held_out_probabilities.npy", probabilities)
    for index in digits_to_show(labels, probabilities):
        Image.fromarray(images[index, :, :, 0]).save(HERE / f"{labels[index]}_{index:03}.png")


def digits_to_show(labels, probabilities):
    """The first held-out image of each class, and the two right answers that the network is least sure of."""
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(mnist.CLASSES)]
    sure = probabilities.max(axis=1)
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    return first + right[np.argsort(sure[right])][:2].tolist()


if __name__ == "__main__":
    main()
