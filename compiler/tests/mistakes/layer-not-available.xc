model m
input image 32 x 32 x 3
gelu
PReLU
softplus
Activation("mish")
LayerNormalization
Conv2DTranspose 8, 3x3
conv1d 8, 3
ConvBnReLU 8, 3x3
conv 8, 3x3, activation: gelu
conv 8, 3x3, activation: if yes then relu else hard_tanh
minpool 2
Multiply
