# set residuals=true
# set bias=False
# set mode=off
model m
param residuals = yes
param bias = no
param mode = yes in [yes, no]
input image 32 x 32 x 3
residual if residuals or mode { conv 3, 1x1, bias: bias }
