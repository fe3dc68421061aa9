model m
input image 32 x 32 x 3
concat { conv 8, 1x1; branch { relu }; branch { bn } }
