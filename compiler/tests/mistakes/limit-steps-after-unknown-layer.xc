model m
input image 32 x 32 x 3
conw 8, 3x3
flow middle repeat 8 {
    repeat 1000000000 { let a = 1 }
}
conv 8, 3x3, stride: 2
