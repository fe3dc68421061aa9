model m
input image 32 x 32 x 3
repeat -1 { relu }
bn
