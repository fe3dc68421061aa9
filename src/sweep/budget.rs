//! Budgets: the largest width at which a network has no more parameters, multiply-adds or
//! milliseconds than it may, as ResNeXt compares cardinalities (Xie et al., arXiv 1611.05431,
//! section 3.1).

use xcc_compiler::cost::summarize;
use xcc_compiler::diagnostic::Diagnostic;
use xcc_compiler::elaborate;

use super::point::{self, Illegal};
use super::results::{Held, Hold, Point, Quantity, Sweep};
use super::survey::ends;
use crate::numbers::thousands;

/// How much wider than what is found a network may be that still is within its time: measurements
/// differ by more.
const LATENCY_TOLERANCE: f64 = 0.01;
/// Values of a parameter for which the spec states no range.
const ANY: [i64; 2] = [1, 65_536];

/// What there is of a quantity at a width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much.
    Of(f64),
    /// The network is illegal, since the width is too small for it.
    TooNarrow,
    /// The network is illegal, since it is too large.
    TooWide,
}

/// Solves for the parameter of `hold` at a point. `latency` measures a point in milliseconds.
pub fn solve(
    sweep: &Sweep,
    hold: &Hold,
    point: &Point,
    mut latency: impl FnMut(&Point) -> Result<f64, Illegal>,
) -> Result<Held, Illegal> {
    let range = bounds(sweep, hold, point)?;
    let at = |width: i64| Point {
        held: Some(Held { value: width.unsigned_abs(), reached: 0.0 }),
        ..point.clone()
    };
    // The narrowest legal network that was tried, what makes narrower ones illegal, and why the
    // last one that was too wide did not run.
    let (mut narrowest, mut mistakes, mut unable) = (None, Vec::new(), None);
    let amount = |width: i64| {
        let point = at(width);
        let graph = match point::network(sweep, &point) {
            Ok(graph) => graph,
            Err(illegal) if is_too_large(&illegal) => return Ok(Amount::TooWide),
            Err(illegal) => {
                mistakes = illegal.diagnostics;
                return Ok(Amount::TooNarrow);
            }
        };
        let found = match hold.quantity {
            Quantity::Params => summarize(&graph).totals.parameters as f64,
            Quantity::Macs => summarize(&graph).totals.macs as f64,
            // What cannot be run needs too much memory, which narrower networks may not.
            Quantity::Latency => match latency(&point) {
                Err(illegal) => {
                    unable = Some(illegal);
                    return Ok(Amount::TooWide);
                }
                Ok(found) => found,
            },
        };
        narrowest = Some((width, found)).into_iter().chain(narrowest).min_by_key(|(width, _)| *width);
        Ok(Amount::Of(found))
    };
    let tolerance = if hold.quantity == Quantity::Latency { LATENCY_TOLERANCE } else { 0.0 };
    match largest_within(range, hold.value, tolerance, amount)? {
        Some((width, reached)) => Ok(Held { value: width.unsigned_abs(), reached }),
        None => Err(unable
            .filter(|_| narrowest.is_none())
            .unwrap_or_else(|| unreachable_budget(hold, range, narrowest, mistakes))),
    }
}

fn unreachable_budget(
    hold: &Hold,
    [low, high]: [i64; 2],
    narrowest: Option<(i64, f64)>,
    mistakes: Vec<Diagnostic>,
) -> Illegal {
    let Hold { quantity, value, by } = hold;
    let what = format!("no {by} from {low} to {high} has at most {}", amount_name(*quantity, *value));
    match narrowest {
        Some((width, found)) => Illegal {
            message: format!("{what}: {by} {width} has {}", amount_name(*quantity, found)),
            diagnostics: Vec::new(),
        },
        None => Illegal { message: what, diagnostics: mistakes },
    }
}

/// What is held and how, in words.
pub fn sentence(hold: &Hold) -> String {
    let Hold { quantity, value, by } = hold;
    let amount = amount_name(*quantity, *value);
    let when = if *quantity == Quantity::Latency { ", as it was measured in the search" } else { "" };
    format!("{by}: at each point the largest with at most {amount}{when}")
}

