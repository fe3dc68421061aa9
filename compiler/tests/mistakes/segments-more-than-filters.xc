model m
input image 32 x 32 x 16
conv 2, 3x3, segments: 4
