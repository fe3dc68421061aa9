model m
input image 32 x 32 x 3
block unit(width) { conv width, 3x3 }
unit(8, 2)
