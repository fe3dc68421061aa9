# test: plan vir --tuning small_fast_inner_products
model crossed
input image 4 x 3 x 14, range: 0..1
flow all {
    conv 9, 1x1, strides: 2 as pointwise
    elu
    sepconv 7, 3x3, padding: same as separable
    relu
}
