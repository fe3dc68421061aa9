model m
input image 32 x 32 x 3
param segments = full
sepconv 8, 3x3, segments: segmnts
