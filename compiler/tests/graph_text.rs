//! The text form of graphs round-trips, and damaged text gives an error with its line.

mod common;

use proptest::prelude::*;
use xcc_compiler::graph::text::{parse, write};
use xcc_compiler::graph::verify::{annotate, verify};
use xcc_compiler::graph::{Activation, ChannelOrder, Graph, ImageSpec, Labels, Post, Shape, Slope};

fn image() -> impl Strategy<Value = ImageSpec> {
    let labels = prop_oneof![
        Just(Labels::None),
        proptest::collection::vec(any::<String>(), 0..3).prop_map(Labels::Inline),
        any::<String>().prop_map(Labels::File),
    ];
    let orders = prop::sample::select(vec![ChannelOrder::Rgb, ChannelOrder::Bgr, ChannelOrder::Gray]);
    let number = prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL;
    (prop::array::uniform2(number), orders, proptest::collection::vec(number, 0..4), labels)
        .prop_map(|(range, channels, mean, labels)| ImageSpec { range, channels, mean, labels })
}

/// Graphs with random names, and with some dead nodes.
fn graph() -> impl Strategy<Value = Graph> {
    let genes = proptest::collection::vec(any::<u8>(), 0..120);
    (genes, image(), any::<String>(), any::<bool>()).prop_map(|(genes, image, name, drop)| {
        let mut graph = common::random_graph(&genes);
        graph.image = image;
        graph.layers[0].name = format!("input{name}");
        graph.layers[0].path = vec![name.clone(), String::new()];
        graph.name = name;
        let dropouts: Vec<_> =
            graph.order().to_vec().into_iter().filter(|&id| drop && is_dropout(&graph, id)).collect();
        for id in dropouts {
            let input = graph.node(id).inputs[0];
            graph.replace_uses(id, input);
            graph.remove(id);
        }
        graph
    })
}

fn is_dropout(graph: &Graph, id: xcc_compiler::graph::NodeId) -> bool {
    matches!(graph.node(id).op, xcc_compiler::graph::Op::Dropout { .. })
}

fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!((&a.name, &a.image, &a.layers), (&b.name, &b.image, &b.layers));
    assert_eq!((&a.weights, a.input, &a.outputs), (&b.weights, b.input, &b.outputs));
    assert_eq!(a.order(), b.order());
    for &id in a.order() {
        assert_eq!(a.node(id), b.node(id), "{id}");
    }
}

/// Functions on the way in, between parts and on the way out print with their slopes.
#[test]
fn activations_are_read_back_wherever_they_stand() {
    let slope = Slope::new(0.01).unwrap();
    for function in Activation::ALL.into_iter().map(|function| function.with_slope(slope)) {
        let mut builder = common::Builder::new(Shape::map(4, 4, 2));
        let active = builder.activation(builder.input(), function);
        let result = builder.separable(active, common::window(3, 1, 1), common::cut(2, 2, 2), function, 3);
        let mut graph = builder.finish(&[result]);
        let conv = graph.node_mut(result);
        conv.fusion.load = function;
        conv.fusion.post = vec![Post::Activation(function), Post::Activation(Activation::Relu)];
        assert_same(&parse(&write(&graph)).unwrap(), &graph);
    }
}

proptest! {
    #[test]
    fn written_graphs_are_read_back_the_same(graph in graph()) {
        let text = write(&graph);
        let back = match parse(&text) {
            Ok(back) => back,
            Err(error) => panic!("{error}\n{text}"),
        };
        assert_same(&graph, &back);
        prop_assert_eq!(write(&back), text);
    }

    #[test]
    fn random_graphs_verify(graph in graph()) {
        if let Err(violations) = verify(&graph) {
            panic!("{}", annotate(&graph, &violations));
        }
    }

    #[test]
    fn damaged_text_is_an_error_or_a_graph_that_can_be_verified(
        graph in graph(),
        at in any::<prop::sample::Index>(),
        length in 0..6usize,
        patch in "[vwlx0-9 ,:;{}()\\[\\]\"=a-e-]{0,4}",
    ) {
        let mut text: Vec<char> = write(&graph).chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, patch.chars());
        match parse(&text.iter().collect::<String>()) {
            Ok(graph) => match verify(&graph) {
                Ok(()) => assert_same(&graph, &parse(&write(&graph)).unwrap()),
                Err(violations) => assert!(annotate(&graph, &violations).contains("; ")),
            },
            Err(error) => prop_assert!(error.line >= 1),
        }
    }
}

#[test]
fn mistakes_are_reported_with_their_line() {
    let cases = [
        ("", "line 1: the text has no line `model \"name\"`"),
        ("model \"m\"", "line 1: no node is the input"),
        ("model \"m\"\nv0 = input : 3x3x1", "line 2: expected `in`, found the end of the line"),
        (
            "model \"m\"\nv0 = input : 3x3 in l0",
            "line 2: expected a shape such as 19x19x728 or vector 1000, found `3x3`",
        ),
        ("v0 = input : 3x3x1 in l0\nv0 = input : 3x3x1 in l0", "line 2: there is a node 0 already"),
        ("v99999999 = input : 3x3x1 in l0", "line 1: v99999999 is too large: ids are below 1048576"),
        ("v1 = convolve v0 : 3x3x1 in l0", "line 1: there is no operation `convolve`"),
        (
            "v1 = conv v0 3x3 segments 0x1->1 : 3x3x1 in l0",
            "line 1: expected segments such as 28x26->26, found `0x1->1`",
        ),
        (
            "v1 = conv v0 3x3 segments 1000000x1->1,1000000x1->1 : 3x3x1 in l0",
            "line 1: the text has more than 1048576 segments",
        ),
        ("v1 = relu v0 : 3x3x1 in l0 in", "line 1: expected the end of the line, found `in`"),
        ("model \"m", "line 1: \"m is not a string"),
        (
            "layer l0 Conv3D \"x\" at 0..0",
            "line 1: expected a layer's class, as Keras names it, found `Conv3D`",
        ),
        ("layer l0 Conv2D \"x\" at 0-0", "line 1: expected a span such as 12..34, found `0-0`"),
        (
            "model \"m\"\nv0 = input : 3x3x1 in l0\nlayer l1 Conv2D \"x\" at 0..0",
            "line 3: layer l0 is missing",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
    }
}
