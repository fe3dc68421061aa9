model m
param a = 3 in 7
input image 8 x 8 x a
relu
