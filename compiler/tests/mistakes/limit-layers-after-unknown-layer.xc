model m
input image 32 x 32 x 3
gelu
for i in 1..20000 { relu }
dense 10, biass: no
