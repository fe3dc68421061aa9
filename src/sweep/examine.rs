//! Examines all points before anything is measured: budgets are solved for, costs are found out,
//! and what is illegal is refused or left out.

use xcc_compiler::target::Target;

use super::budget;
use super::kernels::Times;
use super::plan::Plan;
use super::point::{self, Illegal};
use super::results::{Point, Results, Status};
use super::stopwatch::Stopwatch;
use crate::cli::{self, Failure, Source};
use crate::numbers::counted;
use crate::terminal;

/// Different mistakes of illegal points that are shown.
const MOST_MISTAKES: usize = 3;

/// Solves for budgets and finds out what points cost, where that is not known yet. `keep` is
/// called after each point.
pub fn examine(
    results: &mut Results,
    plan: &Plan,
    source: &Source,
    times: Option<&Times>,
    mut keep: impl FnMut(&Results) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bar = terminal::progress(results.points.len() as u64);
    let mut refused: Vec<(usize, Illegal)> = Vec::new();
    let mut stopwatch = Stopwatch::new(plan.target);
    for at in 0..results.points.len() {
        bar.inc(1);
        if results.points[at].cost.is_some() {
            continue;
        }
        bar.set_message(format!("examining {}", results.points[at].label));
        match learn(results, at, (plan.target, &mut stopwatch), times) {
            Ok(()) => keep(results)?,
            Err(illegal) => refused.push((at, illegal)),
        }
    }
    bar.finish_and_clear();
    if !refused.is_empty() && !plan.skip_illegal {
        return Err(refuse(results, source, &refused));
    }
    for (at, illegal) in refused {
        let point = &mut results.points[at];
        (point.status, point.message) = (Status::Skipped, Some(illegal.message));
    }
    match results.points.iter().any(|point| point.cost.is_some()) {
        true => Ok(()),
        false => Err(Failure::input("no point of the sweep is legal")),
    }
}

fn learn(
    results: &mut Results,
    at: usize,
    (target, stopwatch): (Target, &mut Stopwatch),
    times: Option<&Times>,
) -> Result<(), Illegal> {
    let Results { sweep, points, .. } = results;
    let point = &mut points[at];
    if let Some(hold) = sweep.hold.clone().filter(|_| point.held.is_none()) {
        let latency = |point: &Point| {
            let failed = |failure: Failure| Illegal {
                message: failure.message().unwrap_or_default(),
                diagnostics: Vec::new(),
            };
            stopwatch.measure(sweep, point, hold.value).map_err(failed)
        };
        point.held = Some(budget::solve(sweep, &hold, point, latency)?);
    }
    let known = point::know(sweep, point, target)?;
    (point.cost, point.layers) = (Some(known.cost), known.layers);
    point.predicted = times.and_then(|times| times.predict(&known.steps, point.threads, None));
    Ok(())
}

/// Shows what is wrong with illegal points, those with the same mistake together.
fn refuse(results: &Results, source: &Source, refused: &[(usize, Illegal)]) -> Failure {
    let mut mistakes: Vec<(String, Vec<&(usize, Illegal)>)> = Vec::new();
    for point in refused {
        let mistake = point.1.mistake();
        match mistakes.iter_mut().find(|(other, _)| *other == mistake) {
            Some((_, points)) => points.push(point),
            None => mistakes.push((mistake, vec![point])),
        }
    }
    for (_, points) in mistakes.iter().take(MOST_MISTAKES) {
        let [(at, illegal), others @ ..] = points.as_slice() else { continue };
        let others = match others.len() {
            0 => String::new(),
            count => format!(" and {}", counted(count, "other point")),
        };
        let message =
            if illegal.diagnostics.is_empty() { format!(" {}", illegal.message) } else { String::new() };
        cli::note(format!("at {}{others}:{message}", results.points[*at].label));
        cli::tell_diagnostics(&source.name, &source.text, &illegal.diagnostics);
    }
    let is_one = refused.len() == 1;
    Failure::input(format!(
        "{} of {} {} illegal; `--skip-illegal` leaves {}",
        refused.len(),
        counted(results.points.len(), "point"),
        if is_one { "is" } else { "are" },
        if is_one { "it out" } else { "them out" }
    ))
}
