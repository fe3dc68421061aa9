model m
input image 32 x 32 x 3
block a(x, y = 2) { conv x, 1x1 }
a(1, z: 3)
a(1, x: 3)
