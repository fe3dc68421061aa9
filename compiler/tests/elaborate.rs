//! What specs mean: the nodes, shapes, weights and names that small specs elaborate to.

use proptest::prelude::*;
use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::{Elaborated, Value, elaborate, read};
use xcc_compiler::graph::{Activation, Conv, Graph, NodeId, Op, Pads, Shape};
use xcc_compiler::syntax::parse;

const HEAD: &str = "model m\ninput image 16 x 12 x 8\n";

fn read_body(body: &str) -> Elaborated {
    read(&format!("{HEAD}{body}"), &[])
}

fn graph(body: &str) -> Graph {
    let elaborated = read_body(body);
    let shown = render("body", &format!("{HEAD}{body}"), &elaborated.diagnostics, false);
    elaborated.graph.unwrap_or_else(|| panic!("{shown}"))
}

fn codes(body: &str) -> Vec<&'static str> {
    read_body(body).diagnostics.iter().map(|d| d.code).collect()
}

/// Names of the layers after the input.
fn names(graph: &Graph) -> Vec<&str> {
    graph.layers[1..].iter().map(|l| l.name.as_str()).collect()
}

fn result(graph: &Graph) -> Shape {
    graph.node(graph.outputs[0]).shape
}

fn op(graph: &Graph, position: usize) -> &Op {
    &graph.node(graph.order()[position]).op
}

fn conv(graph: &Graph, position: usize) -> &Conv {
    match op(graph, position) {
        Op::Conv(conv) => conv,
        other => panic!("a convolution, not {other:?}"),
    }
}

fn weights(graph: &Graph) -> Vec<(&str, &[u32])> {
    graph.weights.iter().map(|w| (w.name.as_str(), &w.shape[..])).collect()
}

#[test]
fn a_separable_convolution_is_a_spatial_and_a_pointwise_node() {
    let graph =
        graph("sepconv 20, 3x3, strides: 2, padding: same, activation_between: elu, activation: relu as s");
    assert_eq!(graph.layers.len(), 2);
    assert_eq!(graph.order().len(), 5);
    assert!(conv(&graph, 1).partition.is_depthwise() && conv(&graph, 1).parts[0].bias.is_none());
    assert_eq!(*op(&graph, 2), Op::Activation(Activation::Elu));
    assert!(conv(&graph, 3).window.is_point() && conv(&graph, 3).parts[0].bias.is_some());
    assert_eq!(*op(&graph, 4), Op::Activation(Activation::Relu));
    assert_eq!(result(&graph), Shape::map(8, 6, 20));
    let expected: [(&str, &[u32]); 3] =
        [("s/depthwise_kernel", &[3, 3, 8, 1]), ("s/pointwise_kernel", &[1, 1, 8, 20]), ("s/bias", &[20])];
    assert_eq!(weights(&graph), expected);
}

#[test]
fn every_activation_is_a_layer_and_an_attribute() {
    for function in Activation::ALL.into_iter().filter(|function| *function != Activation::Linear) {
        for word in function.words() {
            assert_eq!(*op(&graph(word), 1), Op::Activation(function), "{word}");
            let conv = graph(&format!("conv 4, 1x1, activation: {word}"));
            assert_eq!(*op(&conv, 2), Op::Activation(function), "{word}");
            let between = graph(&format!("sepconv 4, 1x1, activation_between: {word}"));
            assert_eq!(*op(&between, 2), Op::Activation(function), "{word}");
        }
    }
}

#[test]
fn slopes_are_given_or_default() {
    let slope = |text: &str| match *op(&graph(text), 1) {
        Op::Activation(function) => function.slope().unwrap().value(),
        ref other => panic!("an activation, not {other:?}"),
    };
    assert_eq!(slope("leaky_relu"), 0.2);
    assert_eq!(slope("leaky_relu slope: 0.01"), 0.01);
    assert_eq!(slope("leaky_relu slope: 0"), 0.0);
    assert_eq!(slope("leaky_relu slope: 1.0 / 4"), 0.25);
    assert_eq!(slope("default leaky_relu { slope: 0.3 }\nleaky_relu"), 0.3);
    assert_eq!(codes("leaky_relu slope: 1.0"), ["E0304"]);
    assert_eq!(codes("leaky_relu slope: -0.1"), ["E0304"]);
    assert_eq!(codes("leaky_relu slope: relu"), ["E0301"]);
}

