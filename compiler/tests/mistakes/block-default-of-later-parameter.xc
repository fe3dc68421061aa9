model m
input image 32 x 32 x 3
let width = 8
block unit(a = width, width = 3) { conv a + width, 1x1 }
unit()
