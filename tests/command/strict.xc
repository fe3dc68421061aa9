# A convolution that does not clamp its segments, and two parameters to sweep.
model strict
param segments = 2 in 1..64
param width = 8 in 1..64
param size = 8 in 4..8192
input image size x size x 8
conv width, 3x3, segments: segments as conv
relu as act
globalavgpool as pool
dense 4 as predictions
