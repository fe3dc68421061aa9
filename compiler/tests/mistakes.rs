//! The rendered text of each kind of mistake: `mistakes/NAME.xc` is a spec with one, `mistakes/NAME.txt` what
//! is said about it. Lines `# set k=v` at the top are settings. `SNAPSHOTS=overwrite` blesses the texts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use snapbox::Data;
use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::read;

fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut sources: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "xc")).collect();
    sources.sort();
    sources
}

fn settings(source: &str) -> Vec<(String, String)> {
    let lines = source.lines().filter_map(|l| l.strip_prefix("# set "));
    lines.map(|l| l.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn each_mistake_is_rendered_as_expected() {
    let assert = snapbox::Assert::new().action_env("SNAPSHOTS");
    let mut failures = String::new();
    for path in sources() {
        let source = std::fs::read_to_string(&path).unwrap();
        let elaborated = read(&source, &settings(&source));
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_warning = name.starts_with("warning");
        if elaborated.graph.is_some() != is_warning || elaborated.diagnostics.is_empty() {
            failures
                .push_str(&format!("{name}: there must be errors and no graph, or warnings and a graph\n"));
        }
        let text = render(name, &source, &elaborated.diagnostics, false);
        let expected = Data::read_from(&path.with_extension("txt"), None).raw();
        if let Err(error) = assert.try_eq(Some(&name), Data::text(text), expected) {
            failures.push_str(&error.to_string());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Every code of the compiler has a test here and a line in the language's documentation.
#[test]
fn each_code_is_tested_and_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for folder in ["src/syntax", "src/elaborate"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            used.extend(codes(&std::fs::read_to_string(entry.unwrap().path()).unwrap(), "\""));
        }
    }
    let rendered =
        sources().into_iter().filter_map(|p| std::fs::read_to_string(p.with_extension("txt")).ok());
    let tested: BTreeSet<_> = rendered.flat_map(|text| codes(&text, "[")).collect();
    let untested: Vec<_> = used.difference(&tested).filter(|c| *c != "E0107").collect();
    assert!(untested.is_empty(), "no file in tests/mistakes shows {untested:?}");
    let documented = codes(&std::fs::read_to_string(root.join("../docs/language.md")).unwrap(), "`");
    assert_eq!(used, documented.into_iter().collect(), "codes of the compiler and of docs/language.md");
}

/// The codes in a text that directly follow `before`.
fn codes(text: &str, before: &str) -> Vec<String> {
    let code = |part: &str| -> Option<String> {
        let code = part.get(..5)?;
        let digits = code.strip_prefix(['E', 'W'])?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| code.to_owned())
    };
    text.split(before).skip(1).filter_map(code).collect()
}
