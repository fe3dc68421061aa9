//! Collects mistakes while the elaborator goes on.

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, Span};

/// How many mistakes are reported.
pub const MOST: usize = 100;

/// Proof that a diagnostic was reported: whoever receives it need not report again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported(());

/// The mistakes of a spec, each once, however often the loop around it turns.
#[derive(Default)]
pub struct Reports {
    /// What was reported.
    pub diagnostics: Vec<Diagnostic>,
    seen: HashSet<(&'static str, Option<Span>)>,
    /// Whether mistakes are passed over, while a guess is followed that may be wrong.
    pub muted: bool,
    /// Calls of blocks that are being elaborated, outermost first.
    pub calls: Vec<Span>,
    /// Variables of the loops and calls that are being elaborated, as `width = 728`.
    pub turns: Vec<String>,
}

impl Reports {
    /// Reports a mistake (the first [`MOST`] of them), with the call and the turn of the loop that it
    /// happened in.
    pub fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        if self.muted {
            return Reported(());
        }
        let span = diagnostic.primary.as_ref().map(|label| label.span);
        if span.is_some() && !self.seen.insert((diagnostic.code, span)) {
            return Reported(());
        }
        if self.diagnostics.len() >= MOST {
            return Reported(());
        }
        if let Some(call) = self.calls.last() {
            diagnostic = diagnostic.also(*call, "in this call");
        }
        if !self.turns.is_empty() && diagnostic.is_error() {
            diagnostic.notes.push(format!("here {}", self.turns.join(", ")));
        }
        self.diagnostics.push(diagnostic);
        Reported(())
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

/// The candidate most like `name`, if one is like it at all: few letters differ, whatever their case, or it starts
/// with the name.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase();
    let most = (1 + name.len() / 5).min(name.len().max(2) - 1);
    let distance = |candidate: &str| match candidate.strip_prefix(&lower) {
        Some("") => 0,
        Some(_) if lower.len() > 2 => 1,
        _ if candidate.len().abs_diff(name.len()) > most => usize::MAX,
        _ => strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
    };
    // The order of the candidates may be random: the name breaks ties.
    let rated = candidates.into_iter().map(|c| (distance(c), c.len().abs_diff(name.len()), c));
    let (distance, _, best) = rated.min()?;
    (distance <= most).then_some(best)
}

/// The words, each in backquotes, with commas between.
pub fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}
