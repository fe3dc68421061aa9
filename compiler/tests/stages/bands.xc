# A separable layer and the pool behind it: bands of two rows of the pool, of which the row they share is kept. The map
# between them is larger than the cache of the target that this is planned for.
model bands
input map 31 x 9 x 4
residual { sepconv 8, 3x3, padding: same; maxpool 3x3, strides: 2, padding: same } shortcut { conv 8, 1x1, strides: 2 }
