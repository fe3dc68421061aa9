//! `xcc summary`: tables as text, and JSON with the same numbers.

use serde_json::Value;

use crate::harness::{TINY, assert_text, json, output};

#[test]
fn summary_of_xception() {
    let text = output(&["summary", "specs/xception.xc"]);
    assert!(text.contains("22,910,480") && text.contains("8.357 GMACs"), "the paper's numbers");
    assert_text("command/summary_xception.out", &text);
}

#[test]
fn summary_of_mini_xception() {
    assert_text("command/summary_mini_xception.out", &output(&["summary", "specs/mini_xception.xc"]));
}

#[test]
fn summary_with_connections_in_a_column() {
    assert_text(
        "command/summary_wide.out",
        &output(&["summary", TINY, "--width", "110", "--set", "segments=2"]),
    );
}

#[test]
fn summary_of_a_chain_has_no_connections() {
    assert_text("command/summary_chain.out", &output(&["summary", "tests/command/chain.xc"]));
}

/// Numbers and names are never cut, so lines can be wider than asked for, but not wider than at 80.
#[test]
fn summaries_fit_their_width() {
    for spec in ["specs/xception.xc", "specs/mini_xception.xc", TINY] {
        for width in [72, 80, 100, 120] {
            let text = output(&["summary", spec, "--width", &width.to_string()]);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{spec}: {widest} columns of {width}");
        }
        let narrow = output(&["summary", spec, "--width", "1"]);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80));
    }
}

#[test]
fn summary_as_json_has_the_numbers_of_the_table() {
    let summary = json(&["summary", "specs/xception.xc", "--json"]);
    let totals = &summary["totals"];
    assert_eq!(totals["parameters"], 22_910_480);
    assert_eq!(totals["trainable_parameters"], 22_855_952);
    assert_eq!(totals["non_trainable_parameters"], 54_528);
    assert_eq!(totals["macs"].as_f64().map(|macs| (macs / 1e6).round()), Some(8357.0));
    let flows = summary["flows"].as_array().unwrap();
    let layers: Vec<&Value> = flows.iter().flat_map(|flow| flow["layers"].as_array().unwrap()).collect();
    for field in ["parameters", "trainable_parameters", "spatial_macs", "pointwise_macs", "activation_bytes"]
    {
        let sum: u64 = layers.iter().map(|layer| layer[field].as_u64().unwrap()).sum();
        assert_eq!(totals[field], sum, "{field}");
    }
}

#[test]
fn segments_change_what_a_network_costs() {
    let spatial = |segments: &str| {
        let setting = format!("segments={segments}");
        let summary = json(&["summary", "specs/xception.xc", "--json", "--set", &setting]);
        summary["totals"]["spatial_macs"].as_u64().unwrap()
    };
    let [few, more, full] = ["4", "28", "full"].map(spatial);
    assert!(few > more && more > full);
}
