model m
input image 32 x 32 x 3
let width = 8
if yes { let width = 16 }
repeat 3 { let width = 2 * width; conv width, 3x3 }
