model m
input image 32 x 32 x 3
conv 8, 1x1 as a
from image
conv 16, 1x1 as b
add a, b
