model m
param width = 3 3
input image 32 x 32 x 3
let depth = (2
default conv { bias no }
block unit(a, b { conv a, 3x3 }
sepconv 8, 3x3, segments: 9
for k on [1, 2] { conv k, 3x3; unit(k) }
concat as x { branch { relu } branch { bn } }
conv 8, 3x3
sepconv 8, 3x3, segments: 9
