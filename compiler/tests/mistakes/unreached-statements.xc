model m
param deep = no
param width = if deep then 3 else witdh
input image 32 x 32 x 16
repeat 0 { conv 8, 3x3, stride: 2 }
for i in [] { conv k, 3x3 }
flow rest repeat 0 as i { conv 8, 3x3 as "c{i}"; drop 0.5 }
if deep { wobble } else { relu }
residual if deep { conv 16, 3x3, padding: same } shortcut { conv 16, 1x1, stride: 1 }
let size = if deep then sze else 3
conv size, if deep or size == 3 or siz == 4 then 3x3 else 5
if channels >= 28 { sepconv 8, 3x3, segments: 28 } else { relu }
