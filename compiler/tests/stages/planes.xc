# test: plan vir
# test: pairs.plan pairs.vir --target avx512bf16 --precision bf16 --tuning fast_pairs
# Taps by Winograd's method: 4x4 patches of 4x4 inputs, transformed into 16 planes; patches of the last row have a row of results.
model planes
input image 7 x 8 x 28
flow layers {
    conv 40, 3x3, padding: same, activation: relu
}
