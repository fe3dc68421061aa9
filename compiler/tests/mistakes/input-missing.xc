model m
conv 8, 3x3