#[test]
fn pointwise_first_cuts_the_filters_and_puts_the_bias_last() {
    let graph = graph("sepconv 20, 3x3, strides: 2, padding: same, order: pointwise_first, segments: 5 as s");
    assert!(conv(&graph, 1).window.is_point() && conv(&graph, 1).parts[0].bias.is_none());
    assert_eq!(graph.node(graph.order()[1]).shape, Shape::map(16, 12, 20));
    assert_eq!(conv(&graph, 2).partition.to_string(), "5x4->4");
    assert!(conv(&graph, 2).parts[0].bias.is_some());
    assert_eq!(result(&graph), Shape::map(8, 6, 20));
    let kernel = graph.weight(conv(&graph, 2).parts[0].kernel);
    assert_eq!((kernel.name.as_str(), &kernel.shape[..]), ("s/depthwise_kernel", &[3, 3, 4, 20][..]));
    assert_eq!(kernel.fan_in, 36);
}

#[test]
fn branches_may_stand_on_one_line() {
    let lines = graph("concat {\n branch { conv 3, 1x1 }\n branch { relu }\n}");
    let line = graph("concat { branch { conv 3, 1x1 } branch { relu } }");
    assert_eq!(result(&line), result(&lines));
    assert_eq!(names(&line), names(&lines));
    assert!(codes("concat { branch { relu } relu }").contains(&"E0111"));
}

#[test]
fn a_multiplier_widens_the_spatial_part() {
    let graph =
        graph("depthwise 3x3, multiplier: 3, bias: no as d\nsepconv 4, 1x1, multiplier: 2, bias: no as s");
    assert_eq!(conv(&graph, 1).partition.oc(), 24);
    let expected: [(&str, &[u32]); 3] = [
        ("d/depthwise_kernel", &[3, 3, 8, 3]),
        ("s/depthwise_kernel", &[1, 1, 24, 2]),
        ("s/pointwise_kernel", &[1, 1, 48, 4]),
    ];
    assert_eq!(weights(&graph), expected);
}

#[test]
fn segments_of_a_convolution_cut_inputs_and_filters() {
    let graph = graph(
        "conv 12, 3x3, groups: 4 as a\nconv 5, 3x3, segments: 3 as b\nconv 5, 1x1, segments: [2, 3] as c",
    );
    assert_eq!(conv(&graph, 1).partition.to_string(), "4x2->3");
    let cut = |n| (conv(&graph, n).partition.inputs(), conv(&graph, n).partition.outputs());
    assert_eq!(cut(2), (&[4, 4, 4][..], &[2, 2, 1][..]));
    assert_eq!(cut(3), (&[2, 3][..], &[2, 3][..]));
    let shape = |n: usize| graph.weight(conv(&graph, n).parts[0].kernel).shape.clone();
    assert_eq!([shape(1), shape(2), shape(3)], [vec![3, 3, 2, 12], vec![9 * 4 * 5], vec![4 + 9]]);
}

#[test]
fn a_residual_adds_the_shortcut_to_the_main_path() {
    let graph = graph("relu as start\nresidual { conv 8, 1x1 as main } shortcut { bn as other } as sum");
    let sum = graph.node(graph.outputs[0]);
    let named = |id: &NodeId| graph.layer(graph.node(*id).layer).name.clone();
    assert_eq!(sum.inputs.iter().map(named).collect::<Vec<_>>(), ["main", "other"]);
    assert_eq!(names(&graph), ["start", "main", "other", "sum"]);
}

