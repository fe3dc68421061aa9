model m
input image 32 x 32 x 3
conv 8, 3x3 [31m, padding: same
relu as "a]0;xb"
relu # [2J ‮
bnn
