model m
input image 32 x 32 x 3
let groups = 0
conv 8 / groups, 3x3
