model m
input image 32 x 32 x 3
conv 64, 3x3, padding: same as stem
residual {
    relu
    conv 128, 3x3, strides: 2, padding: same
    bn
}
