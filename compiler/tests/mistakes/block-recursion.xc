model m
input image 32 x 32 x 3
block a(n) { b(n) }
block b(n) { relu; a(n - 1) }
a(3)
