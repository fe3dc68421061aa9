model m
input image 32 x 32 x 3
conv 9, 3x3, segments: 3, groups: 3
