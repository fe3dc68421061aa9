model m
param width = 2 * base
param base = 16
input image 32 x 32 x 3
conv width, 3x3
