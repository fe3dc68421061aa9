model m
input image 32 x 32 x 3
param width = 64
conv width, 3x3, stride: 2
bn momentum: 0.9
repeat many { relu }
residual {
    sepconv 128, 3x3, segments: 99, padding: same
    drop 0.5
}
from nowhere
dense 10, activation: softmux
