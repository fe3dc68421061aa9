model m
input image 32 x 32 x 16
sepconv 64, 3x3, segments: 28
