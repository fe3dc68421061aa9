model m
input image 32 x 32 x 3
let a = [1, [2, 3]]
relu
