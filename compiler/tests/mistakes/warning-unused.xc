model m
input image 32 x 32 x 3
param width = 64
block unit() { relu }
bn
