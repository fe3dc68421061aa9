//! Mistakes in a spec: what is wrong, where, and what to do about it.

use std::ops::Range;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term;
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};

/// Longest line that is shown, in bytes.
const MAX_LINE: usize = 1000;

/// A range of bytes of a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes `start..end`; sources are far smaller than 4 GiB, larger offsets are cut off.
    pub fn new(start: usize, end: usize) -> Self {
        let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: offset(start), end: offset(end) }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Whether a diagnostic keeps a spec from being compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// The spec can be compiled, but probably says something else than was meant.
    Warning,
}

/// A place in the source and what it has to do with a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; may be empty.
    pub text: String,
}

/// A mistake, made by the compiler and shown by [`render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of mistake: `E0301`. docs/language.md lists them.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the numbers involved; one line.
    pub message: String,
    /// Where it is; nothing for mistakes outside of the source, such as in `--set`.
    pub primary: Option<Label>,
    /// Other places that have to do with it.
    pub secondary: Vec<Label>,
    /// Facts that help to understand it.
    pub notes: Vec<String>,
    /// The way out: the nearest legal name or value.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            notes: Vec::new(),
            suggestion: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where the mistake is.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.primary = Some(Label { span, text: text.into() });
        self
    }

    /// Adds a place that has to do with the mistake.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn suggest(mut self, text: impl Into<String>) -> Self {
        self.suggestion = Some(text.into());
        self
    }

    /// Says the way out if one is known.
    #[must_use]
    pub fn suggest_if(mut self, text: Option<String>) -> Self {
        self.suggestion = text.or(self.suggestion);
        self
    }

    /// Whether it keeps the spec from being compiled.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Orders diagnostics as their places stand in the source, those without a place first.
    pub fn position(&self) -> (u32, u32) {
        self.primary.as_ref().map_or((0, 0), |label| (label.span.start + 1, label.span.end))
    }
}

/// The text shown to the user: each diagnostic with the source lines it points at, one blank line between
/// two.
///
/// `source_name` is shown as the place's file; `color` adds ANSI colours.
pub fn render(source_name: &str, source: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    if color {
        render_with(Ansi::new(Vec::new()), Ansi::into_inner, source_name, source, diagnostics)
    } else {
        render_with(NoColor::new(Vec::new()), NoColor::into_inner, source_name, source, diagnostics)
    }
}

fn render_with<W: WriteColor>(
    mut writer: W,
    into_bytes: impl FnOnce(W) -> Vec<u8>,
    source_name: &str,
    source: &str,
    diagnostics: &[Diagnostic],
) -> String {
    let file = SimpleFile::new(source_name, source);
    let config = term::Config::default();
    for diagnostic in diagnostics {
        // Writing to memory cannot fail, and `to_codespan` keeps every span within the source.
        let mut diagnostic = to_codespan(diagnostic, source);
        if diagnostic.labels.is_empty() {
            diagnostic.notes.push(format!("in {source_name}"));
        }
        let _ = term::emit_to_write_style(&mut writer, &config, &file, &diagnostic);
    }
    String::from_utf8_lossy(&into_bytes(writer)).into_owned()
}

fn to_codespan(diagnostic: &Diagnostic, source: &str) -> codespan::Diagnostic<()> {
    let severity = match diagnostic.severity {
        Severity::Error => codespan::Severity::Error,
        Severity::Warning => codespan::Severity::Warning,
    };
    let primary = diagnostic.primary.iter().map(|l| (codespan::LabelStyle::Primary, l));
    let secondary = diagnostic.secondary.iter().map(|l| (codespan::LabelStyle::Secondary, l));
    let (mut labels, mut places) = (Vec::new(), Vec::new());
    for (style, label) in primary.chain(secondary) {
        let range = clamp(label.span, source);
        match long_line(source, &range) {
            Some(place) => places.push(format!("{place}: {}", label.text)),
            None => labels.push(codespan::Label::new(style, (), range).with_message(&label.text)),
        }
    }
    let notes = diagnostic.notes.iter().map(|n| format!("note: {n}"));
    let help = diagnostic.suggestion.iter().map(|s| format!("help: {s}"));
    codespan::Diagnostic::new(severity)
        .with_code(diagnostic.code)
        .with_message(&diagnostic.message)
        .with_labels(labels)
        .with_notes(places.into_iter().chain(notes).chain(help).collect())
}

/// Says in words where a label is whose lines are too long to be shown.
fn long_line(source: &str, range: &Range<usize>) -> Option<String> {
    let start = source[..range.start].rfind('\n').map_or(0, |at| at + 1);
    let end = source[range.end..].find('\n').map_or(source.len(), |at| range.end + at);
    let is_long = source[start..end].lines().any(|line| line.len() > MAX_LINE);
    let line = || source[..start].matches('\n').count() + 1;
    is_long.then(|| format!("line {}, column {}", line(), source[start..range.start].chars().count() + 1))
}

/// The span as a range of the source that starts and ends between characters.
fn clamp(span: Span, source: &str) -> Range<usize> {
    let floor = |offset: u32| {
        let mut at = (offset as usize).min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_outside_of_the_source_are_cut() {
        let beyond = Diagnostic::error("E0000", "beyond").at(Span::new(7, 900), "here");
        assert!(render("x.xc", "köln", &[beyond], false).contains("beyond"));
        assert_eq!(clamp(Span::new(2, 3), "kö"), 1..3);
    }

    #[test]
    fn color_adds_escapes_only() {
        let diagnostic =
            Diagnostic::error("E0001", "wrong").at(Span::new(0, 2), "here").suggest("do it right");
        let plain = render("x.xc", "ab\n", std::slice::from_ref(&diagnostic), false);
        let colored = render("x.xc", "ab\n", &[diagnostic], true);
        assert!(!plain.contains('\u{1b}') && colored.contains('\u{1b}'));
        let mut stripped = String::new();
        let mut escape = false;
        for c in colored.chars() {
            match c {
                '\u{1b}' => escape = true,
                'm' if escape => escape = false,
                c if !escape => stripped.push(c),
                _ => {}
            }
        }
        assert_eq!(stripped, plain);
    }
}
