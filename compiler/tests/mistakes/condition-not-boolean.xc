model m
input image 32 x 32 x 3
if 1 { relu }
bn
