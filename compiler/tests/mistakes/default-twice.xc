model m
input image 32 x 32 x 3
default conv { bias: no, bias: yes }
default conv { segments: 1, groups: 3 }
conv 9, 1x1
