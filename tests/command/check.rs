//! `xcc check` and the files that specs name.

use crate::harness::{assert_text, transcript};

#[test]
fn check_reads_files_of_labels() {
    let specs = ["missing", "short", "mistaken"].map(|name| format!("tests/command/labels_{name}.xc"));
    let arguments: Vec<&str> = std::iter::once("check").chain(specs.iter().map(String::as_str)).collect();
    assert_text("command/check_labels.out", &transcript(&arguments));
}
