//! `xcc explain`: rewrites with reasons and lines.

use xcc_compiler::plan::Precision;
use xcc_compiler::target::{Isa, Target};

use crate::harness::{TINY, assert_text, json, output, run};

#[test]
fn explain_of_tiny() {
    assert_text("command/explain_tiny.out", &output(&["explain", TINY, "--all", "--target", "baseline"]));
}

#[test]
fn explain_is_short_unless_all_is_asked_for() {
    let short = output(&["explain", "specs/xception.xc", "--target", "baseline"]);
    assert_text("command/explain_xception.out", &without_times(&short));
    let all = output(&["explain", "specs/xception.xc", "--all", "--target", "baseline"]);
    let hidden: usize = short
        .lines()
        .filter_map(|line| line.trim().strip_prefix("... "))
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.parse::<usize>().ok()))
        .sum();
    let rows = |text: &str| text.lines().filter(|line| line.contains("  line ")).count();
    assert_eq!(rows(&all), rows(&short) + hidden);
}

/// A text with `#` for each number of milliseconds: these are the times of this machine's
/// processor.
fn without_times(text: &str) -> String {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let without = |part: &str| match part.strip_suffix(" ms") {
        Some(start) => format!("{}# ms", start.trim_end_matches(is_number)),
        None => part.to_owned(),
    };
    text.split_inclusive(" ms").map(without).collect()
}

/// Reasons of any length wrap; merged branches and plain refusals have the longest.
#[test]
fn explanations_are_no_wider_than_a_terminal() {
    for spec in ["xception", "inception_v3", "inception_module", "resnet50", "mini_xception"] {
        let said = output(&["explain", &format!("specs/{spec}.xc"), "--all", "--target", "baseline"]);
        let wide: Vec<&str> = said.lines().filter(|line| line.chars().count() > 80).collect();
        assert_eq!(wide, [""; 0], "{spec}");
    }
}

/// No row says that a strided shortcut is no part of a separable layer: nobody can change that.
#[test]
fn shortcuts_are_not_refused_as_separable() {
    for spec in ["xception", "resnet50"] {
        let explanation = json(&["explain", &format!("specs/{spec}.xc"), "--json"]);
        assert_eq!(explanation["refused"], 0, "{spec}");
    }
}

#[test]
fn explain_as_json_places_every_row() {
    let explanation = json(&["explain", "specs/xception.xc", "--json"]);
    let source = std::fs::read_to_string("specs/xception.xc").unwrap();
    let rows = explanation["rows"].as_array().unwrap();
    let count = |outcome| rows.iter().filter(|row| row["outcome"] == outcome).count();
    assert_eq!(explanation["applied"], count("applied"));
    assert_eq!(explanation["refused"], count("refused"));
    for row in rows {
        let start = row["span"][0].as_u64().unwrap() as usize;
        let line = source[..start].matches('\n').count() + 1;
        assert_eq!(row["line"], line, "{row}");
        assert!(row["what"].is_string() || row["reason"].is_string(), "{row}");
    }
}

/// Fused groups have what they save and cost; those that do not pay have no rows of strips.
#[test]
fn fused_groups_are_explained() {
    let explanation = json(&["explain", "specs/xception.xc", "--json", "--target", "avx512"]);
    let groups = explanation["fused_groups"].as_array().unwrap();
    let pays = |group: &&serde_json::Value| group["saved_macs"].as_u64() > group["cost_macs"].as_u64();
    let chosen: Vec<_> = groups.iter().filter(pays).collect();
    let layers = ["block2", "block3"].map(|block| [1, 2].map(|layer| format!("{block}_sepconv{layer}")));
    assert_eq!(chosen.len(), layers.len());
    for (group, layers) in chosen.iter().zip(layers) {
        assert_eq!(group["layers"].as_array().unwrap()[..2], layers);
        assert_eq!(group["strip_rows"], 1);
    }
    assert!(groups.iter().all(|group| group["strip_rows"].is_null() != pays(&group)));
}

/// In bf16, pointwise parts are matrices, and 3x3 taps are, too, unless they have planes of
/// Winograd's method.
#[test]
fn matrices_are_explained() {
    if !Precision::Bf16.is_for(Target::native()) {
        eprintln!("skipped: matrices, since this machine multiplies no bf16 values");
        return;
    }
    let explanation = |segments: &str| {
        let spec = ["explain", "specs/xception.xc", "--json", "--precision", "bf16"];
        json(&[&spec[..], &["--set", &format!("middle_segments={segments}")]].concat())
    };
    let has_form = |explanation: &serde_json::Value, layer: &serde_json::Value| {
        explanation["choices"].as_array().unwrap().iter().any(|choice| choice["node"] == layer["node"])
    };
    for (segments, part) in [("728", "pointwise part"), ("14", "both parts")] {
        let explanation = explanation(segments);
        assert_eq!(explanation["precision"], "bf16");
        let matrices = explanation["matrices"].as_array().unwrap();
        let middle: Vec<_> =
            matrices.iter().filter(|row| row["layer"].as_str().unwrap().starts_with("block7_sep")).collect();
        assert_eq!(middle.len(), 3);
        for row in middle {
            let expected = if has_form(&explanation, row) { "pointwise part" } else { part };
            assert_eq!(row["part"], expected, "{row}");
        }
    }
}

