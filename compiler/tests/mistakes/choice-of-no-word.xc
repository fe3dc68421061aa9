model m
input image 32 x 32 x 3
conv 8, 3x3, activation: mish
