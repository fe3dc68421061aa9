model m
input image 32 x 32 x 8
if deep { conv 16, 3x3, stride: 2 as a } else if wide { conv 24, 3x3 as a } else { conv 20, 3x3 as a }
sepconv 8, 3x3, segments: 25
if deep and wide == 3 or flat > 2 { conv 8, 3x3; sepconv 8, 3x3, segments: 9 }
let e = if deep then b else c
from a
residual if deep { conv 16, 3x3 } shortcut { conv 17, 1x1, pad: same }
