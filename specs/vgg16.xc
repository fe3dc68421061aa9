# VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D), with the layer names of Keras.
model vgg16
param size = 224 in 32..512
param classes = 1000 in 1..100000
input image size x size x 3, range: 0..255, channels: bgr, mean: [103.939, 116.779, 123.68]
default conv { padding: same, activation: relu }

block stage(n, width, depth) {
    for k in 1..depth { conv width, 3x3 as "block{n}_conv{k}" }
    maxpool 2x2 as "block{n}_pool"
}

flow features {
    stage(1, 64, 2)
    stage(2, 128, 2)
    stage(3, 256, 3)
    stage(4, 512, 3)
    stage(5, 512, 3)
}

flow classifier {
    flatten as flatten
    dense 4096, activation: relu as fc1
    dense 4096, activation: relu as fc2
    dense classes, activation: softmax as predictions
}
