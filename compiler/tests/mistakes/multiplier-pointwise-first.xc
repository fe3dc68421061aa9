model m
input image 32 x 32 x 3
sepconv 8, 3x3, order: pointwise_first, multiplier: 2