/// An amount in words: `22,910,480 parameters`.
fn amount_name(quantity: Quantity, amount: f64) -> String {
    match quantity {
        // Amounts that no network reaches are cut off.
        Quantity::Params => format!("{} parameters", thousands(amount as u64)),
        Quantity::Macs => format!("{} MACs", thousands(amount as u64)),
        Quantity::Latency => format!("{amount:.3} ms"),
    }
}

/// The smallest and the largest value of the parameter.
fn bounds(sweep: &Sweep, hold: &Hold, point: &Point) -> Result<[i64; 2], Illegal> {
    let params = elaborate::read(&sweep.spec.source, &point::settings(sweep, point)).params;
    let param = params.into_iter().find(|param| param.name == hold.by);
    let domain = param.and_then(|param| param.domain);
    let [low, high] = domain.as_deref().map_or([Some(ANY[0]), Some(ANY[1])], ends);
    match [low, high] {
        // The search counts one beyond the largest.
        [Some(low), Some(high)] if low >= 0 => Ok([low, high.min(i64::MAX - 1)]),
        _ => Err(Illegal {
            message: format!(
                "`{}` is {}, not in a range of whole numbers, so no budget can be held by it",
                hold.by,
                domain.map_or_else(String::new, |domain| format!("in {domain}"))
            ),
            diagnostics: Vec::new(),
        }),
    }
}

/// Whether limits of the language are exceeded: codes E06xx.
fn is_too_large(illegal: &Illegal) -> bool {
    illegal.diagnostics.iter().any(|diagnostic| diagnostic.code.starts_with("E06"))
}

/// The largest width from `low` to `high` whose amount is at most `most`, with that amount, found
/// by bisection of their ratio: amounts grow with the width, too narrow ones come before all
/// others, and too wide ones after them. With a `tolerance` the width may be less than the largest
/// by that share.
pub fn largest_within<E>(
    [low, high]: [i64; 2],
    most: f64,
    tolerance: f64,
    mut amount: impl FnMut(i64) -> Result<Amount, E>,
) -> Result<Option<(i64, f64)>, E> {
    let mut best = None;
    let (mut low, mut high) = (low, high);
    while low <= high && best.is_none_or(|(width, _)| (high - width) as f64 > tolerance * width as f64) {
        let middle = ((low.max(1) as f64 * high.max(1) as f64).sqrt() as i64).clamp(low, high);
        match amount(middle)? {
            Amount::Of(found) if found <= most => {
                best = Some((middle, found));
                low = middle + 1;
            }
            Amount::TooNarrow => low = middle + 1,
            Amount::Of(_) | Amount::TooWide => high = middle - 1,
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The width found is within the budget, and the next one is not.
        #[test]
        fn the_width_is_the_largest_within_the_budget(
            steps in proptest::collection::vec(0..50_u32, 1..60),
            [narrow, wide] in [0..10_usize, 0..10_usize],
            most in 0..1500_u32,
        ) {
            let sums: Vec<f64> = steps.iter().scan(0, |sum, step| { *sum += step; Some(f64::from(*sum)) }).collect();
            let legal = narrow..sums.len().saturating_sub(wide).max(narrow);
            let amount = |width: i64| Ok::<_, ()>(match width as usize {
                at if at < legal.start => Amount::TooNarrow,
                at if at >= legal.end => Amount::TooWide,
                at => Amount::Of(sums[at]),
            });
            let range = [0, sums.len() as i64 - 1];
            let found = largest_within(range, f64::from(most), 0.0, amount).unwrap();
            let expected = legal.clone().rev().find(|&at| at < sums.len() && sums[at] <= f64::from(most));
            prop_assert_eq!(found, expected.map(|at| (at as i64, sums[at])));
            let rough = largest_within(range, f64::from(most), 0.1, amount).unwrap();
            prop_assert_eq!(rough.is_some(), found.is_some());
            if let Some(((rough, _), (exact, _))) = rough.zip(found) {
                prop_assert!(rough <= exact && exact as f64 <= rough as f64 * 1.1);
            }
        }
    }
}
