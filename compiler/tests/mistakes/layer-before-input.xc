model m
relu
input image 32 x 32 x 3
