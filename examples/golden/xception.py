"""Golden outputs of full Xception (Chollet, arXiv 1610.02357) by Keras with seeded weights, in float64.

    python examples/golden/xception.py

Writes to tests/golden/, for each size of the input image (71 and 299) and its seeded input:

    xception_SIZE_logits.npy           1 x 1000, before the softmax
    xception_SIZE_probabilities.npy    1 x 1000
    xception_SIZE_layers.json          for each layer: shape, mean, std, min, max, l2 norm, first 8 values

and the same two arrays for an image, texture_71.png, which it draws. All arrays are float64.
"""

import json

import keras
import numpy as np
from PIL import Image

from seeded_model import GOLDEN, logits_model, seed_model, seeded_input, softmax

SIZES = (71, 299)
TEXTURE_SIDE = 71


def main():
    keras.config.set_floatx("float64")
    for size in SIZES:
        # Residual layers are named by a counter (conv2d, conv2d_1, ...) that must start afresh.
        keras.backend.clear_session()
        model = seed_model(keras.applications.Xception(weights=None, input_shape=(size, size, 3)))
        image = seeded_input((1, size, size, 3)).astype(np.float64)
        write_layers(f"xception_{size}", model, image)
        write_outputs(f"xception_{size}", model, image)
        if size == TEXTURE_SIDE:
            Image.fromarray(texture()).save(GOLDEN / f"texture_{size}.png")
            write_outputs(f"texture_{size}", model, scaled_texture())


def texture():
    """A picture with smooth and sharp parts: a gradient, rings, a checkerboard, and flat black and white squares."""
    y, x = np.mgrid[0:TEXTURE_SIDE, 0:TEXTURE_SIDE]
    red = x * 255 // (TEXTURE_SIDE - 1)
    green = ((x - 20) ** 2 + (y - 45) ** 2) // 7 % 256
    blue = np.where((x // 5 + y // 5) % 2 == 0, 230, 30)
    picture = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    picture[5:15, 5:15] = 0
    picture[50:62, 52:66] = 255
    return picture


def scaled_texture():
    """The texture as a batch of one in -1..1, as keras.applications.xception.preprocess_input maps it."""
    return texture()[None].astype(np.float64) / 127.5 - 1


def write_outputs(name, model, batch):
    """Writes logits and probabilities; the probabilities are checked against the model's own."""
    logits = predict(logits_model(keras, model), batch)
    probabilities = softmax(logits)
    np.testing.assert_allclose(predict(model, batch), probabilities, rtol=1e-9)
    print(f"{name}: logits {logits.min():.3f} .. {logits.max():.3f}, top class {logits.argmax()}")
    np.save(GOLDEN / f"{name}_logits.npy", logits)
    np.save(GOLDEN / f"{name}_probabilities.npy", probabilities)


def write_layers(name, model, batch):
    """Writes what each layer gives, as numbers that a person can compare."""
    layers = model.layers[1:]
    outputs = predict(keras.Model(model.input, [layer.output for layer in layers]), batch)
    rows = {layer.name: statistics(output[0]) for layer, output in zip(layers, outputs, strict=True)}
    for layer, row in rows.items():
        print(f"{layer:28} {str(row['shape']):16} mean {row['mean']:9.4f}  std {row['std']:9.4f}")
    lines = ",\n".join(f"{json.dumps(layer)}: {json.dumps(row)}" for layer, row in rows.items())
    (GOLDEN / f"{name}_layers.json").write_text(f"{{\n{lines}\n}}\n")


def statistics(values):
    """Shape, moments, extremes and the first values in memory order, rounded to 10 digits."""
    numbers = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max(),
               "l2": np.linalg.norm(values)}
    return {"shape": list(values.shape), **{key: rounded(number) for key, number in numbers.items()},
            "first": [rounded(number) for number in values.ravel()[:8]]}


def rounded(number):
    """Ten significant digits."""
    return float(f"{number:.10g}")


def predict(model, batch):
    """The outputs of a model; they must be float64."""
    outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, model(batch, training=False))
    for output in keras.tree.flatten(outputs):
        assert output.dtype == np.float64, "Keras computed in a narrower type than asked for"
    return outputs


if __name__ == "__main__":
    main()
