# MobileNet (Howard et al., arXiv 1704.04861, table 1), with the layer names of Keras.
model mobilenet
param size = 224 in 32..2048
param classes = 1000 in 1..65536
input input_layer size x size x 3, range: -1..1
default conv, depthwise { bias: no, padding: same }

block unit(n, width, stride = 1) {
    depthwise 3x3, strides: stride as "conv_dw_{n}"
    bn as "conv_dw_{n}_bn"
    relu6 as "conv_dw_{n}_relu"
    conv width, 1x1 as "conv_pw_{n}"
    bn as "conv_pw_{n}_bn"
    relu6 as "conv_pw_{n}_relu"
}

flow features {
    conv 32, 3x3, strides: 2 as conv1
    bn as conv1_bn
    relu6 as conv1_relu
    unit(1, 64)
    unit(2, 128, stride: 2)
    unit(3, 128)
    unit(4, 256, stride: 2)
    unit(5, 256)
    unit(6, 512, stride: 2)
    for n in 7..11 { unit(n, 512) }
    unit(12, 1024, stride: 2)
    unit(13, 1024)
}

flow classifier {
    avgpool [rows, columns] as global_average_pooling2d
    dropout 1e-3 as dropout
    conv classes, 1x1, bias: yes as conv_preds
    flatten as reshape_2
    softmax as predictions
}