#[test]
fn a_residual_can_be_switched_off() {
    let with = |c| graph(&format!("residual if {c} {{ conv 8, 1x1 }} shortcut {{ bn }}")).order().len();
    assert_eq!((with("yes"), with("no"), with("1 > 2 or 3 == 4")), (4, 2, 2));
}

#[test]
fn branches_start_at_the_same_value_and_may_be_empty() {
    let graph = graph(
        "concat {\n branch { conv 4, 1x1 }\n repeat 2 { branch { conv 2, 1x1; relu } }\n branch { }\n}",
    );
    assert_eq!(result(&graph), Shape::map(16, 12, 4 + 2 + 2 + 8));
    let concat = graph.node(graph.outputs[0]);
    assert_eq!(concat.inputs[3], graph.input);
}

#[test]
fn named_values_can_be_read_again() {
    let graph = graph("conv 4, 1x1 as a\nfrom image\nconv 4, 1x1 as b\nadd a, b as c\nconcat a, c");
    assert_eq!(result(&graph), Shape::map(16, 12, 8));
}

#[test]
fn defaults_end_with_their_braces_and_inner_ones_win() {
    let graph = graph(
        "default conv { bias: no, padding: same }\n\
         block wide() { conv 2, 3x3 }\n\
         flow f { default conv { padding: 1, bias: yes }; default conv { padding: valid }; conv 2, 3x3; wide() }\n\
         conv 2, 3x3, bias: yes",
    );
    let padded = |n| conv(&graph, n).window.pads != Pads::default();
    let biased = |n| conv(&graph, n).parts[0].bias.is_some();
    assert_eq!([1, 2, 3].map(|n| (padded(n), biased(n))), [(false, true), (true, false), (true, true)]);
}

#[test]
fn defaults_speak_of_the_channels_of_each_layer() {
    let graph = graph("default sepconv { segments: min(6, channels) }\nsepconv 4, 1x1\nsepconv 4, 1x1");
    assert_eq!(conv(&graph, 1).partition.segments(), 6);
    assert_eq!(conv(&graph, 3).partition.segments(), 4);
}

#[test]
fn blocks_do_not_see_the_variables_of_their_callers() {
    assert_eq!(codes("block b() { conv width, 1x1 }\nlet width = 4\nb()"), Vec::<&str>::new());
    assert_eq!(codes("block b() { conv width, 1x1 }\nrepeat 1 { let width = 4; b() }"), ["E0201"]);
    assert_eq!(
        codes("block b(width = 2) { conv width, 1x1 }\nrepeat 1 { let width = 4; b(); b(3); b(width: 5) }"),
        [""; 0]
    );
}

#[test]
fn layers_are_named_by_their_place() {
    let graph = graph(
        "relu\nflow middle repeat 2 as i { relu; repeat 1 { relu; relu } }\nflow exit { bn as \"x{1 + 1}\"; bn }",
    );
    let expected = [
        "relu_1",
        "middle.1.relu_1",
        "middle.1.1.relu_1",
        "middle.1.1.relu_2",
        "middle.2.relu_1",
        "middle.2.1.relu_1",
        "middle.2.1.relu_2",
        "x2",
        "exit.bn_1",
    ];
    assert_eq!(names(&graph), expected);
    assert_eq!(graph.layers[3].path, ["middle", "1", "1"]);
}

#[test]
fn names_that_are_taken_are_passed_over() {
    let graph = graph("relu as relu_2\nrelu\nrelu");
    assert_eq!(names(&graph), ["relu_2", "relu_1", "relu_3"]);
}

#[test]
fn keras_counts_classes_without_the_named_layers() {
    let body = "input i 8 x 8 x 3\nconv 3, 1x1 as stem\nrepeat 2 { residual { conv 3, 1x1; bn; relu } }";
    let graph = read(&format!("model m, names: keras\n{body}"), &[]).graph.unwrap();
    let expected = [
        "stem",
        "conv2d",
        "batch_normalization",
        "activation",
        "add",
        "conv2d_1",
        "batch_normalization_1",
        "activation_1",
        "add_1",
    ];
    assert_eq!(names(&graph), expected);
}

