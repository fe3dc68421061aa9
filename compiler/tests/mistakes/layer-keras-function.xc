model m
input image 32 x 32 x 3
separable_conv 8, 3x3
conv2d 8, 3x3, padding: SAME
batch_normalization
Activation elu
depthwise_conv2d 3x3, depth_multiplier: 2
MaxPooling2D 2x2
LeakyReLU 0.1
global_average_pooling2d
Dense 10, activation: Softmax
