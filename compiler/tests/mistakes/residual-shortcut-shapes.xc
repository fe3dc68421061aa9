model m
input image 32 x 32 x 3
residual {
    conv 128, 3x3, strides: 2, padding: same
    bn
} shortcut {
    conv 128, 1x1
}
