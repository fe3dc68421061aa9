model m
input image 32 x 32 x 3
conv 8, 3x3 as a
conv 16, 3x3 as a
sepconv 8, 3x3, segments: 17
conv 24, 3x3, activation: gelu as "b{k}"
sepconv 8, 3x3, segments: 25
from b3
from c3
