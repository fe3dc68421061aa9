//! The rendered text of each kind of mistake: `mistakes/NAME.xc` is a spec with one,
//! `mistakes/NAME.txt` what is said about it. Lines `# set k=v` at the top are settings.
//! `SNAPSHOTS=overwrite` blesses the texts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::subsequence;
use snapbox::Data;
use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::read;

/// How most specs of mistakes start.
const HEAD: &str = "model m\ninput image 32 x 32 x 3\n";

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
    // A source of more than a megabyte, and a file that only the command reads
    // (tests/command/check.rs).
    let elsewhere = |code: &&String| ["E0107", "E0514"].contains(&code.as_str());
    let untested: Vec<_> = used.difference(&tested).filter(|code| !elsewhere(code)).collect();
    assert!(untested.is_empty(), "no file in tests/mistakes shows {untested:?}");
    let documented = codes(&std::fs::read_to_string(root.join("../docs/language.md")).unwrap(), "`");
    assert_eq!(used, documented.into_iter().collect(), "codes of the compiler and of docs/language.md");
}

/// What the spec of a mistake says after the declarations that most of them share, and what is
/// found there, if that goes together with other statements.
fn fragment(path: &Path) -> Option<(String, Vec<&'static str>)> {
    let source = std::fs::read_to_string(path).unwrap();
    let body = source.strip_prefix(HEAD)?;
    // What is declared would meet other specs.
    if [" as ", "block ", "param ", "let ", "default "].iter().any(|word| body.contains(word)) {
        return None;
    }
    // A brace too many in one closes a brace too few in another.
    if body.matches('{').count() != body.matches('}').count() {
        return None;
    }
    let alone = found(&source);
    let mut followed = found(&format!("{source}\nfrom beyond"));
    let end = followed.pop();
    (end == Some("E0205") && followed == alone).then(|| (body.to_owned(), alone))
}

fn found(source: &str) -> Vec<&'static str> {
    read(source, &[]).diagnostics.iter().map(|d| d.code).collect()
}

static FRAGMENTS: LazyLock<Vec<(String, Vec<&'static str>)>> =
    LazyLock::new(|| sources().iter().filter_map(|path| fragment(path)).collect());

proptest! {
    /// Mistakes neither hide nor make others.
    #[test]
    fn several_mistakes_are_found_in_one_run(
        picked in subsequence((0..FRAGMENTS.len()).collect::<Vec<_>>(), 2..8).prop_shuffle(),
    ) {
        prop_assert!(FRAGMENTS.len() > 50, "{} fragments", FRAGMENTS.len());
        let picked = picked.iter().map(|index| &FRAGMENTS[*index]);
        let (mut source, mut expected) = (HEAD.to_owned(), Vec::<&str>::new());
        for (body, codes) in picked {
            source.push_str(&format!("\nfrom image\n{body}"));
            expected.extend(codes);
        }
        let mut all = found(&source);
        all.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(all, expected, "{}", source);
    }
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
