//! Reading a spec takes work that its length bounds, whatever it says: parser calls are linear in
//! the source, and steps, mistakes and suggestions have budgets.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use proptest::prelude::*;
use proptest::sample::Index;
use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::{Elaborated, Work, read};
use xcc_compiler::syntax::MAX_SOURCE;

const HEAD: &str = "model m\ninput image 8 x 8 x 3\n";

/// Calls of rules of the grammar that a byte of a source takes at most, and those of an empty
/// source.
const CALLS: [usize; 2] = [500, 20_000];

/// The parser counts its calls for all threads against one limit.
static PARSER: Mutex<()> = Mutex::new(());

/// The shipped specs and those of mistakes.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("../specs"), root.join("tests/mistakes")];
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()))
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "xc"));
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
});

/// Reads a spec with as many calls of rules as its length allows: a parser that needs more fails.
fn read_within_bounds(source: &str) -> Elaborated {
    let _guard = PARSER.lock().unwrap_or_else(PoisonError::into_inner);
    let [each, least] = CALLS;
    pest::set_call_limit(NonZeroUsize::new(least + each * source.len()));
    let elaborated = read(source, &[]);
    pest::set_call_limit(None);
    let is_cut_short = elaborated.diagnostics.iter().any(|d| d.message.contains("call limit"));
    assert!(!is_cut_short, "more than {each} calls a byte for {} bytes\n{}", source.len(), start_of(source));
    let Work { steps, mistakes, comparisons } = elaborated.work;
    let most = Work::MOST;
    assert!(
        steps <= most.steps && mistakes <= most.mistakes && comparisons <= most.comparisons,
        "{:?} for\n{}",
        elaborated.work,
        start_of(source)
    );
    let shown = render("spec", source, &elaborated.diagnostics, false);
    assert!(shown.len() < 1 << 20, "{} bytes of messages for\n{}", shown.len(), start_of(source));
    elaborated
}

fn start_of(source: &str) -> &str {
    let mut end = source.len().min(2000);
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    &source[..end]
}

/// `piece` as often as fits into the largest source.
fn filled(piece: &str) -> String {
    piece.repeat((MAX_SOURCE - 200) / piece.len())
}

#[test]
fn texts_built_to_take_long_stay_within_bounds() {
    let word = |length: usize| "a".repeat(length);
    let bodies = [
        format!("{}\n{}", "(".repeat(31), ")".repeat(32)),
        format!("{}\n{}", "[".repeat(31), ")".repeat(32)),
        format!("a = {}\n{}", "(".repeat(31), filled("x ")),
        "repeat 9000 { relu }\nrepeat 600000 { from nosuchlayer }".to_owned(),
        format!("{}\n{}b", word(MAX_SOURCE / 3), word(MAX_SOURCE / 3)),
        format!("let {0} = 1\nrepeat 900000 {{ let b = {0} }}", word(MAX_SOURCE / 3)),
        "repeat 900000 { conv 0, 3x3 }".to_owned(),
        format!("block b() {{ conv 0, 3x3; bnn; relu x: 1; from no }}\n{}", filled("b()\n")),
        format!("repeat 600000 {{ a = {} }}", filled("b c d e ")),
        format!(
            "block b() {{ let a = \"{}\" }}\n{}",
            word(MAX_SOURCE / 2),
            filled("b();").split_off(MAX_SOURCE / 2)
        ),
        format!("{}{}{}", "a = {".repeat(31), filled("x y z\n").split_off(400), "}".repeat(31)),
        format!(
            "block b(n) {{ {} }}\nb([{}1])",
            "conv 0, 3x3; from zz;".repeat(50),
            "\n".repeat(MAX_SOURCE / 2)
        ),
        filled("bna\n"),
        filled("= =\n"),
        filled("relu x\n"),
        filled("conv 1, 1\n"),
        filled("param a = 1\n"),
    ];
    for body in bodies {
        let elaborated = read_within_bounds(&format!("{HEAD}{body}"));
        assert!(elaborated.graph.is_none());
        assert!(elaborated.diagnostics.len() <= 100);
    }
}

/// A mistake in a loop is met once, not in each turn.
#[test]
fn a_mistake_ends_the_turns_of_its_loop() {
    for (body, codes) in [
        ("repeat 600000 { from nosuchlayer }", &["E0205"][..]),
        ("repeat 900000 as i { conv 0, 3x3; relu as \"a{i}\" }\nfrom a7", &["E0304"]),
        ("block b() { repeat 1000 { bnn } }\nrepeat 1000 { b(); b() }", &["E0202"]),
        ("for i in 1..900000 { conv i, = }", &["E0111"]),
        ("block b(n, = 3 { repeat 900000 { n } }", &["E0102"]),
    ] {
        let elaborated = read_within_bounds(&format!("{HEAD}{body}"));
        let found: Vec<_> = elaborated.diagnostics.iter().map(|d| d.code).collect();
        assert_eq!(found, codes, "{body}");
        assert!(
            elaborated.work.steps < 200 && elaborated.work.mistakes < 20,
            "{body}: {:?}",
            elaborated.work
        );
    }
}

/// Words, blanks and single signs: pieces whose concatenation is the source.
fn tokens(source: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (token, behind) = rest.split_at(if word == 0 { first.len_utf8() } else { word });
        tokens.push(token);
        rest = behind;
    }
    tokens
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Specs of the corpus with pieces of other specs in them, with counts far too large, with
    /// pieces said over and over.
    #[test]
    fn mutated_specs_stay_within_bounds(
        spec in any::<Index>(),
        other in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), 0..8_u8), 1..10),
    ) {
        let (spec, other) = (&CORPUS[spec.index(CORPUS.len())], &CORPUS[other.index(CORPUS.len())]);
        let (mut tokens, others) = (tokens(spec), tokens(other));
        for (at, from, edit) in edits {
            let (at, from) = (at.index(tokens.len()), from.index(others.len()));
            match edit {
                0 => { tokens.remove(at); }
                1 => tokens.insert(at, others[from]),
                2 => tokens[at] = others[from],
                3 => tokens[at] = "600000",
                4 => { tokens.splice(at..at, others[from..(from + 30).min(others.len())].iter().copied()); }
                5 => { tokens.splice(at..at, std::iter::repeat_n(others[from], 40)); }
                6 => tokens.insert(at, ["(", ")", "[", "]", "{", "}", "\"", "\n"][from % 8]),
                _ => { tokens.splice(at..at, ["\nrepeat 900000 {"]); tokens.push("\n}"); }
            }
            if tokens.is_empty() { tokens.push("relu"); }
        }
        read_within_bounds(&tokens.concat());
    }
}