#[test]
fn spans_point_at_statements() {
    let source = format!("{HEAD}flow f {{ conv 4, 1x1 as a; residual {{ bn }} }}");
    let graph = read(&source, &[]).graph.unwrap();
    let texts = graph.layers.iter().map(|l| &source[l.span.start as usize..l.span.end as usize]);
    let expected = ["input image 16 x 12 x 8", "conv 4, 1x1 as a", "bn", "residual"];
    assert_eq!(texts.collect::<Vec<_>>(), expected);
}

#[test]
fn full_is_larger_than_any_number() {
    let body = "let a = min(full, 3)\nlet b = if full > 1000000 and not (full <= 3) then max(a, 4) else 1\nconv b, 1x1";
    assert_eq!(result(&graph(body)).c(), 4);
}

#[test]
fn arithmetic_is_that_of_whole_numbers() {
    for (expression, expected) in [
        ("7 / 2", 3),
        ("7 % 4 * 2", 6),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-3 + 5", 2),
        ("20 - 3 - 4", 13),
    ] {
        assert_eq!(result(&graph(&format!("conv {expression}, 1x1"))).c(), expected, "{expression}");
    }
}

#[test]
fn parameters_are_listed_with_their_values() {
    let source = "model m\nparam a = 3 in 1..9\nparam b = a\nparam c = same in [same, valid]\n\
                  input image 8 x 8 x a\nconv b, 1x1, padding: c";
    let settings = [("a".to_owned(), "5".to_owned())];
    let elaborated = read(source, &settings);
    let shown = |p: &xcc_compiler::elaborate::Param| {
        (p.name.clone(), p.default.clone(), p.domain.clone(), p.value.clone(), p.is_set)
    };
    let expected = [
        ("a".to_owned(), "3".to_owned(), Some("1..9".to_owned()), Some(Value::Integer(5)), true),
        ("b".to_owned(), "a".to_owned(), None, Some(Value::Integer(5)), false),
        (
            "c".to_owned(),
            "same".to_owned(),
            Some("[same, valid]".to_owned()),
            Some(Value::word("same")),
            false,
        ),
    ];
    assert_eq!(elaborated.params.iter().map(shown).collect::<Vec<_>>(), expected);
    let (file, _) = parse(source);
    assert_eq!(elaborate(&file, &settings).unwrap().weights, elaborated.graph.unwrap().weights);
}

#[test]
fn mistakes_are_reported_once_in_loops() {
    assert_eq!(codes("repeat 5 { conv 0, 3x3; dense 7; conv 9, 3x3 }"), ["E0304", "E0507", "E0508"]);
    assert_eq!(
        codes("conv 8, 3x3, padding: 9\nfor i in 1..3 { relu slope: i }\ndense 3"),
        ["E0509", "E0203", "E0507"]
    );
}

#[test]
fn a_declaration_that_cannot_be_read_is_not_missing() {
    for (source, code) in [
        ("mode m\ninput image 8 x 8 x 3\nrelu", "E0202"),
        ("modl m, names: keras\ninput image 8 x 8 x 3\nrelu", "E0202"),
        ("3 m\ninput image 8 x 8 x 3\nrelu", "E0101"),
        ("model m\ninptu image 8 x 8 x 3\nrelu", "E0111"),
        ("model m\ninput image 8 x 8\nconv channels, 3x3", "E0101"),
        ("model m\nparam a = no a [yes, no]\ninput image 8 x 8 x 3\nrelu", "E0111"),
        ("model m\n# nothing\nrelu", "E0402"),
    ] {
        let found: Vec<_> = read(source, &[]).diagnostics.iter().map(|d| d.code).collect();
        assert_eq!(found, [code], "{source}");
    }
    let both: Vec<_> = read("model m\nconv 8,, 3x3\nrelu", &[]).diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(both, ["E0111", "E0402"]);
}

