# Products by tiles: a pointwise layer over a block of pixels and three more, then a separable layer that adds its
# input, in two panels of which the second is one tile wide.
model tiles
input map 5 x 7 x 40
conv 40, 1x1, bias: no
bn
residual { relu; sepconv 40, 3x3, padding: same, bias: no }
