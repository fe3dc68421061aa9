model m
param segments = full
input image 8 x 8 x 8
sepconv 8, 3x3, segments: segments / 2
