model m
param size
input image 8 x 8 x 3
relu
