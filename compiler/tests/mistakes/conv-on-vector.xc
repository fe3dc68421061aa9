model m
input image 32 x 32 x 3
flatten as flat
conv 8, 3x3
