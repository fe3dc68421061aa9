# A plain stack in the manner of VGG-16, of separable convolutions: no residuals, segments free to choose.
model vgg_separable
param size = 224 in 32..2048
param classes = 1000 in 1..100000
param segments = full in 1..full     # 1 = regular convolution, full = depthwise
input image size x size x 3, range: -1..1
default conv, sepconv { bias: no, padding: same }
default sepconv { segments: min(segments, channels) }

block stage(width, depth) {
    repeat depth { sepconv width, 3x3; bn; relu }
    maxpool 2x2
}

flow features {
    conv 64, 3x3; bn; relu
    stage(64, 1)
    stage(128, 2)
    stage(256, 3)
    stage(512, 3)
    stage(512, 3)
}

flow classifier {
    globalavgpool
    dense classes, activation: softmax as predictions
}
