model m
param a = 1
param a = 2
input image 8 x 8 x a
relu
