model m
input image 32 x 32 x 3
concat { branch { branch { relu } } branch { bn } }
