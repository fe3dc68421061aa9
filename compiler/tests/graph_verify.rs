//! Each invariant of the verifier's list is broken once, in the text of a graph that is valid
//! otherwise.

use snapbox::{assert_data_eq, file};
use xcc_compiler::graph::NodeId;
use xcc_compiler::graph::text::{parse, write};
use xcc_compiler::graph::verify::{annotate, verify};

const VALID: &str = r#"
model "valid"
image range -1.0 1.0 channels rgb
v0 = input : 8x8x6 in l0
v1 = conv v0 3x3 stride 2x2 pads 0,1,0,1 segments 2x3->4 {8 kernel w0 bias w1} post [relu] : 4x4x8 in l1
v2 = separable v1 load relu spatial 3x3 pads 1,1,1,1 segments 1x3->3,1x5->5 {8 kernel w2} between elu pointwise 1x1 segments 1x8->8 {8 kernel w3 norm(mean w4 variance w5 gamma w6 beta w7 eps 0.001)} post [add v1] : 4x4x8 in l2
v3 = pool v2 max 2x2 stride 2x2 : 2x2x8 in l3
v4 = pool v2 average 2x2 stride 2x2 : 2x2x8 in l3
v5 = concat v3 v4 : 2x2x16 in l4
v6 = add v5 v5 : 2x2x16 in l4
v7 = flatten v6 : vector 64 in l4
v8 = dropout v7 rate 0.5 : vector 64 in l4
v9 = dense v8 {10 kernel w8} : vector 10 in l5
v10 = softmax v9 : vector 10 in l5
output v10
layer l0 InputLayer "input" at 0..1
layer l1 Conv2D "conv" at 1..2
layer l2 SeparableConv2D "sepconv" at 2..3
layer l3 MaxPooling2D "pools" at 3..4
layer l4 Concatenate "tail" at 4..5
layer l5 Dense "dense" at 5..6
weight w0 kernel 3x3x3x8 fan-in 27 of l1 "conv/kernel"
weight w1 bias 8 fan-in 1 of l1 "conv/bias"
weight w2 depthwise_kernel 306 fan-in 27 of l2 "sepconv/depthwise_kernel"
weight w3 pointwise_kernel 1x1x8x8 fan-in 8 of l2 "sepconv/pointwise_kernel"
weight w4 moving_mean 8 fan-in 1 of l2 "sepconv/moving_mean"
weight w5 moving_variance 8 fan-in 1 of l2 "sepconv/moving_variance"
weight w6 gamma 8 fan-in 1 of l2 "sepconv/gamma"
weight w7 beta 8 fan-in 1 of l2 "sepconv/beta"
weight w8 kernel 64x10 fan-in 64 of l5 "dense/kernel"
"#;

