model m
input image 32 x 32 x 3
let a = if yes then 3
relu
