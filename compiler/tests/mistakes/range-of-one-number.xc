model m
input image 32 x 32 x 3, range: 1..1
relu
