model m
input image 32 x 32 x 3
conv 16, 3x3, strides: 0, padding: same, activation: gelu
sepconv 32, 3x3, segments: 17, stride: 2, padding: 7.5
conv 64, 3x3, 2, activation: yes
depthwise 3x3, segments: [60, 5], bias: 1
conv kernel: 3x3, strides: 2
sepconv 8, 3x3, segments: 99, order: pointwise_first
dense
