# set segmens=3
model m
param size = 32 in 8..64
param segments = full
param head = softmax in [softmax, sigmoid]
param bias = yes
input image size x size x 3
depthwise 3x3, segments: segments, bias: bias, activation: head
