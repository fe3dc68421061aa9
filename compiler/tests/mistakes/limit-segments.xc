model m
input image 8 x 8 x 65536
repeat 100 { depthwise 3x3, padding: same }
