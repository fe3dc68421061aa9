model m
input image 32 x 32 x 3
gelu
sepconv 8, 3x3, segments: 99
sepconv 8, 3x3, segments: 99
convv 16, 3x3, padding: same
residual { sepconv 16, 3x3, segments: 17 }
maxpool 64x64
Conv2D 24, 3x3, stride: 2
dense 10
con hidden, 3x3, activation: selu as con
from con
conv channels, 3x3
