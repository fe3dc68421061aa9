model m
input image 8 x 8 x 3
?
conv 4, 3x3
? relu
