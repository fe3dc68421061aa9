model m
input image 1000 x 1000 x 3
flatten
dense 1000000
