"""Seeded random weights, the same numbers as `xcc run --seed`: a restatement of runtime/src/weights/random.rs.

`tensor(name, shape, role, fan_in, seed)` gives one tensor; `name` is the full name (`block1_conv1/kernel`), `role` is
Keras' word for it, `fan_in` counts the inputs that meet in one output element: taps times input channels of a
segment for a kernel (9 for a 3x3 depthwise one), input channels for a pointwise or dense kernel.
"""

# Bits of elements 0, 1 and the last one; the tests of random.rs hold the same:
#   block1_conv1/kernel 3x3x3x32, fan-in 27, seed 0:                     3e2d66ab 3e512a97 bdf94990
#   block2_sepconv1/depthwise_kernel 3x3x64x1, fan-in 9, seed 0:         bec01742 bda27c92 3c78087e
#   block2_sepconv1/depthwise_kernel 3x3x64x1, fan-in 9, seed 2**64 - 1: beb3d438 be8fbc45 3ee8c03a
#   block1_conv1_bn/gamma 32, seed 7:                                    3f2a2e9c 3f5d5b7b 3f45d61e
#   block1_conv1_bn/moving_variance 32, seed 7:                          3f86f2d5 3f722d96 3f723ddb
#   predictions/bias 1000, seed 7:                                       bd9833ee 3de8522a bda0dba4

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
# role: centre and half width of a uniform distribution; kernels have 0 and sqrt(6 / fan_in), depthwise ones sqrt(3 / fan_in).
DISTRIBUTION = {
    "bias": (0.0, 0.125),
    "gamma": (0.71875, 0.21875),
    "beta": (0.0, 0.125),
    "moving_mean": (0.0, 0.125),
    "moving_variance": (1.0, 0.25),
}


def mix(z):
    """The finaliser of SplitMix64, on an array of uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a(text):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def tensor(name, shape, role, fan_in, seed):
    """The float32 array of one parameter tensor."""
    gain = 3.0 if role == "depthwise_kernel" else 6.0
    centre, half = DISTRIBUTION.get(role, (0.0, np.sqrt(gain / fan_in)))
    key = mix(np.array([fnv1a(name)], np.uint64) ^ mix(np.array([seed], np.uint64)))
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    bits = mix(key + np.uint64(GOLDEN) * index) >> np.uint64(11)
    uniform = bits.astype(np.float64) / 2.0**52 - 1.0
    return (centre + half * uniform).astype(np.float32).reshape(shape)
