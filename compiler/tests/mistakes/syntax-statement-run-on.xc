model m
input image 32 x 32 x 3
residual { conv 3, 1x1; bn } relu
