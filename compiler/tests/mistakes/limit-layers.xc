model m
input image 32 x 32 x 3
repeat 10000 { repeat 10000 { relu } }
