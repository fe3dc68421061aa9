model m
input image 32 x 32 x 3
conv mix(8, 16), 3x3
