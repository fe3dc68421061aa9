model m
input image 32 x 32 x 3
relu as ünï
