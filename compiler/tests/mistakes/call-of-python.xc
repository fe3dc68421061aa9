model m
input image 32 x 32 x 3
BatchNormalization(epsilon=1e-5)
Conv2D(32, (3,3), strides=2)
conv(8, 3x3, padding=same)
