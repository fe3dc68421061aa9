model m
input image 32 x 32 x 3
conv 8, 3x3 as channels
let n = 3
from n
