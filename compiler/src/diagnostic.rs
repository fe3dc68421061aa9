//! Mistakes in a spec: what is wrong, where, and what to do about it.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::{Files, SimpleFile};
use codespan_reporting::term;
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};

/// Longest line that is shown, in bytes.
const MAX_LINE: usize = 1000;

/// Lines of a place that are pointed at; the rest of a longer place is cut off.
const MAX_LINES: usize = 20;

/// Longest piece of user text that a message repeats, in bytes.
const MAX_QUOTE: usize = 80;

/// `text` with each character of [`is_terminal_control`] as `\u{1b}`. Escaped text stays as it is.
pub fn escape_control(text: &str) -> Cow<'_, str> {
    if !text.contains(is_terminal_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_visible(&mut escaped, c));
    Cow::Owned(escaped)
}

fn push_visible(text: &mut String, c: char) {
    if is_terminal_control(c) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", c.escape_unicode());
    } else {
        text.push(c);
    }
}

/// True for characters that would command a terminal, or reorder or hide text there: the control
/// characters other than tab and newline, the direction marks and the separators of lines and
/// paragraphs of Unicode, and signs of no width.
pub fn is_terminal_control(c: char) -> bool {
    let is_kept = matches!(c, '\t' | '\n');
    let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    (c.is_control() && !is_kept) || is_format
}

/// The start of a text that is too long to be repeated in a message, with `...` behind it.
pub fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_QUOTE {
        return Cow::Borrowed(text);
    }
    let mut end = MAX_QUOTE;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}...", &text[..end]))
}

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
            message: visible(message.into()),
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
        self.primary = Some(Label { span, text: visible(text.into()) });
        self
    }

    /// Adds a place that has to do with the mistake.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: visible(text.into()) });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(visible(text.into()));
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn suggest(mut self, text: impl Into<String>) -> Self {
        self.suggestion = Some(visible(text.into()));
        self
    }

    /// Says the way out if one is known.
    #[must_use]
    pub fn suggest_if(mut self, text: Option<String>) -> Self {
        self.suggestion = text.map(visible).or(self.suggestion);
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

/// The text shown to the user: each diagnostic with the source lines it points at, one blank line
/// between two.
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
    let shown = Shown::new(source);
    let file = SimpleFile::new(escape_control(source_name).into_owned(), &*shown.text);
    let config = term::Config::default();
    for diagnostic in diagnostics {
        // Writing to memory cannot fail, and `to_codespan` keeps every span within the source.
        let mut diagnostic = to_codespan(diagnostic, &shown, &file);
        if diagnostic.labels.is_empty() {
            diagnostic.notes.push(format!("in {}", file.name()));
        }
        let _ = term::emit_to_write_style(&mut writer, &config, &file, &diagnostic);
    }
    String::from_utf8_lossy(&into_bytes(writer)).into_owned()
}

/// A source as it can be shown on a terminal.
struct Shown<'s> {
    text: Cow<'s, str>,
    /// For each escaped character, ascending: its offset in the source, and how much longer the
    /// text is from there on than the source.
    grown: Vec<(usize, usize)>,
}

impl<'s> Shown<'s> {
    fn new(source: &'s str) -> Self {
        if !source.contains(is_terminal_control) {
            return Self { text: Cow::Borrowed(source), grown: Vec::new() };
        }
        let (mut text, mut grown) = (String::with_capacity(source.len() + 64), Vec::new());
        for (at, c) in source.char_indices() {
            if c == '\r' && source[at + 1..].starts_with('\n') {
                text.push(c);
                continue;
            }
            push_visible(&mut text, c);
            if is_terminal_control(c) {
                grown.push((at, text.len() - (at + c.len_utf8())));
            }
        }
        Self { text: Cow::Owned(text), grown }
    }

    /// The part of the text that shows a span of the source.
    fn range(&self, span: Span) -> Range<usize> {
        let place = |offset: u32| {
            let before = self.grown.partition_point(|(at, _)| *at < offset as usize);
            let growth = before.checked_sub(1).map_or(0, |last| self.grown[last].1);
            (offset as usize).saturating_add(growth)
        };
        clamp(place(span.start)..place(span.end), &self.text)
    }
}

type ShownFile<'s> = SimpleFile<String, &'s str>;

