//! `xcc diff`: the layers that differ, and nothing else.

use std::collections::HashMap;

use serde_json::Value;

use crate::harness::{TINY, assert_text, json, keys_in_help, number, output, run, run_with_input};

#[test]
fn two_settings_of_a_spec() {
    assert_text(
        "command/diff_tiny.out",
        &output(&["diff", TINY, "--set", "segments=1", "--against", "segments=2"]),
    );
}

#[test]
fn two_specs() {
    let text = output(&["diff", "specs/resnet50.xc", "specs/resnet152.xc"]);
    assert!(text.contains("25,636,712") && text.contains("60,419,944"), "{text}");
    assert!(text.contains("conv4_block36_3_conv") && !text.contains("conv4_block6_3_conv"), "{text}");
}

/// What a network has more of is in the layers that differ: sums agree with `xcc summary`.
#[test]
fn differences_add_up_to_that_of_the_totals() {
    let spec = "specs/xception.xc";
    let report =
        json(&["diff", spec, "--against", "residuals=no", "--against", "entry_segments=4", "--json"]);
    for (side, settings) in
        [("first", &[][..]), ("second", &["--set", "residuals=no", "--set", "entry_segments=4"])]
    {
        let summary = json(&[&["summary", spec, "--json"], settings].concat());
        assert_eq!(report[side]["totals"], summary["totals"], "{side}");
    }
    for cost in ["parameters", "spatial_macs", "pointwise_macs", "activation_bytes"] {
        let of_layers = |side: &str| -> f64 {
            let layers = report["layers"].as_array().unwrap().iter();
            layers.filter(|layer| !layer[side].is_null()).map(|layer| number(&layer[side], cost)).sum()
        };
        let of_totals = |side: &str| number(&report[side]["totals"], cost);
        let [layers, totals] =
            [of_layers("second") - of_layers("first"), of_totals("second") - of_totals("first")];
        assert_eq!(layers, totals, "{cost}");
    }
}

#[test]
fn times_are_those_of_layers_with_weights() {
    let report = json(&[
        "diff",
        TINY,
        "--against",
        "segments=2",
        "--time",
        "--iters",
        "3",
        "--threads",
        "1",
        "--json",
    ]);
    keys_in_help("diff", &report);
    keys_in_help("diff", &report["first"]);
    let layer = &report["layers"][0];
    keys_in_help("diff", layer);
    keys_in_help("diff", &layer["first"]);
    assert!(number(&layer["first"], "ms") > 0.0 && number(&layer["second"], "ms") > 0.0, "{layer}");
    assert!(number(&report["first"], "ms") >= number(&layer["first"], "ms"));
}

#[test]
fn layers_that_are_computed_together_name_each_other() {
    let compared = ["diff", "specs/xception.xc", "--against", "entry_segments=1", "--json"];
    let timed = ["--time", "--iters", "1", "--threads", "1"];
    let report = json(&[&compared[..], &timed].concat());
    let layers = report["layers"].as_array().unwrap().iter();
    let layers: HashMap<&str, &Value> =
        layers.map(|layer| (layer["name"].as_str().unwrap(), &layer["first"])).collect();
    let with = |name: &str| layers.get(name).map(|facts| facts["with"].as_array().unwrap());
    let mut pairs = 0;
    for (&name, facts) in &layers {
        for other in with(name).unwrap() {
            // Pools do not differ, so they have no row.
            let Some(others) = with(other.as_str().unwrap()) else { continue };
            assert!(others.iter().any(|back| back == name), "{name}: {facts}");
            pairs += 1;
        }
    }
    if pairs == 0 {
        eprintln!("skipped: this target computes no two layers together");
    }
}

#[test]
fn a_spec_from_standard_input_is_read_once() {
    let source = std::fs::read_to_string(TINY).unwrap();
    let from_input = run_with_input(&["diff", "-", "--against", "segments=2"], &source);
    assert_eq!(from_input.stdout, output(&["diff", TINY, "--against", "segments=2"]));
}

#[test]
fn a_network_without_another_is_refused() {
    let ran = run(&["diff", TINY]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("give a second spec or `--against NAME=VALUE`"), "{}", ran.stderr);
    let same = output(&["diff", TINY, TINY]);
    assert!(same.contains("no layer differs"), "{same}");
}
