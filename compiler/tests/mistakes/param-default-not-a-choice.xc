model m
param head = relu in [softmax, sigmoid]
input image 8 x 8 x 3
if head == softmax { softmax } else { sigmoid }
