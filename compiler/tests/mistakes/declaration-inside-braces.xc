model m
flow a {
    input image 32 x 32 x 3
    param width = 8
    block unit(n) { conv n, 3x3 }
    unit(width)
    flow b { conv width, 3x3, stride: 2 }
    model other
}
