# Xception (Chollet, arXiv 1610.02357, figure 5), with the layer names of Keras.
model xception, names: keras
param size = 299 in 71..2048; param classes = 1000 in 1..100000
param repeats = 8 in 0..100                  # modules of the middle flow
param width = 728 in 8..4096                 # their channels; all units are wider or narrower by as much
param segments = full in 1..full             # 1 = regular convolution, full = depthwise
param entry_segments = segments; param middle_segments = segments; param exit_segments = segments
param residuals = yes                        # section 4.6: no
param between = none in [none, relu, elu]    # section 4.7: an activation between the two parts
param order = spatial_first in [spatial_first, pointwise_first]
param hidden = 0 in 0..4; param head = softmax in [softmax, sigmoid]    # section 4.3: 2 dense layers; several labels
input image size x size x 3, range: -1..1
default conv, sepconv { bias: no, padding: same }
block unit(name, wide, seg, activate = yes) {
    if activate { relu as "{name}_act" }
    let filters = wide * width / 728; let cut = if order == spatial_first then channels else filters
    sepconv filters, 3x3, segments: min(seg, cut), order: order, activation_between: between as "{name}"
    bn as "{name}_bn"
}
block down(n, first, last, seg, activate = yes) {
    residual if residuals {
        unit("block{n}_sepconv1", first, seg, activate); unit("block{n}_sepconv2", last, seg)
        maxpool 3x3, strides: 2, padding: same as "block{n}_pool"
    } shortcut { conv last * width / 728, 1x1, strides: 2; bn }
}
flow entry {
    conv 32, 3x3, strides: 2, padding: valid as block1_conv1; bn as block1_conv1_bn; relu as block1_conv1_act
    conv 64, 3x3, padding: valid as block1_conv2; bn as block1_conv2_bn; relu as block1_conv2_act
    down(2, 128, 128, entry_segments, no); down(3, 256, 256, entry_segments); down(4, 728, 728, entry_segments)
}
flow middle repeat repeats as i {
    residual if residuals { for k in 1..3 { unit("block{i + 4}_sepconv{k}", 728, middle_segments) } }
}
flow exit {
    let n = repeats + 6; down(n - 1, 728, 1024, exit_segments)
    unit("block{n}_sepconv1", 1536, exit_segments, no); relu as "block{n}_sepconv1_act"
    unit("block{n}_sepconv2", 2048, exit_segments, no); relu as "block{n}_sepconv2_act"
    globalavgpool as avg_pool; repeat hidden { dense 4096, activation: relu }
    dense classes, activation: head as predictions
}
