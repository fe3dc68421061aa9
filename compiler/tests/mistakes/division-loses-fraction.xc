model m
input image 32 x 32 x 3, mean: [255 / 2, 128, 256 / 2]
dropout 1 / 2
bn epsilon: 1 / 1000
default dropout { rate: 3 / 4 }
conv 7 / 2, 3x3
