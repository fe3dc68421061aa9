input image 8 x 8 x 3
model m
relu
