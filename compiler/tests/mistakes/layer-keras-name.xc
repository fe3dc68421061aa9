model m
input image 32 x 32 x 3
Conv2D 8, 3x3
BatchNormalization
ReLU
AdaptiveAvgPool2d
Linear 10
