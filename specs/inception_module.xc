# Figures 1 to 4 of the Xception paper (Chollet, arXiv 1610.02357): from an Inception module to a separable
# convolution. Figures 2 and 3 compute the same; figure 4 takes the segments of figure 3 to their limit.
model inception_module
param figure = 1 in 1..4
param size = 35 in 3..1024
param depth = 192 in 1..4096      # channels of the input
param towers = 3 in 2..16
param width = 64 in 1..1024       # channels of each tower
input map size x size x depth
default conv, sepconv { bias: no, padding: same }

flow module {
    if figure == 1 {
        # The canonical module of Inception V3.
        concat {
            branch { conv width, 1x1 }
            branch { conv width, 1x1; conv width, 3x3 }
            branch { conv width, 1x1; conv width, 3x3; conv width, 3x3 }
            branch { avgpool 3x3, strides: 1, padding: same; conv width, 1x1 }
        }
    } else if figure == 2 {
        # The simplified module: towers of one kind.
        concat { repeat towers { branch { conv width, 1x1; conv width, 3x3 } } }
    } else if figure == 3 {
        # The same, said otherwise: one large 1x1 convolution, then a spatial one on segments of its channels.
        conv towers * width, 1x1
        conv towers * width, 3x3, segments: towers
    } else {
        # The extreme: a segment for each channel.
        sepconv towers * width, 3x3, order: pointwise_first, segments: full
    }
}
