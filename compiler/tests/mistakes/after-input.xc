model m, names: pytorch
input image 0 x 16 x 3, range: 2, channels: gray, mean: [1, 2], label: "x"
conv 8, 20x20
sepconv 4, 3x3, segments: 9
from image
conv 8, 3x17
