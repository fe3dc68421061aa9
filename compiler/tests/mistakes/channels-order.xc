model m
input image 8 x 8 x 1, channels: rgb
relu
