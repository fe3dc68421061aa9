model m
input image 32 x 32 x 3
conv 8,, 3x3 as here
from here
conv 8, 3x3 as a
from nowhere
let width = = 3
conv width, 3x3 as "b{width}"
concat a, b2, c
from conv_1
