model m
input image 32 x 32 x 8
for w in widths { residual { conv 8, 3x3, padding: same } }
sepconv 8, 3x3, segments: 9
repeat times as i { conv 2 * channels, 3x3, padding: same as "r{i}" }
from r2
sepconv 8, 3x3, segments: 9
concat { repeat times { branch { conv 8, 3x3 } } }
concat { for n in 3 { branch { relu } } branch { conv 8, 40x40 } }
