# ResNet-50 (He et al., arXiv 1512.03385, table 1), with the layer names of Keras. As there, convolutions
# have biases, and a stage that halves the map does so in its first 1x1 convolution.
model resnet50
param size = 224 in 32..2048
param classes = 1000 in 1..100000
input image size x size x 3, range: 0..255, channels: bgr, mean: [103.939, 116.779, 123.68]
default bn { epsilon: 1.001e-5 }

block stage(n, width, depth, stride = 2) {
    for k in 1..depth {
        let name = "conv{n}_block{k}"
        let step = if k == 1 then stride else 1
        residual {
            conv width, 1x1, strides: step as "{name}_1_conv"
            bn as "{name}_1_bn"
            relu as "{name}_1_relu"
            conv width, 3x3, padding: same as "{name}_2_conv"
            bn as "{name}_2_bn"
            relu as "{name}_2_relu"
            conv 4 * width, 1x1 as "{name}_3_conv"
            bn as "{name}_3_bn"
        } shortcut {
            if k == 1 {
                conv 4 * width, 1x1, strides: step as "{name}_0_conv"
                bn as "{name}_0_bn"
            }
        } as "{name}_add"
        relu as "{name}_out"
    }
}

flow stem {
    conv 64, 7x7, strides: 2, padding: 3 as conv1_conv
    bn as conv1_bn
    relu as conv1_relu
    maxpool 3x3, strides: 2, padding: 1 as pool1_pool
}

flow stages {
    stage(2, 64, 3, stride: 1)
    stage(3, 128, 4)
    stage(4, 256, 6)
    stage(5, 512, 3)
}

flow classifier {
    globalavgpool as avg_pool
    dense classes, activation: softmax as predictions
}
