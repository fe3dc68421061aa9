model m
input image 32 x 32 x 3
conv num_output: 8, kernel_size: 3, stride: 2, pad: 1, group: 2
bn eps: 1e-5
globalavgpool
dense out_features: 10
