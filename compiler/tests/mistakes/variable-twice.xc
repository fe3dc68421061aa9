model m
input image 32 x 32 x 3
let a = 1
let a = 2
conv a, 1x1
