model m
input image 32 x 32 x 3
block unit(name) { relu as name }
unit("a")
unit("b")
