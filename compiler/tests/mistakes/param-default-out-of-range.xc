model m
param size = 32 in 71..2048
input image size x size x 3
relu
