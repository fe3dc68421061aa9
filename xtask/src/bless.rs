//! Expected texts of snapshot tests, rewritten.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::tool;

/// The crate that compares with expected texts, in files of their own or in a test's code.
const MARK: &str = "snapbox::";
/// Where git looks for tests and their texts.
const TESTS: [&str; 3] = ["--", "tests", "*/tests/*"];

/// Runs the named suites, or all that compare with expected texts, so that each rewrites its
/// texts. Lists the changed files even where other tests of the suites fail.
pub fn run(names: &[&str]) -> Result<(), String> {
    let known = suites()?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(**name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(format!("no suite `{unknown}` has expected texts; suites are {}", known.join(", ")));
    }
    let chosen = known.iter().filter(|suite| names.is_empty() || names.contains(&suite.as_str()));
    let mut tests = tool::cargo("test --locked --workspace --quiet --no-fail-fast", &[]);
    chosen.for_each(|suite| {
        tests.args(["--test", suite]);
    });
    let ran = tool::run(tests.env("SNAPSHOTS", "overwrite"));
    list_changes()?;
    ran
}

/// Names of the suites that compare with expected texts.
fn suites() -> Result<BTreeSet<String>, String> {
    let files = tool::output(tool::program("git", &["grep", "-lF", MARK]).args(TESTS))?;
    Ok(files.lines().filter_map(suite).collect())
}

/// The suite that a file belongs to: the file or folder behind `tests`.
fn suite(file: &str) -> Option<String> {
    let behind_tests = Path::new(file)
        .components()
        .skip_while(|part| *part != Component::Normal("tests".as_ref()))
        .nth(1)?;
    Some(Path::new(&behind_tests).file_stem()?.to_string_lossy().into_owned())
}

fn list_changes() -> Result<(), String> {
    let changed = tool::output(tool::program("git", &["diff", "--stat"]).args(TESTS))?;
    let untracked = ["ls-files", "--others", "--exclude-standard"];
    let added = tool::output(tool::program("git", &untracked).args(TESTS))?;
    print!("{changed}");
    added.lines().for_each(|file| println!(" {file} (new)"));
    if changed.is_empty() && added.is_empty() {
        println!("no expected text differs from the index");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::suite;

    #[test]
    fn a_suite_is_a_file_or_a_folder_of_tests() {
        let suites = ["tests/command/harness.rs", "compiler/tests/stages.rs", "src/main.rs"].map(suite);
        assert_eq!(suites, [Some("command".to_owned()), Some("stages".to_owned()), None]);
    }
}