/// What is replaced, by what, and the violation that follows.
const BREAKS: &[(&str, &str, &str)] = &[
    ("in l5\nv10", "in l7\nv10", "v9: l7 does not exist: there are 6 layers"),
    ("of l5", "of l6", "w8: l6 does not exist: there are 6 layers"),
    ("bias w1", "bias w9", "v1: w9 does not exist: there are 9 weights"),
    ("\"pools\"", "\"\"", "l3: the layer has no name"),
    ("\"pools\"", "\"conv\"", "l3: another layer is named \"conv\""),
    ("\"conv/bias\"", "\"conv/kernel\"", "w1: another weight is named \"conv/kernel\""),
    ("bias 8 fan", "bias 0 fan", "w1: [0] has an extent of zero"),
    ("input : 8x8x6", "input : 8x0x6", "v0: a value of shape 8x0x6 is empty or too large"),
    ("input : 8x8x6", "input : 80000x80000x6", "v0: a value of shape 80000x80000x6 is empty or too large"),
    ("= flatten v6", "= flatten v8", "v7: operand v8 does not come earlier"),
    ("= flatten v6", "= flatten v60", "v7: operand v60 does not come earlier"),
    ("v6 = add v5 v5", "v6 = input", "v6: the input is v0, there can be no other"),
    ("input : 8x8x6", "input v1 : 8x8x6", "v0: operand v1 does not come earlier"),
    ("output v10\n", "", "outputs: there are none"),
    ("output v10", "output v11", "outputs: the graph has no node v11"),
    ("softmax v9", "softmax v9 v8", "v10: takes 1 operand, but has 2"),
    ("softmax v9", "softmax", "v10: takes 1 operand, but has 0"),
    ("dense v8", "dense", "v9: takes 1 operand, but has 0"),
    ("concat v3 v4", "concat", "v5: concatenates no operands"),
    ("add v5 v5", "add", "v6: adds no operands"),
    ("add v5 v5", "add v5 v4", "v6: adds 2x2x16 and 2x2x8"),
    ("concat v3 v4", "concat v2 v4", "v5: concatenates 4x4x8 and 2x2x8, which differ in more than channels"),
    ("vector 64 in l4\nv8", "vector 65 in l4\nv8", "v7: the result is 64, not 65"),
    ("max 2x2 stride", "max 5x5 stride", "v3: a window of extent [5, 5] is larger than the padded 4x4 map"),
    ("flatten v6", "pool v6 max 1x1", "v7: the result is 2x2x16, not 64"),
    ("softmax v9", "global-pool v9 max", "v10: pools a map, but reads a vector of 10 elements"),
    ("softmax v9", "pool v9 max 1x1", "v10: moves a window over a map, but reads a vector of 10 elements"),
    ("segments 2x3->4", "segments 2x4->4", "v1: the segments read 8 channels, but the operand has 6"),
    ("post [add v1]", "post [add v0]", "v2: adds v0 of 8x8x6 to a result of 4x4x8"),
    (
        "conv v0 3x3",
        "conv v0 0x3",
        "v1: kernel [0, 3], strides [2, 2] and dilation [1, 1] must be at least 1",
    ),
    (
        "stride 2x2 pads",
        "stride 2x0 pads",
        "v1: kernel [3, 3], strides [2, 0] and dilation [1, 1] must be at least 1",
    ),
    ("2x2 pads", "2x2 dilate 3000000000x1 pads", "v1: a window of 6000000001 rows or columns is too large"),
    ("0,1,0,1", "0,1,3,1", "v1: padding 3 is not smaller than the window's extent 3"),
    (
        "average 2x2 stride 2x2",
        "average 2x2 stride 2x2 dilate 2x2",
        "v4: pools are not dilated, this one by [2, 2]",
    ),
    ("1x3->3,1x5->5", "1x0->3,1x8->5", "v2: segment 0 of the partition has no channels"),
    ("{8 kernel w2}", "{7 kernel w2}", "v2: parts of [7] outputs do not cover segments 1x3->3,1x5->5"),
    (
        "{8 kernel w2}",
        "{4 kernel w2} {4 kernel w2}",
        "v2: parts of [4, 4] outputs do not cover segments 1x3->3,1x5->5",
    ),
    ("{8 kernel w0 bias w1}", "", "v1: parts of [] outputs do not cover segments 2x3->4"),
    (
        "{8 kernel w3",
        "{0 kernel w2} {8 kernel w3",
        "v2: parts of [0, 8] outputs do not cover segments 1x8->8",
    ),
    ("3x3x3x8", "3x3x6x8", "v1: kernel w0 has shape [3, 3, 6, 8], not [3, 3, 3, 8]"),
    ("depthwise_kernel 306", "depthwise_kernel 9x34", "v2: kernel w2 has shape [9, 34], not [306]"),
    ("kernel 64x10", "kernel 10x64", "v9: kernel w8 has shape [10, 64], not [64, 10]"),
    ("bias 8 fan", "bias 9 fan", "v1: bias w1 has shape [9], not [8]"),
    ("moving_variance 8", "moving_variance 1", "v2: normalisation w5 has shape [1], not [8]"),
    ("eps 0.001", "eps -0.001", "v2: epsilon is -0.001"),
    ("eps 0.001", "eps NaN", "v2: epsilon is NaN"),
    (
        "pointwise 1x1",
        "pointwise 1x1 stride 2x2",
        "v2: the pointwise part has kernel [1, 1] and strides [2, 2]",
    ),
    ("1x1 segments 1x8->8", "1x1 segments 2x4->4", "v2: the pointwise part has 2 segments"),
    ("pool v2 max", "pool v2 load relu max", "v3: the operation cannot apply relu on load"),
    ("load relu spatial", "load sigmoid spatial", "v2: sigmoid on load does not keep padding zero"),
    ("concat v3 v4", "concat v3 v4 post [relu]", "v5: the operation has no epilogue"),
    ("post [relu]", "post [linear]", "v1: the epilogue contains the identity"),
    ("rate 0.5", "rate 1.0", "v8: a rate of 1 is not in 0..1"),
    ("rate 0.5", "rate NaN", "v8: a rate of NaN is not in 0..1"),
];

#[test]
fn the_valid_graph_is_valid() {
    assert_eq!(verify(&parse(VALID).unwrap()), Ok(()));
}

#[test]
fn every_break_is_found() {
    for (from, to, expected) in BREAKS {
        assert!(VALID.contains(from), "{from} is not in the text");
        let graph = parse(&VALID.replacen(from, to, 1)).expect(to);
        let violations = verify(&graph).expect_err(to);
        let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|v| v == expected), "{from} -> {to}: expected {expected}, found {found:#?}");
    }
}

#[test]
fn the_input_of_the_graph_is_its_input_node() {
    let mut graph = parse(VALID).unwrap();
    graph.input = NodeId::new(9);
    let found: Vec<String> = verify(&graph).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["v0: the input is v9, there can be no other", "v9: the graph's input is another operation"]
    );
}

#[test]
fn violations_are_printed_under_the_line_at_fault() {
    let broken =
        VALID.replace("3x3x3x8", "3x3x6x8").replace("rate 0.5", "rate 1.5").replace("64 in l4", "6 in l4");
    let graph = parse(&broken).unwrap();
    let text = annotate(&graph, &verify(&graph).unwrap_err());
    assert_data_eq!(&text, file!["graph_verify.out"]);
    assert_eq!(write(&parse(&text).unwrap()), write(&graph), "annotations are comments");
}
