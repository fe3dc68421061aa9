model m
param size
relu
