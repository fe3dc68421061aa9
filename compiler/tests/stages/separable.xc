# test: plan vir clif --threads 2
# Both parts of a separable layer in one step, block of rows by block of rows; the rectifier runs on load.
model separable
input map 5 x 4 x 6
conv 6, 1x1 as start
residual { relu; sepconv 6, 3x3, padding: same, bias: no }
