//! Collects mistakes while the elaborator goes on.

use std::collections::HashSet;

use super::suggest::Suggestions;
use super::value::Value;
use crate::diagnostic::{Diagnostic, Span, shorten};

/// How many mistakes are reported.
pub const MOST: usize = 100;

/// Proof that a diagnostic was reported: whoever receives it need not report again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported(());

/// How many words a message lists.
const MOST_WORDS: usize = 40;

/// How many variables a message shows.
const MOST_VARIABLES: usize = 8;

/// A variable of a loop or call that is being elaborated.
pub struct Turn<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value in this turn or call.
    pub value: Value,
}

/// The mistakes of a spec, each once, however often the loop around it turns.
#[derive(Default)]
pub struct Reports<'a> {
    /// What was reported.
    pub diagnostics: Vec<Diagnostic>,
    seen: HashSet<(&'static str, Option<Span>)>,
    /// Whether mistakes are passed over, while a guess is followed that may be wrong.
    pub muted: bool,
    /// Calls of blocks that are being elaborated, outermost first.
    pub calls: Vec<Span>,
    /// Variables of the loops and calls that are being elaborated, outermost first.
    pub turns: Vec<Turn<'a>>,
    /// Errors that were met, those included that had been reported before.
    pub mistakes: u64,
    /// Finds the names that may have been meant.
    pub suggestions: Suggestions,
}

impl Reports<'_> {
    /// Reports a mistake (the first [`MOST`] of them), with the call and the turn of the loop that
    /// it happened in.
    pub fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        if self.muted {
            return Reported(());
        }
        self.mistakes += u64::from(diagnostic.is_error());
        let span = diagnostic.primary.as_ref().map(|label| label.span);
        if span.is_some() && !self.seen.insert((diagnostic.code, span)) {
            return Reported(());
        }
        if self.is_full() {
            return Reported(());
        }
        if let Some(call) = self.calls.last() {
            diagnostic = diagnostic.also(*call, "in this call");
        }
        if !self.turns.is_empty() && diagnostic.is_error() {
            diagnostic = diagnostic.note(format!("here {}", self.variables()));
        }
        self.diagnostics.push(diagnostic);
        Reported(())
    }

    /// Whether no further mistake will be shown.
    pub fn is_full(&self) -> bool {
        self.diagnostics.len() >= MOST
    }

    /// The variables of loops and calls, as `width = 728`; the innermost of many.
    fn variables(&self) -> String {
        let first = self.turns.len().saturating_sub(MOST_VARIABLES);
        let shown = |turn: &Turn<'_>| format!("{} = {}", turn.name, shorten(&turn.value.to_string()));
        self.turns[first..].iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    /// The candidate that may have been meant by `name`.
    pub fn nearest<'c>(&self, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        self.suggestions.nearest(name, candidates)
    }

    /// For what follows from a mistake that was reported before.
    pub fn reported(&self) -> Reported {
        Reported(())
    }

    /// Whether a mistake of that kind was reported.
    pub fn has(&self, code: &str) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == code)
    }

    /// Whether an error was reported.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// The words, each in backquotes, with commas between; the first of many.
pub fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut words = words.into_iter();
    let mut list: Vec<_> = words.by_ref().take(MOST_WORDS).map(|w| format!("`{}`", shorten(w))).collect();
    let more = words.count();
    if more > 0 {
        list.push(format!("{more} more"));
    }
    list.join(", ")
}
