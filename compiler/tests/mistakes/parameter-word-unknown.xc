model m
param k = foo in [bar, baz]
input image 32 x 32 x 3
relu
