model m
input image 32 x 32 x 3
default convv { bias: no }
relu
