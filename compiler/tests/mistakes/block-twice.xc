model m
input image 32 x 32 x 3
block unit() { relu }
block unit() { bn }
unit()