/// The second statement of each would be wrong if one guess about the first were taken for certain.
#[test]
fn what_follows_from_a_mistake_is_not_reported() {
    let mut failures = String::new();
    for (body, code) in [
        // The shape is that of either path, of any operand, of any turn, of either part.
        ("residual { conv 16, 1x1 }\nsepconv 4, 3x3, segments: 12", "E0503"),
        ("residual { conv 8, 3x3 }\nconv 4, 11x11", "E0503"),
        ("residual { conv 16, 1x1 }\nresidual { conv 16, 1x1 }", "E0503"),
        ("residual { globalavgpool }\ndense 3", "E0503"),
        ("concat { branch { conv 4, 9x9 } branch { conv 4, 1x1 } }\nconv 4, 5x5", "E0504"),
        ("concat { branch { conv 4, 1x1 } }\nsepconv 4, 3x3, segments: 5", "E0408"),
        ("add { branch { conv 4, 1x1 } branch { conv 8, 1x1 } }\nconv 2, 1x1, segments: [5, 3]", "E0505"),
        ("repeat many { conv 2 * channels, 1x1 }\nsepconv 4, 3x3, segments: 99", "E0201"),
        ("repeat many { maxpool 2 }\nresidual { repeat 2 { maxpool 2 } } shortcut { maxpool 4 }", "E0201"),
        ("if maybe { globalavgpool }\ndense 3", "E0201"),
        ("if maybe { conv 12, 1x1 }\nsepconv 4, 3x3, segments: 12", "E0201"),
        ("if channls > 12 { sepconv 4, 3x3, segments: 12 }", "E0201"),
        // Nothing is known of a layer that no other resembles, little of one that does.
        ("gelu\ndense 3", "E0202"),
        ("gelu\nsepconv 4, 3x3, segments: 12", "E0202"),
        ("sepconv2 8, 3x3\nresidual { relu } shortcut { from image }", "E0202"),
        ("residual { sepconv2 8, 3x3 }", "E0202"),
        ("unit(3) as a\nfrom a\ndense 3", "E0202"),
        ("unit(3) as a\nrelu as b\nconcat a, b\nresidual { conv 4, 1x1 }", "E0202"),
        ("Activation elu\nresidual { relu }", "E0202"),
        ("batchnorm2d 8\nsepconv 4, 1x1, segments: 8", "E0202"),
        // A mistake in an attribute leaves open what depends on it, and nothing else.
        ("conv 8, 3x3, stride: 2\nresidual { bn } shortcut { from image }", "E0203"),
        ("conv 8, 3x3, foo: same\nadd { branch { relu } branch { from image } }", "E0203"),
        ("conv 8, 3x3, 2\nresidual { relu } shortcut { from image }", "E0412"),
        ("conv wdth, 3x3\nsepconv 4, 3x3, segments: 99", "E0201"),
        ("conv 8, kernel_size: 9x9\nconv 8, 5x5", "E0203"),
        ("default conv { stride: 2 }\nconv 8, 3x3\nresidual { relu } shortcut { from image }", "E0203"),
        ("conv 8, 99x99\nconv 8, 5x5", "E0506"),
        ("conv 8, 3x3, segments: 3, group: 3", "E0203"),
        ("conv 8, 3x3, strides: 2, strides: 3\nadd { branch { relu } branch { from image } }", "E0413"),
        ("globalavgpool\nconv 8, 1x1\nsepconv 4, 3x3, segments: 8", "E0508"),
        ("dense 3\ndense 3", "E0507"),
        ("let a = b\nconv a, a\nsepconv a, 3x3", "E0201"),
        // Names that the mistake kept from being given.
        ("relu as \"a{k}\"\nfrom a3", "E0201"),
        ("con 8, 3x3 as a\nfrom a", "E0202"),
        ("gelu\nfrom gelu_1", "E0202"),
        ("if maybe { relu as a } else { bn as a }\nfrom a", "E0201"),
        ("repeat many as i { relu as \"a{i}\" }\nfrom a3", "E0201"),
        // A statement that cannot be read may be anything.
        ("conv 8,, 3x3\nfrom conv_1", "E0111"),
        ("conv 8, 3x3 as as a\nfrom a", "E0208"),
        ("let x = = 3\nconv x, 3x3", "E0101"),
        ("for k on [1, 2] { conv k, 3x3 }", "E0101"),
        ("repeat as { branch { relu } }", "E0101"),
        ("concat {\nbranch { relu }\nrepeat as { branch { relu } }\n}", "E0101"),
        ("block b(n { conv n, 3x3 }\nb(3)\nresidual { b(4) }", "E0102"),
        ("default conv { kernel 3x3 }\nconv 8", "E0101"),
        ("concat {\nbranch { relu }\nbranch (2) { bn }\n}", "E0101"),
        ("width = 3\nconv width, 1x1\nresidual { relu } shortcut { from image }", "E0111"),
        ("parm width = 3\nconv width, 3x3", "E0111"),
        ("let n = 2 3\nconv n, 1x1\nresidual { bn } shortcut { from image; conv 2, 1x1 }", "E0111"),
        ("relu as a\nbn as b\nconcta a, b as c\nfrom c\nresidual { conv 9, 1x1 }", "E0202"),
        ("form here", "E0202"),
        // What is never reached may be so because it is wrong.
        ("relu\nlet n = 0\nif n > 0 { conv 8 / n, 3x3 }", ""),
        ("if channels >= 12 { sepconv 4, 3x3, segments: 12 } else { relu }", ""),
        ("let a = if channels == 8 then 1 else 8 / (channels - 8)\nconv a, 3x3", ""),
        ("block b(n) { conv n, 3x3; if n > 9 { sepconv 4, 3x3, segments: 9 } }\nb(4)", ""),
        ("residual if channels == 9 { conv 9, 1x1 }", ""),
        ("concat { repeat 0 { branch { relu } } branch { relu } branch { bn } }", ""),
        ("if no { relu as a } else { bn as a }", ""),
    ] {
        let expected: &[&str] = if code.is_empty() { &[] } else { &[code] };
        let found = codes(body);
        if found != expected {
            failures.push_str(&format!("{body}\n  {found:?} instead of {expected:?}\n"));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

proptest! {
    /// TensorFlow's rule, restated: tensorflow.org/api_docs/python/tf/nn, "notes on padding".
    #[test]
    fn same_padding_is_that_of_tensorflow(size in 1..60_u32, kernel in 1..9_u32, stride in 1..6_u32) {
        let source = format!("model m\ninput image {size} x 20 x 1\nmaxpool [{kernel}, 1], strides: [{stride}, 1], padding: same");
        let graph = read(&source, &[]).graph.unwrap();
        let Op::Pool(pool) = op(&graph, 1) else { panic!("a pool") };
        let total = if size.is_multiple_of(stride) {
            kernel.saturating_sub(stride)
        } else {
            kernel.saturating_sub(size % stride)
        };
        prop_assert_eq!(pool.window.pads_of(0), (total / 2, total - total / 2));
        prop_assert_eq!(result(&graph), Shape::map(size.div_ceil(stride), 20, 1));
    }

    /// A window is accepted exactly when it fits, and then the result has as many rows as windows
    /// fit.
    #[test]
    fn windows_fit_or_are_refused(
        size in 1..20_u32, kernel in 1..6_u32, stride in 1..4_u32, dilation in 1..4_u32, pad in 0..6_u32,
    ) {
        let source = format!(
            "model m\ninput image {size} x {size} x 1\n\
             conv 1, {kernel}, strides: {stride}, dilation: {dilation}, padding: {pad}"
        );
        let extent = (kernel - 1) * dilation + 1;
        let starts = (0..size + 2 * pad).step_by(stride as usize).filter(|s| s + extent <= size + 2 * pad).count();
        match read(&source, &[]).graph {
            Some(graph) => prop_assert_eq!(result(&graph).h() as usize, starts),
            None => prop_assert!(starts == 0 || pad >= extent),
        }
    }
}

/// Whatever stands between branches, sizes are those of the value that all branches read.
#[test]
fn sizes_between_branches_are_those_of_the_joins_input() {
    for (joined, channels) in [
        (
            "concat {\n branch { conv 16, 1x1 }\n for k in [channels, channels] { branch { conv k, 1x1 } }\n}",
            32,
        ),
        ("concat {\n branch { conv 16, 1x1 }\n repeat channels / 4 { branch { relu } }\n}", 32),
        ("concat {\n branch { conv 16, 1x1 }\n let k = channels\n branch { conv k, 1x1 }\n}", 24),
        (
            "concat {\n branch { conv 16, 1x1 }\n if channels == 8 { branch { relu } } else { branch { bn } }\n}",
            24,
        ),
        ("concat {\n branch { maxpool 1; conv 4, 1x1 }\n let k = rows\n branch { conv k, 1x1 }\n}", 20),
        ("add {\n branch { conv 4, 1x1 }\n for k in [channels / 2] { branch { conv k, 1x1 } }\n}", 4),
    ] {
        assert_eq!(result(&graph(joined)).c(), channels, "{joined}");
    }
    let paths = "residual { conv 8, 1x1 } shortcut { conv 4, 1x1; conv 8, 1x1; relu }";
    assert_eq!(names(&graph(&format!("{paths} as \"sum{{channels}}\""))).last(), Some(&"sum8"));
    let paths = "concat { branch { conv 3, 1x1 } branch { relu } }";
    assert_eq!(names(&graph(&format!("{paths} as \"both{{channels}}\""))).last(), Some(&"both8"));
}

#[test]
fn bare_names_of_variables_are_refused_wherever_a_name_can_stand() {
    let head = "let a = \"x\"\nconv 8, 1x1 as x\nrelu as y\n";
    for statement in [
        "relu as a",
        "from a",
        "concat a, x",
        "add x, a",
        "residual { bn } as a",
        "concat { branch { relu } branch { bn } } as a",
        "block b(a) { relu as a }\nb(\"z\")",
        "block b(a) { relu as a }",
        "repeat 1 as a { relu as a }",
    ] {
        let found = codes(&format!("{head}{statement}"));
        assert!(found.contains(&"E0212"), "{statement}: {found:?}");
    }
    for statement in ["relu as \"a\"", "relu as \"{a}1\"", "from \"{a}\"\nadd x, y", "concat \"{a}\", y"] {
        assert_eq!(codes(&format!("{head}{statement}")), [""; 0], "{statement}");
    }
}

/// An inner default wins whichever of its two words it is given by.
#[test]
fn defaults_for_groups_are_defaults_for_segments() {
    for (outer, inner) in [("segments", "groups"), ("groups", "segments"), ("groups", "groups")] {
        let body =
            format!("default conv {{ {outer}: 2 }}\nflow f {{ default conv {{ {inner}: 4 }}; conv 8, 1x1 }}");
        assert_eq!(conv(&graph(&body), 1).partition.segments(), 4, "{body}");
    }
    assert_eq!(
        conv(&graph("default conv { segments: 2 }\nconv 8, 1x1, groups: 4"), 1).partition.segments(),
        4
    );
}

#[test]
fn parameters_that_only_their_namesakes_use_are_unused() {
    let warnings = |body: &str| {
        let source = format!("model m\nparam width = 8\ninput image 8 x 8 x 3\n{body}");
        read(&source, &[]).diagnostics.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(warnings("block b(width) { conv width, 1x1 }\nb(4)"), ["W0001"]);
    assert_eq!(warnings("for width in [4, 5] { conv width, 1x1 }"), ["W0001"]);
    assert_eq!(warnings("block b(n = width) { conv n, 1x1 }\nb(4)"), ["W0001"]);
    assert_eq!(warnings("block b(n = width) { conv n, 1x1 }\nb()"), [""; 0]);
    assert_eq!(warnings("conv 1, 1x1 as \"c{width}\""), [""; 0]);
    assert_eq!(warnings("relu\nif no { conv width, 1x1 }"), [""; 0]);
}
