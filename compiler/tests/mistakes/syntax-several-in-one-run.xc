model m
input image 32 x 32 x 3
conv 32,, 3x3
let = 3
bn
for k on [1, 2] { relu }
relu
