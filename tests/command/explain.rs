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
    let notes = short.lines().filter(|line| line.trim().starts_with("... ")).count();
    assert_eq!(all.lines().count(), short.lines().count() - notes + hidden);
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
