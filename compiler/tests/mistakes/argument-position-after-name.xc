model m
input image 32 x 32 x 3
conv filters: 8, 3x3
