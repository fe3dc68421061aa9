# Inception V3 (Szegedy et al., arXiv 1512.00567), layer by layer as in Keras.
model inception_v3, names: keras
param size = 299 in 75..2048
param classes = 1000 in 1..100000
input image size x size x 3, range: -1..1
default conv { bias: no }
default bn { scale: no }

block unit(filters, kernel, strides = 1, padding = same) {
    conv filters, kernel, strides: strides, padding: padding
    bn
    relu
}

block pooled(filters) {
    avgpool 3x3, strides: 1, padding: same
    unit(filters, 1x1)
}

block module35(n, pool_filters) {
    concat {
        branch { unit(64, 1x1) }
        branch { unit(48, 1x1); unit(64, 5x5) }
        branch { unit(64, 1x1); unit(96, 3x3); unit(96, 3x3) }
        branch { pooled(pool_filters) }
    } as "mixed{n}"
}

block module17(n, width) {
    concat {
        branch { unit(192, 1x1) }
        branch { unit(width, 1x1); unit(width, 1x7); unit(192, 7x1) }
        branch { unit(width, 1x1); for side in [7x1, 1x7, 7x1] { unit(width, side) }; unit(192, 1x7) }
        branch { pooled(192) }
    } as "mixed{n}"
}

# Both halves of a square window, side by side.
block split(width) {
    concat {
        branch { unit(width, 1x3) }
        branch { unit(width, 3x1) }
    }
}

block module8(n) {
    concat {
        branch { unit(320, 1x1) }
        branch { unit(384, 1x1); split(384) }
        branch { unit(448, 1x1); unit(384, 3x3); split(384) }
        branch { pooled(192) }
    } as "mixed{n}"
}

flow stem {
    unit(32, 3x3, strides: 2, padding: valid)
    unit(32, 3x3, padding: valid)
    unit(64, 3x3)
    maxpool 3x3, strides: 2
    unit(80, 1x1, padding: valid)
    unit(192, 3x3, padding: valid)
    maxpool 3x3, strides: 2
}

flow grid35 {
    module35(0, 32)
    module35(1, 64)
    module35(2, 64)
}

flow grid17 {
    concat {
        branch { unit(384, 3x3, strides: 2, padding: valid) }
        branch { unit(64, 1x1); unit(96, 3x3); unit(96, 3x3, strides: 2, padding: valid) }
        branch { maxpool 3x3, strides: 2 }
    } as mixed3
    module17(4, 128)
    module17(5, 160)
    module17(6, 160)
    module17(7, 192)
}

flow grid8 {
    concat {
        branch { unit(192, 1x1); unit(320, 3x3, strides: 2, padding: valid) }
        branch {
            unit(192, 1x1); unit(192, 1x7); unit(192, 7x1)
            unit(192, 3x3, strides: 2, padding: valid)
        }
        branch { maxpool 3x3, strides: 2 }
    } as mixed8
    module8(9)
    module8(10)
}

flow classifier {
    globalavgpool as avg_pool
    dense classes, activation: softmax as predictions
}
