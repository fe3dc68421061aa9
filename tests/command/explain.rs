//! `xcc explain`: rewrites with reasons and lines.

use crate::harness::{TINY, assert_text, json, output};

#[test]
fn explain_of_tiny() {
    assert_text("command/explain_tiny.out", &output(&["explain", TINY, "--all"]));
}

#[test]
fn explain_is_short_unless_all_is_asked_for() {
    let short = output(&["explain", "specs/xception.xc"]);
    assert_text("command/explain_xception.out", &short);
    let all = output(&["explain", "specs/xception.xc", "--all"]);
    let hidden: usize = short
        .lines()
        .filter_map(|line| line.trim().strip_prefix("... "))
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.parse::<usize>().ok()))
        .sum();
    let rows = |text: &str| text.lines().filter(|line| line.contains("  line ")).count();
    assert_eq!(rows(&all), rows(&short) + hidden);
}

/// Reasons of any length wrap; merged branches and plain refusals have the longest.
#[test]
fn explanations_are_no_wider_than_a_terminal() {
    for spec in ["xception", "inception_v3", "inception_module", "resnet50", "mini_xception"] {
        let said = output(&["explain", &format!("specs/{spec}.xc"), "--all"]);
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
