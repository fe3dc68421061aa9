model m
input image 32 x 32 x 32
block unit(width, seg) { sepconv width, 3x3, segments: seg }
for width in [16, 64] {
    unit(width, 24)
}
