model m
input image 299 x 299
relu
