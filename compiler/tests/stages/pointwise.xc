# test: plan vir clif --threads 2
# A 1x1 convolution with everything folded in: two panels of columns, tiles over all pixels as one row.
model pointwise
input map 3 x 3 x 5
conv 10, 1x1, bias: no
bn
relu
