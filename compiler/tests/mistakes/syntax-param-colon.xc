model m
param size: 299
input image size x size x 3
relu
