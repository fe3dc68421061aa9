//! Names that may have been meant by one that there is not.

use std::cell::Cell;

/// Work that all suggestions of a run may take together, in comparisons of two letters.
pub const BUDGET: u64 = 1 << 22;

/// Longest name, in bytes, for which there are suggestions.
const MAX_LENGTH: usize = 64;

/// Finds names that may have been meant, as long as its budget lasts.
pub struct Suggestions {
    left: Cell<u64>,
}

impl Default for Suggestions {
    fn default() -> Self {
        Self { left: Cell::new(BUDGET) }
    }
}

impl Suggestions {
    /// The candidate most like `name`, if one is like it at all: few letters differ, whatever
    /// their case, or it starts with the name. Nothing once the candidates would take more than is
    /// left of the budget.
    pub fn nearest<'c>(&self, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        if name.len() > MAX_LENGTH {
            return None;
        }
        let candidates: Vec<&str> = candidates.into_iter().collect();
        // Their order may be random, so it must not decide which of them are compared.
        let cost = candidates.iter().map(|candidate| cost(name, candidate)).sum();
        self.left.set(self.left.get().saturating_sub(cost));
        if self.left.get() == 0 {
            return None;
        }
        let lower = name.to_lowercase();
        // The name breaks ties.
        let rated = candidates
            .into_iter()
            .filter_map(|c| Some((distance(&lower, c)?, c.len().abs_diff(lower.len()), c)));
        rated.min().map(|(.., best)| best)
    }

    /// Work that suggestions have taken so far.
    pub fn spent(&self) -> u64 {
        BUDGET - self.left.get()
    }
}

/// Whether somebody who writes `name` may mean `word`.
pub fn is_alike(name: &str, word: &str) -> bool {
    name.len() <= MAX_LENGTH && distance(&name.to_lowercase(), word).is_some()
}

/// How many letters of a name may differ.
fn tolerance(name: &str) -> usize {
    (1 + name.len() / 5).min(name.len().max(2) - 1)
}

fn cost(name: &str, candidate: &str) -> u64 {
    match candidate.len().abs_diff(name.len()) > tolerance(name) {
        true => 1,
        false => 1 + (name.len() * candidate.len()) as u64,
    }
}

/// How far a candidate is from a name in small letters, if it is like it.
fn distance(lower: &str, candidate: &str) -> Option<usize> {
    let most = tolerance(lower);
    let distance = match candidate.strip_prefix(lower) {
        Some("") => 0,
        Some(_) if lower.len() > 2 => 1,
        _ if candidate.len().abs_diff(lower.len()) > most => return None,
        _ => strsim::damerau_levenshtein(lower, &candidate.to_lowercase()),
    };
    (distance <= most).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_bounds_the_work_whatever_the_order() {
        let names: Vec<String> = (0..20_000).map(|n| format!("parameter_{n:05}")).collect();
        let suggestions = Suggestions::default();
        let ask = |reversed: bool| {
            let names = names.iter().map(String::as_str);
            let names: Vec<_> = if reversed { names.rev().collect() } else { names.collect() };
            suggestions.nearest("parametr_00007", names)
        };
        assert_eq!(
            Suggestions::default().nearest("parametr_00007", ["x", "parameter_00007"]),
            Some("parameter_00007")
        );
        // 20,000 candidates of 15 letters are more than the budget.
        assert_eq!((ask(false), ask(true)), (None, None));
        assert_eq!(suggestions.spent(), BUDGET);
        assert_eq!(suggestions.nearest("rellu", ["relu"]), None);
    }

    #[test]
    fn long_names_have_no_suggestions() {
        let long = "a".repeat(MAX_LENGTH + 1);
        assert_eq!(Suggestions::default().nearest(&long, [&*long]), None);
        assert!(!is_alike(&long, &long) && is_alike("modle", "model"));
    }
}
