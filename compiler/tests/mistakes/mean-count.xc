model m
input image 8 x 8 x 3, mean: [1, 2]
relu
