model m
input image 8 x 8 x 3, rnage: 0..1
relu
