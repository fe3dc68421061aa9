model m
input image 32 x 32 x 3
conv 32, [3, 3)
relu
