model m
input image 32 x 32 x 3
conv 4611686018427387904 * 2, 3x3
