model m
input image 1000 x 1000 x 3
flatten
dense 1000000
dense 10, activation: gelu
dense 20, biass: no
conv 8, 3x3
