# test: plan --threads 2 --cache 2048
# Two separable layers and the pool behind them: strips of rows of the pool, and of the rows before only those kept that
# the next strip needs. The maps between them are larger than the cache of the target that this is planned for.
model strips
input map 31 x 9 x 4
residual {
    sepconv 8, 3x3, padding: same; relu; sepconv 8, 3x3, padding: same; maxpool 3x3, strides: 2, padding: same
} shortcut { conv 8, 1x1, strides: 2 }
