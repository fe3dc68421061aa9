# Handwritten digits: a small network of separable convolutions in Xception's manner, 33,322 parameters.
# Trained by examples/digits/train.py; the weights are in digits.safetensors.
model digits

input image 28 x 28 x 1, channels: gray, range: 0..1, labels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

default conv, sepconv { bias: no, padding: same }

block unit(name, width) {
    relu
    sepconv width, 3x3 as "{name}"
    bn as "{name}_bn"
}

block downsample(name, width) {
    residual {
        unit("{name}_sepconv1", width)
        unit("{name}_sepconv2", width)
        maxpool 3x3, strides: 2, padding: same as "{name}_pool"
    } shortcut {
        conv width, 1x1, strides: 2 as "{name}_shortcut"
        bn as "{name}_shortcut_bn"
    }
}

conv 16, 3x3 as block1_conv
bn as block1_conv_bn
downsample("block2", 32)
downsample("block3", 64)
residual {
    unit("block4_sepconv1", 64)
    unit("block4_sepconv2", 64)
}
unit("block5_sepconv1", 128)
relu
globalavgpool as avg_pool
dropout 0.2
dense 10, activation: softmax as predictions
