model m
input image 32 x 32 x 16
conv 16, 3x3, segments: []
