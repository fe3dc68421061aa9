model m
input image 32 x 32 x 3
block unit(n) { conv n, 1x1 }
relu as a
unit(8) as a
unit(8) as b
unit(8) as b
concat a, b
