"""The network of specs/digits.xc in Keras, layer by layer under the same names."""

import keras
from keras import layers


def build():
    """Returns the untrained model: 28 x 28 x 1 in 0..1 to ten probabilities."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="block1_conv")(image)
    x = layers.BatchNormalization(name="block1_conv_bn")(x)
    x = _downsample(x, "block2", 32)
    x = _downsample(x, "block3", 64)
    x = layers.Add()([_unit(_unit(x, "block4_sepconv1", 64), "block4_sepconv2", 64), x])
    x = _unit(x, "block5_sepconv1", 128)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.2)(x)
    probabilities = layers.Dense(10, activation="softmax", name="predictions")(x)
    return keras.Model(image, probabilities, name="digits")


def _unit(x, name, filters):
    """Activation, separable convolution, normalisation: Xception's building block."""
    x = layers.ReLU()(x)
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def _downsample(x, block, filters):
    """Two units and a pool, with a strided pointwise convolution as shortcut."""
    main = _unit(_unit(x, f"{block}_sepconv1", filters), f"{block}_sepconv2", filters)
    main = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{block}_pool")(main)
    shortcut = layers.Conv2D(filters, 1, strides=2, use_bias=False, name=f"{block}_shortcut")(x)
    shortcut = layers.BatchNormalization(name=f"{block}_shortcut_bn")(shortcut)
    return layers.Add()([main, shortcut])
