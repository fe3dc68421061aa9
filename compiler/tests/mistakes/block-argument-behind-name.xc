model m
input image 32 x 32 x 3
block unit(a, b = 1, c = 2) { conv a + b + c, 1x1 }
unit(a: 3, 4)
