model m
input image 32 x 32 x 3
flow a {
    relu
flow b {
    bn
}
