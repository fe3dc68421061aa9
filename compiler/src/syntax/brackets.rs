//! What is checked before the grammar sees a source: its size, its brackets and its quotation
//! marks.
//!
//! The grammar recurses once for each bracket, so their nesting is bounded here. Where brackets do
//! not match, the statement is blanked out, so that the grammar always sees balanced text and
//! every other statement is still read. Lines that parentheses and brackets span are joined; they
//! are one statement, also where it is blanked out.

use std::ops::Range;

use super::limits::{MAX_ERRORS, MAX_NESTING, MAX_SOURCE};
use crate::diagnostic::{Diagnostic, Span};

/// Stands for a character of a statement that was blanked out; starts no statement.
pub const BLANK: u8 = b'?';

/// A source whose brackets are balanced, with the same offsets as the original, and what was wrong.
pub struct Balanced {
    /// The text for the grammar.
    pub text: String,
    /// Mistakes found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Balances the brackets of `source`, or says why it cannot be read at all.
pub fn balance(source: &str) -> Result<Balanced, Box<Diagnostic>> {
    if source.len() > MAX_SOURCE {
        let message = format!("the source has {} bytes; at most {MAX_SOURCE} are read", source.len());
        return Err(Box::new(Diagnostic::error("E0107", message)));
    }
    let mut scanner = Scanner { source: source.as_bytes(), ..Scanner::default() };
    scanner.scan()?;
    let mut text = source.as_bytes().to_vec();
    for range in scanner.within_brackets() {
        text[range].fill(b' ');
    }
    scanner.join_lines();
    for &at in &scanner.bad {
        text[scanner.statement_around(at)].fill(BLANK);
    }
    for &at in &scanner.stray {
        text[at] = b';';
    }
    // Statements start and end next to ASCII characters, so no character is cut.
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(Balanced { text, diagnostics: scanner.found })
}

#[derive(Default)]
struct Scanner<'a> {
    source: &'a [u8],
    /// Brackets that are open, innermost last.
    open: Vec<(u8, usize)>,
    /// Offsets of newlines, semicolons and braces that are not in a string, ascending.
    boundaries: Vec<usize>,
    /// Offsets within statements to be blanked out.
    bad: Vec<usize>,
    /// Offsets of `}` that close nothing.
    stray: Vec<usize>,
    /// Comments, and what stands between parentheses or brackets that are in no others, ascending.
    comments: Vec<Range<usize>>,
    bracketed: Vec<Range<usize>>,
    /// All pairs of parentheses or brackets that match, in the order of their ends.
    matched: Vec<Range<usize>>,
    found: Vec<Diagnostic>,
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), Box<Diagnostic>> {
        let mut at = 0;
        while let Some(&byte) = self.source.get(at) {
            match byte {
                b'#' => {
                    let length = self.source[at..].iter().take_while(|b| **b != b'\n').count();
                    self.comments.push(at..at + length);
                    at += length;
                }
                b'"' => at = self.string(at)?,
                _ => {
                    if matches!(byte, b'\n' | b';' | b'{' | b'}') {
                        self.boundaries.push(at);
                    }
                    self.bracket(byte, at)?;
                    at += 1;
                }
            }
        }
        while let Some((bracket, start)) = self.open.pop() {
            self.unclosed(bracket, start);
        }
        Ok(())
    }

    /// Passes over the string that starts at `start` and returns the offset behind it.
    fn string(&mut self, start: usize) -> Result<usize, Box<Diagnostic>> {
        let mut depth = 0_usize;
        let mut at = start + 1;
        loop {
            match self.source.get(at) {
                Some(b'"') => return Ok(at + 1),
                None | Some(b'\n') => break,
                Some(b'\\') if self.source.get(at + 1).is_some_and(|b| *b != b'\n') => at += 2,
                Some(b'(' | b'[') => {
                    depth += 1;
                    check_depth(depth, at)?;
                    at += 1;
                }
                Some(b')' | b']') => {
                    depth = depth.saturating_sub(1);
                    at += 1;
                }
                Some(_) => at += 1,
            }
        }
        let end = at.min(self.source.len());
        let error = Diagnostic::error("E0103", "this string does not end")
            .at(Span::new(start, end), "starts here")
            .suggest("add `\"` before the end of the line");
        self.tell(error);
        self.bad.push(start);
        Ok(end)
    }

    fn bracket(&mut self, byte: u8, at: usize) -> Result<(), Box<Diagnostic>> {
        match byte {
            b'(' | b'[' | b'{' => {
                if byte == b'{' {
                    self.close_inner();
                }
                self.open.push((byte, at));
                check_depth(self.open.len(), at)?;
            }
            b')' | b']' => self.closing(byte, at),
            b'}' => {
                self.close_inner();
                if self.open.pop().is_none() {
                    let error = Diagnostic::error("E0104", "this `}` closes nothing")
                        .at(Span::new(at, at + 1), "no `{` is open here");
                    self.tell(error);
                    self.stray.push(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends of lines and comments between parentheses or brackets, where a line goes on.
    fn within_brackets(&self) -> impl Iterator<Item = Range<usize>> {
        let is_inside = |at: usize| {
            let before = self.bracketed.partition_point(|range| range.start < at);
            before > 0 && self.bracketed[before - 1].contains(&at)
        };
        let is_end = |at: &usize| self.source[*at] == b'\n';
        let ends = self.boundaries.iter().copied().filter(is_end).map(|at| at..at + 1);
        ends.chain(self.comments.iter().cloned()).filter(move |range| is_inside(range.start))
    }

    /// Takes the ends of statements that stand between brackets for what they are not.
    fn join_lines(&mut self) {
        let mut boundaries = std::mem::take(&mut self.boundaries);
        let mut inside = vec![false; boundaries.len()];
        let mut from = boundaries.len();
        // From the end on, an outer pair comes before those within it, which have nothing left to
        // mark.
        for pair in self.matched.iter().rev() {
            let end = boundaries.partition_point(|&b| b < pair.end).min(from);
            let start = boundaries.partition_point(|&b| b < pair.start);
            inside[start.min(end)..end].fill(true);
            from = from.min(start);
        }
        let mut inside = inside.into_iter();
        boundaries.retain(|_| inside.next() != Some(true));
        self.boundaries = boundaries;
    }

    /// Adds a mistake, unless there are as many as are shown.
    fn tell(&mut self, mistake: Diagnostic) {
        if self.found.len() < MAX_ERRORS {
            self.found.push(mistake);
        }
    }

    /// Braces never stand inside of parentheses: whatever is open before a brace was not closed.
    fn close_inner(&mut self) {
        while let Some(&(bracket, start)) = self.open.last() {
            if bracket == b'{' {
                break;
            }
            self.open.pop();
            self.unclosed(bracket, start);
        }
    }

    fn closing(&mut self, byte: u8, at: usize) {
        let opener = if byte == b')' { b'(' } else { b'[' };
        match self.open.last() {
            Some(&(bracket, start)) if bracket == opener => {
                self.open.pop();
                self.matched.push(start..at);
                if self.open.last().is_none_or(|(outer, _)| *outer == b'{') {
                    self.bracketed.push(start..at);
                }
            }
            Some(&(bracket, start)) if bracket != b'{' => {
                self.open.pop();
                let (open, close) = (bracket as char, byte as char);
                let error = Diagnostic::error("E0105", format!("`{open}` is closed by `{close}`"))
                    .at(Span::new(at, at + 1), format!("expected `{}`", closer(bracket)))
                    .also(Span::new(start, start + 1), "opened here");
                self.tell(error);
                self.bad.push(start);
                self.bad.push(at);
            }
            _ => {
                let error = Diagnostic::error("E0104", format!("this `{}` closes nothing", byte as char))
                    .at(Span::new(at, at + 1), format!("no `{}` is open here", opener as char));
                self.tell(error);
                self.bad.push(at);
            }
        }
    }

    fn unclosed(&mut self, bracket: u8, start: usize) {
        let error = Diagnostic::error("E0102", format!("this `{}` is never closed", bracket as char))
            .at(Span::new(start, start + 1), "opened here")
            .suggest(format!("add `{}`", closer(bracket)));
        self.tell(error);
        if bracket != b'{' {
            self.bad.push(start);
        }
    }

    /// The part of the statement around `at` that is on its line; the byte alone if it is a brace.
    fn statement_around(&self, at: usize) -> Range<usize> {
        let next = self.boundaries.partition_point(|&b| b < at);
        if self.boundaries.get(next) == Some(&at) {
            return at..at + 1;
        }
        let start = next.checked_sub(1).map_or(0, |before| self.boundaries[before] + 1);
        start..self.boundaries.get(next).copied().unwrap_or(self.source.len())
    }
}

fn closer(bracket: u8) -> char {
    match bracket {
        b'(' => ')',
        b'[' => ']',
        _ => '}',
    }
}

fn check_depth(depth: usize, at: usize) -> Result<(), Box<Diagnostic>> {
    if depth <= MAX_NESTING {
        return Ok(());
    }
    let message = format!("brackets are nested more than {MAX_NESTING} deep");
    let error = Diagnostic::error("E0106", message)
        .at(Span::new(at, at + 1), format!("this one is number {depth}"))
        .suggest("name inner parts with `let` or `block`");
    Err(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(source: &str) -> Vec<&'static str> {
        match balance(source) {
            Ok(balanced) => balanced.diagnostics.iter().map(|d| d.code).collect(),
            Err(error) => vec![error.code],
        }
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        assert_eq!(codes("a \"(\" # ((\n b [1]"), Vec::<&str>::new());
    }

    #[test]
    fn lines_between_brackets_are_joined() {
        let text = |source: &str| balance(source).unwrap().text;
        assert_eq!(text("a (1 # é (\n+ [\n2])\nb # (\n"), "a (1        + [ 2])\nb # (\n");
        assert_eq!(text("a {\nb (1)\n}"), "a {\nb (1)\n}");
    }

    #[test]
    fn unbalanced_statements_are_blanked_and_the_others_kept() {
        let balanced = balance("a (1\nb [2]\n}\nc \"x\nd").unwrap();
        assert_eq!(balanced.text, "????\nb [2]\n;\n????\nd");
        assert_eq!(codes("a (1\nb [2]\n}\nc \"x\nd"), ["E0102", "E0104", "E0103"]);
    }

    #[test]
    fn a_megabyte_of_brackets_is_one_error() {
        for bracket in ["(", "[", "{"] {
            assert_eq!(codes(&bracket.repeat(MAX_SOURCE)), ["E0106"]);
        }
        assert_eq!(codes(&format!("\"{}", "(".repeat(1000))), ["E0106"]);
        assert_eq!(codes(&"(".repeat(MAX_SOURCE + 1)), ["E0107"]);
    }
}
