# test: plan vir clif --threads 2
# Windows that hang over every edge, then a mean over the map, a dense layer and a softmax.
model pools
input map 4 x 4 x 3
maxpool 3x3, strides: 2, padding: same
globalavgpool
dense 5, activation: softmax
