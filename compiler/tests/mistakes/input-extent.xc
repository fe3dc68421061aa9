model m
input image 0 x 8 x 3
relu
