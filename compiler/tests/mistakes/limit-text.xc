model m
input image 32 x 32 x 3
let a = "0123456789012345678901234567890123456789"
let b = "{a}{a}{a}{a}{a}{a}{a}{a}"
let c = "{b}{b}{b}{b}{b}{b}{b}{b}{b}{b}{b}{b}{b}{b}"
relu
