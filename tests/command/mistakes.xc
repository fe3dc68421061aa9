# Mistakes of four kinds: too many segments, an unknown attribute, an unknown layer, an unclosed bracket.
model mistakes
param width = 8 in 1..64
input image 8 x 8 x 3
sepconv 16, 3x3, segments: 12
conv width, 3x3, stride: 2
batchnorm
dense (10
