model m
input image 8 x 8 x 1, labels: "labels.txt"
globalavgpool
dense 3, activation: softmax