/// Times of instructions by which a product of bf16 pairs takes so many multiply-adds' time.
fn constants_with_pairs(multiply_adds: u32) -> tempfile::NamedTempFile {
    let kinds = ["call", "multiply_add_memory", "load", "broadcast", "permute", "arithmetic", "store"];
    let mut times: serde_json::Map<_, _> =
        kinds.map(|kind| (kind.to_owned(), 100.into())).into_iter().collect();
    times.insert("multiply_add".to_owned(), 200.into());
    times.insert("pair".to_owned(), (200 * multiply_adds).into());
    let fitted = serde_json::json!({ "times": times, "mean_error": 0.0, "worst_error": 0.0, "samples": [] });
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = serde_json::json!({
        "processor": "p", "date": "d", "command": "c", "targets": { "avx512": fitted }
    });
    std::fs::write(file.path(), text.to_string()).unwrap();
    file
}

/// The times that are given decide whether bf16 has products of its own, and a line gives the
/// reason.
#[test]
fn more_exact_products_are_explained() {
    if !Isa::Avx512Bf16.missing().is_empty() {
        eprintln!("skipped: products of pairs, since this machine has none");
        return;
    }
    let explain = |multiply_adds, more: &[&str]| {
        let file = constants_with_pairs(multiply_adds);
        let spec = ["explain", "specs/mobilenet.xc", "--precision", "bf16", "--target", "avx512bf16"];
        output(&[&spec[..], &["--constants", file.path().to_str().unwrap()], more].concat())
    };
    let json = |multiply_adds| -> serde_json::Value {
        serde_json::from_str(&explain(multiply_adds, &["--json"])).unwrap()
    };
    let rows = |found: &serde_json::Value, key: &str| found[key].as_array().unwrap().len();
    let (slow, fast) = (json(8), json(1));
    // The last layer waits for its weights, which are half as many bytes in bf16.
    assert_eq!(rows(&slow, "matrices"), 1);
    assert!(rows(&slow, "exact") > 10, "{slow}");
    let exact = &slow["more_exact"];
    assert_eq!(exact["layers"].as_u64().unwrap() + 1, exact["of"].as_u64().unwrap());
    assert_eq!(exact["asked"], "bf16");
    assert!(rows(&fast, "matrices") > 10 && rows(&fast, "exact") < rows(&fast, "matrices"), "{fast}");
    let text = explain(8, &[]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = "13 of 14 layers use f32 products: vdpbf16ps takes 4.0 times as long as the 2 multiply-adds";
    assert!(words.contains(line), "{text}");
}

/// Where the processor adds while it multiplies, products of wide pointwise layers are crossed,
/// those of narrow ones are not.
#[test]
fn fast_inner_products_are_explained() {
    if Target::native().fast_inner_products.is_none() {
        eprintln!("skipped: fast inner products, since this machine does not add while it multiplies");
        return;
    }
    let explanation = json(&["explain", "specs/xception.xc", "--json"]);
    let fast_inner = explanation["fast_inner"].as_array().unwrap();
    let part = |layer: &str| fast_inner.iter().find(|row| row["layer"] == layer).map(|row| &row["part"]);
    assert_eq!(part("block7_sepconv1").unwrap(), "pointwise part");
    assert_eq!(part("conv2d_1").unwrap(), "all of it");
    assert!(["block2_sepconv1", "conv2d", "predictions"].iter().all(|layer| part(layer).is_none()));
}

/// Constants that were measured take the place of those that are built in; a file that lacks them
/// says so.
#[test]
fn algorithms_are_chosen_by_the_constants_that_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("times.json");
    let file = path.to_str().unwrap();
    let spec = ["explain", "specs/xception.xc", "--set", "segments=182", "--target", "baseline", "--json"];
    let algorithm = |arguments: &[&str]| {
        let explanation = json(arguments);
        let choices = explanation["choices"].as_array().unwrap();
        let choice = choices.iter().find(|choice| choice["segments"].as_u64() > Some(1)).unwrap();
        choice["algorithms"][choice["chosen"].as_u64().unwrap() as usize]["algorithm"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut kinds: serde_json::Map<_, _> =
        ["call", "multiply_add", "multiply_add_memory", "load", "broadcast"]
            .into_iter()
            .chain(["store", "arithmetic"])
            .map(|kind| (kind.to_owned(), 1.into()))
            .collect();
    kinds.insert("permute".to_owned(), 1_000_000.into());
    let fitted = serde_json::json!({"times": kinds, "mean_error": 0.0, "worst_error": 0.0, "samples": []});
    let text = serde_json::json!({
        "processor": "p", "date": "2026-11-22", "command": "c", "targets": {"baseline": fitted},
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let given = [&spec[..], &["--constants", file]].concat();
    assert_eq!(algorithm(&spec), "2 segments side by side in a vector");
    assert!(algorithm(&given).starts_with("panels of "), "{}", algorithm(&given));
    std::fs::write(&path, text.to_string().replace("baseline", "avx2")).unwrap();
    let refused = run(&given);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("it has no times for baseline, only for avx2"), "{}", refused.stderr);
}
