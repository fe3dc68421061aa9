model m
input image 32 x 32 x 3
default conv { strides: 0 }
conv 8, 3x3
