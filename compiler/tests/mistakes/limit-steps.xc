model m
input image 32 x 32 x 3
repeat 1000000000000000000 { let a = 1 }
relu
