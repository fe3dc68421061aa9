model m
input image 32 x 32 x 3
param order = spatial_first
block never(width, seg = many) {
    let half = width / 2
    conv half, 3x3, stride: 2, padding: sam
    sepconv halv, 3x3, order: order, bias: 1 as "a{nr}"
    conv 8, 3x3 as twice
    sepconv 8, 3x3, segments: 9
    from twice
    Dense 10
    other(width, 3)
    bn epsilon: no
    never(1)
}
block other(n) {
    for i in 1..n { residual { conv i, 0x3 } }
    concat { repeat n { branch { conv n } } }
    dense 8
    rows
    maxpool 2
    add { branch { dropout 2.0 } }
}
relu
