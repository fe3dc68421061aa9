model m
input image 32 x 32 x 64
residual { conv 128, 3x3, strides: 2, padding: same }
sepconv 256, 3x3, segments: 100, padding: same
sepconv 256, 3x3, segments: 300, padding: same
conv 8, 40x40
residual { conv 8, 3x3 }
dense 10
