model m
input image 32 x 32 x 3
concat { branch { conv 8, 3x3 } branch { conv 16, 5x5 } }
sepconv 8, 3x3, segments: 25
from image
add { branch { conv 8, 3x3 } branch { conv 16, 3x3 } }
sepconv 8, 3x3, segments: [4, 20]
maxpool 31x31
