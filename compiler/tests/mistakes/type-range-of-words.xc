model m
input image 32 x 32 x 3
for k in relu..elu { relu }