fn to_codespan(diagnostic: &Diagnostic, shown: &Shown<'_>, file: &ShownFile<'_>) -> codespan::Diagnostic<()> {
    let severity = match diagnostic.severity {
        Severity::Error => codespan::Severity::Error,
        Severity::Warning => codespan::Severity::Warning,
    };
    let primary = diagnostic.primary.iter().map(|l| (codespan::LabelStyle::Primary, l));
    let secondary = diagnostic.secondary.iter().map(|l| (codespan::LabelStyle::Secondary, l));
    let (mut labels, mut places) = (Vec::new(), Vec::new());
    for (style, label) in primary.chain(secondary) {
        let range = first_lines(shown.range(label.span), file);
        let text = escape_control(&label.text);
        match long_line(&range, file) {
            Some(place) => places.push(format!("{place}: {text}")),
            None => labels.push(codespan::Label::new(style, (), range).with_message(text)),
        }
    }
    let notes = diagnostic.notes.iter().map(|n| format!("note: {}", escape_control(n)));
    let help = diagnostic.suggestion.iter().map(|s| format!("help: {}", escape_control(s)));
    codespan::Diagnostic::new(severity)
        .with_code(diagnostic.code)
        .with_message(escape_control(&diagnostic.message))
        .with_labels(labels)
        .with_notes(places.into_iter().chain(notes).chain(help).collect())
}

/// The bytes of a line; nothing for lines that the file does not have.
fn line_range(file: &ShownFile<'_>, line: usize) -> Range<usize> {
    file.line_range((), line).unwrap_or_default()
}

/// The line of a byte; the first for bytes that the file does not have.
fn line_of(file: &ShownFile<'_>, at: usize) -> usize {
    file.line_index((), at).unwrap_or_default()
}

/// The range, cut off where its first [`MAX_LINES`] lines end.
fn first_lines(range: Range<usize>, file: &ShownFile<'_>) -> Range<usize> {
    let (first, last) = (line_of(file, range.start), line_of(file, range.end));
    if last < first + MAX_LINES {
        return range;
    }
    let end = line_range(file, first).end;
    range.start..range.start.max(end.saturating_sub(1))
}

/// Says in words where a label is whose lines are too long to be shown.
fn long_line(range: &Range<usize>, file: &ShownFile<'_>) -> Option<String> {
    let (first, last) = (line_of(file, range.start), line_of(file, range.end));
    let is_long = (first..=last).any(|line| line_range(file, line).len() > MAX_LINE);
    let start = line_range(file, first).start;
    let before = file.source().get(start..range.start).unwrap_or_default();
    is_long.then(|| format!("line {}, column {}", first + 1, before.chars().count() + 1))
}

/// The range, so that it starts and ends between characters of the text.
fn clamp(range: Range<usize>, text: &str) -> Range<usize> {
    let floor = |offset: usize| {
        let mut at = offset.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(range.start);
    start..floor(range.end).max(start)
}

/// The text, escaped.
fn visible(text: String) -> String {
    match escape_control(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_outside_of_the_source_are_cut() {
        let beyond = Diagnostic::error("E0000", "beyond").at(Span::new(7, 900), "here");
        assert!(render("x.xc", "köln", &[beyond], false).contains("beyond"));
        assert_eq!(clamp(2..3, "kö"), 1..3);
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

    /// Nothing of a source, a name or a message reaches the terminal as a command, and labels stay
    /// where they were.
    #[test]
    fn control_characters_are_shown_not_sent() {
        let signs: String =
            ('\0'..'\u{a0}').filter(|c| c.is_control()).chain("\u{202e}\u{200b}\u{2066}".chars()).collect();
        let source = format!("first\n{signs}here {signs}\r\nlast");
        let start = source.find("here").unwrap();
        let name = format!("x{signs}.xc");
        let text = format!("wrong{}", signs.replace('\n', ""));
        let mut diagnostic = Diagnostic::error("E0001", &*text).note(&*text).suggest(&*text);
        diagnostic.message.push_str(&text);
        let diagnostic = diagnostic.at(Span::new(start, start + 4), &*text);
        let shown = render(&name, &source, &[diagnostic], false);
        assert!(!shown.contains(is_terminal_control), "{shown:?}");
        assert!(shown.contains("\\u{1b}") && shown.contains("^^^^ wrong"), "{shown}");
        assert_eq!(escape_control("a\u{1b}[1mb\t\n"), "a\\u{1b}[1mb\t\n");
    }

    #[test]
    fn places_of_many_or_long_lines_are_cut() {
        let source = format!("a (\n{}1)\nb {}\n", "\n".repeat(50_000), "c".repeat(5000));
        let wrong = |span| Diagnostic::error("E0001", "wrong").at(span, "here").also(span, "there");
        let end = source.rfind("\nb").unwrap();
        let shown = render(
            "x.xc",
            &source,
            &[wrong(Span::new(0, end)), wrong(Span::new(end + 3, source.len()))],
            false,
        );
        assert!(shown.len() < 1000, "{} bytes", shown.len());
        assert!(shown.contains("line 50003, column 3: here"), "{shown}");
    }
}
