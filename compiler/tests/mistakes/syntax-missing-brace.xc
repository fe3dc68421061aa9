model m
input image 32 x 32 x 3
repeat 3 as i
relu
