model m
input image 32 x 32 x 3
for i in 3 { relu }
