//! Text to tree: brackets are balanced, the grammar (grammar.pest) is matched, and the tree is
//! built.
//!
//! A statement that cannot be read becomes [`ast::StatementKind::Bad`] and a diagnostic; all
//! others are kept, so that one run reports every mistake of a file.

pub mod ast;
mod brackets;
mod build;
mod limits;
mod print;
mod recover;
pub mod visit;

use pest::Parser;

use crate::diagnostic::Diagnostic;

use limits::MAX_ERRORS;

pub use limits::{MAX_ARGUMENTS, MAX_NAME, MAX_NESTING, MAX_OPERATORS, MAX_SOURCE};

use grammar::{Grammar, Rule};

/// The parser made from grammar.pest.
mod grammar {
    #![allow(missing_docs, reason = "the rules are documented in grammar.pest")]

    #[derive(pest_derive::Parser)]
    #[grammar = "syntax/grammar.pest"]
    pub struct Grammar;
}

/// Reads a spec. The tree holds what could be read; diagnostics say what could not.
pub fn parse(source: &str) -> (ast::File, Vec<Diagnostic>) {
    let balanced = match brackets::balance(source) {
        Ok(balanced) => balanced,
        Err(error) => return (unreadable(source), vec![*error]),
    };
    let mut builder = build::Builder::new(&balanced.text, source, 0, balanced.diagnostics);
    let file = match Grammar::parse(Rule::file, &balanced.text) {
        Ok(mut pairs) => pairs.next().map(|file| builder.file(file)).unwrap_or_default(),
        // Any text matches `file`, so only a limit of the parser itself can end up here.
        Err(error) => {
            builder.diagnostics.push(Diagnostic::error("E0101", error.variant.message().into_owned()));
            unreadable(source)
        }
    };
    let mut diagnostics = builder.diagnostics;
    diagnostics.sort_by_key(Diagnostic::position);
    diagnostics.truncate(MAX_ERRORS);
    (file, diagnostics)
}

/// The tree of a source of which nothing can be read.
fn unreadable(source: &str) -> ast::File {
    let kind = ast::StatementKind::Bad { declares: None, text: source.to_owned(), body: Vec::new() };
    ast::File { statements: vec![ast::Statement { kind, at: ast::At::default() }] }
}

/// Reads one value, as in `--set name=value`. Spans in the result count from the start of `source`.
pub fn parse_value(source: &str) -> Result<ast::Expression, Box<Diagnostic>> {
    let balanced = brackets::balance(source)?;
    let mut builder = build::Builder::new(&balanced.text, source, 0, balanced.diagnostics);
    let value = builder.whole_value();
    match (value, builder.diagnostics.into_iter().next()) {
        (_, Some(error)) => Err(Box::new(error)),
        (value, None) => Ok(value),
    }
}

/// Whether `text` can name something without quotation marks.
pub fn is_identifier(text: &str) -> bool {
    matches!(Grammar::parse(Rule::identifier, text).map(|pairs| pairs.as_str().len()), Ok(n) if n == text.len())
}
