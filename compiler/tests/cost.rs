//! Costs against numbers worked out by hand, and against rewrites, which change none.

mod common;

use common::{Builder, cut, random_graph, window};
use proptest::prelude::*;
use xcc_compiler::cost::{Macs, Totals, macs, summarize, total_macs};
use xcc_compiler::graph::{Activation, Graph, Partition, Shape, Window};
use xcc_compiler::passes::{PassOptions, optimize};

fn small() -> Graph {
    let mut builder = Builder::new(Shape::map(8, 8, 3));
    let input = builder.input();
    let stem = builder.conv(input, window(3, 2, 1), Partition::whole(3, 8), true);
    let norm = builder.norm(stem);
    let sep = builder.separable(norm, window(3, 1, 1), cut(8, 8, 3), Activation::Relu, 8);
    let sum = builder.add(&[sep, norm]);
    let flat = builder.flatten(sum);
    let dense = builder.dense(flat, 10);
    builder.finish(&[dense])
}

#[test]
fn multiply_adds_are_pixels_times_taps_times_products_of_segments() {
    let graph = small();
    let all: Vec<(u64, u64)> = graph
        .order()
        .iter()
        .map(|&id| {
            let Macs { spatial, pointwise } = macs(&graph, id);
            (spatial, pointwise)
        })
        .collect();
    // 4 x 4 pixels; 8 channels in 3 segments are 3 x 3 + 3 x 3 + 2 x 2 products.
    let spatial = 16 * 9 * (9 + 9 + 4);
    let expected = [
        (0, 0),
        (16 * 9 * 3 * 8, 0),
        (0, 0),
        (spatial, 0),
        (0, 0),
        (0, 16 * 64),
        (0, 0),
        (0, 0),
        (0, 128 * 10),
    ];
    assert_eq!(all, expected);
}

#[test]
fn a_segmented_1x1_convolution_is_spatial_work() {
    let mut builder = Builder::new(Shape::map(2, 2, 4));
    let y = builder.conv(builder.input(), Window::POINT, cut(4, 4, 2), false);
    let graph = builder.finish(&[y]);
    assert_eq!(total_macs(&graph), Macs { spatial: 4 * 8, pointwise: 0 });
}

#[test]
fn the_summary_has_a_row_for_each_layer_and_sums_of_them() {
    let summary = summarize(&small());
    let rows: Vec<_> = summary.flows.iter().flat_map(|flow| &flow.layers).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        names,
        ["input", "conv2d_1", "batchnormalization_2", "separableconv2d_3", "add_4", "flatten_5", "dense_6"]
    );
    let flows: Vec<_> = summary.flows.iter().map(|f| (f.name.as_deref(), f.layers.len())).collect();
    assert_eq!(flows, [(Some("entry"), 1), (Some("main"), 6)]);
    assert_eq!(rows[4].connected_to, ["separableconv2d_3", "batchnormalization_2"]);
    assert_eq!((rows[2].parameters, rows[2].trainable_parameters), (32, 16));
    let segments = 9 * 22 + 64 + 8;
    let expected = Totals {
        parameters: 3 * 9 * 8 + 8 + 32 + segments + 1290,
        trainable_parameters: 3 * 9 * 8 + 8 + 16 + segments + 1290,
        non_trainable_parameters: 16,
        weight_bytes: 4 * (3 * 9 * 8 + 8 + 32 + segments + 1290),
        spatial_macs: 16 * 9 * 24 + 16 * 9 * 22,
        pointwise_macs: 16 * 64 + 1280,
        macs: 16 * 9 * 46 + 16 * 64 + 1280,
        activation_bytes: 4 * (192 + 5 * 128 + 10),
    };
    assert_eq!(summary.totals, expected);
}

#[test]
fn the_fields_of_the_json_are_those_documented() {
    let json = serde_json::to_value(summarize(&small())).unwrap();
    let keys = |value: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(keys(&json), "flows input_shape model totals");
    assert_eq!(keys(&json["flows"][0]), "layers name totals");
    assert_eq!(
        keys(&json["flows"][0]["layers"][0]),
        "activation_bytes class connected_to name output_shape parameters pointwise_macs spatial_macs trainable_parameters"
    );
    assert_eq!(
        keys(&json["totals"]),
        "activation_bytes macs non_trainable_parameters parameters pointwise_macs spatial_macs trainable_parameters weight_bytes"
    );
    assert_eq!(json["flows"][1]["layers"][5]["output_shape"], serde_json::json!([10]));
}

proptest! {
    #[test]
    fn passes_change_no_multiply_add(genes in prop::collection::vec(any::<u8>(), 0..150)) {
        let mut graph = random_graph(&genes);
        let before = total_macs(&graph);
        prop_assert_eq!(summarize(&graph).totals.macs, before.total());
        optimize(&mut graph, &PassOptions::default());
        prop_assert_eq!(total_macs(&graph), before);
    }
}

/// F. Chollet, arXiv 1610.02357, table 3, and the usual count of multiply-adds.
#[test]
fn xception_has_the_parameters_of_the_paper() {
    let totals = summarize(&common::shipped("xception.xc", &[])).totals;
    assert_eq!(totals.parameters, 22_910_480);
    assert_eq!(totals.trainable_parameters, 22_855_952);
    assert_eq!(totals.non_trainable_parameters, 54_528);
    assert_eq!(format!("{:.3}", totals.macs as f64 / 1e9), "8.357");
}
