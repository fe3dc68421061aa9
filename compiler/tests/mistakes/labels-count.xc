model m
input image 8 x 8 x 1, labels: ["cat", "dog"]
globalavgpool
dense 3, activation: softmax
