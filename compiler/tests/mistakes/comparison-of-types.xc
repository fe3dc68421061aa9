model m
input image 32 x 32 x 3
if same == 3 { relu }
bn
