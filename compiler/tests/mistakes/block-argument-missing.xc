model m
input image 32 x 32 x 3
block unit(width, seg) { sepconv width, 3x3, segments: seg }
unit(8)
