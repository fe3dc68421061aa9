# The network of runtime/tests/fixtures/weights/keras_files.py, with a parameter.
model tiny
param segments = full in 1..full
input image 8 x 8 x 3, labels: ["no", "perhaps", "yes"]
default conv, sepconv { bias: no, padding: same }

flow entry {
    conv 4, 3x3, padding: valid as stem; bn as stem_bn; relu as stem_act
    residual {
        sepconv 6, 3x3, segments: min(segments, channels) as sep1; bn as sep1_bn
        maxpool 3x3, strides: 2, padding: same as pool
    } shortcut { conv 6, 1x1, strides: 2 as "shortcut"; bn as shortcut_bn }
}
flow exit {
    residual { relu as sep2_act; sepconv 6, 3x3 as sep2; bn scale: no as sep2_bn }
    globalavgpool as avg_pool
    dense 3, activation: softmax as predictions
}
