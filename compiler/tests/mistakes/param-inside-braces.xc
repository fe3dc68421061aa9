model m
input image 32 x 32 x 3
flow a { param b = 3; relu }
