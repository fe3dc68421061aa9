model m
input image 32 x 32 x 8
block unit(width, seg = full) { sepconv width, 3x3, segments: seg as first; relu slope: 0.1 }
unit(16, segment: 3)
sepconv 8, 3x3, segments: 17
from first
unit()
unit(widht)
dense 3
