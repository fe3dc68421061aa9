model m
input image 8 x 8 x 1, labels: "."
globalavgpool
dense 3, activation: softmux
