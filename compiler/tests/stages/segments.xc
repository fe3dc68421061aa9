# test: plan vir --threads 2
# Uneven segments: 7 channels in 3 are 3 + 2 + 2, so stores of a segment end within a vector.
model segments
input map 4 x 4 x 7
conv 7, 3x3, padding: same, segments: 3
