model m
input image 32 x 32 x 3
for i in 0.5..2 { relu }
