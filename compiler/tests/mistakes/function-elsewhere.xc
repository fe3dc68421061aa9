model m
input image 32 x 32 x 3
LeakyReLU alpha: 0.1
hard_silu
Activation("h_swish")
SiLU
lrelu
leaky_relu negative_slope: 0.1
leaky_relu slope: 1.0
leaky_relu 0.1
conv 8, 3x3, activation: hard_silu
conv 8, 3x3, activation: if yes then relu else lrelu
conv 8, 3x3, activation: LeakyReLU
tanh slope: 0.1
let silu = 3
