model m
input image 32 x 32 x 3
concat {
    branch { conv 8, 3x3 }
    branch { conv 8, 5x5 }
}
