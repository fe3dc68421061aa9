# The network of keras_tiny.py, with Keras' names: 291 numbers.
model tiny

input image 9 x 9 x 3

conv 4, 3x3, strides: 2, bias: no as stem
bn as stem_bn
relu as stem_act
residual {
    sepconv 6, 3x3, padding: same, bias: no as sepconv
    bn as sepconv_bn
} shortcut {
    conv 6, 1x1, bias: no as conv2d
    bn as batch_normalization
}
globalavgpool as avg_pool
dense 5, activation: softmax as predictions
