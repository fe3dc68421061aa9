model m
input image 32 x 32 x 3
for i in 1..2 { conv 8, 3x3 as a }
