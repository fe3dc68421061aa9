model m
input image 8 x 64 x 3
conv 16, 9x9
maxpool 3x60
sepconv 8, 3x3, segments: 17
flatten
conv 4, 3x3
depthwise 3x3, segments: 5
rows
