# test: f32.plan --target amx --threads 2 --tuning small_tiles
# test: split.plan --target amx --threads 2 --precision split --tuning small_tiles
# test: bf16.plan vir --target amx --threads 2 --precision bf16 --tuning small_tiles
# test: pairs.vir --target avx512bf16 --threads 2 --precision bf16 --tuning fast_pairs
# Products by tiles: a pointwise layer over a block of pixels and three more, then a separable layer that adds its
# input, in two panels of which the second is one tile wide.
model tiles
input map 5 x 7 x 40
conv 40, 1x1, bias: no
bn
residual { relu; sepconv 40, 3x3, padding: same, bias: no }
