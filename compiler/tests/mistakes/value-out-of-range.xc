model m
input image 32 x 32 x 3
conv 0, 3x3
