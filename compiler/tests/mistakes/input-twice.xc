model m
input image 32 x 32 x 3
input second 8 x 8 x 3
relu
