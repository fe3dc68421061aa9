model m
input image 32 x 32 x 3
let a = 99999999999999999999
conv a, 3x3
