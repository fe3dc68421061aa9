model m
input image 2000 x 2000 x 3
conv 65536, 1x1, padding: same
