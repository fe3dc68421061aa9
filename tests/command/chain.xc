# Layers in one chain, some outside of flows.
model chain
input image 16 x 16 x 3
conv 8, 3x3, activation: relu
maxpool 2x2
globalavgpool
dropout 0.5
dense 4
softmax
