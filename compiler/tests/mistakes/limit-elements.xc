model m
input image 60000 x 60000 x 3
relu
