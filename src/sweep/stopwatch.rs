//! Quick measurements of latency, for the search for a budget.
//!
//! A machine whose speed drifts would make each network as narrow as its moment is slow. So all
//! that are measured for runs with the same settings run in turns with the same network, the first
//! one, and their times are their ratios to its time, times what that took at the beginning.

use std::time::{Duration, Instant};

use xcc_compiler::target::Target;

use super::measure::{Compiled, compile};
use super::results::{Point, Sweep};
use crate::cli::Failure;
use crate::measure::milliseconds;
use crate::measure::samples::quantile;

/// How long the first network runs by itself.
const REFERENCE_TIME: Duration = Duration::from_secs(1);
/// Runs that do not count.
const WARMUP_RUNS: usize = 2;
/// Fewest turns; after them, those end in which all ratios are on the same side of the limit.
const FEWEST_TURNS: usize = 3;
/// Most turns.
const TURNS: usize = 9;

/// Measures points.
pub struct Stopwatch {
    target: Target,
    references: Vec<Reference>,
}

/// The network that others are compared with.
struct Reference {
    /// Precision, threads and batch of its runs.
    settings: (String, u32, u32),
    network: Compiled,
    /// What it took at the beginning.
    ms: f64,
}

impl Stopwatch {
    /// Nothing is measured yet.
    pub fn new(target: Target) -> Self {
        Self { target, references: Vec::new() }
    }

    /// Milliseconds of a run of a point, the more exactly the nearer to `limit`.
    pub fn measure(&mut self, sweep: &Sweep, point: &Point, limit: f64) -> Result<f64, Failure> {
        let network = compile(sweep, point, self.target)?;
        for _ in 0..WARMUP_RUNS {
            time(&network)?;
        }
        let settings = (point.precision.clone(), point.threads, point.batch);
        match self.references.iter().find(|reference| reference.settings == settings) {
            Some(reference) => compare(&network, reference, limit),
            None => {
                let ms = median(&network)?;
                self.references.push(Reference { settings, network, ms });
                Ok(ms)
            }
        }
    }
}

/// Milliseconds of a run.
fn time(network: &Compiled) -> Result<f64, Failure> {
    let began = Instant::now();
    network.model.run(&network.input).map_err(Failure::input)?;
    Ok(milliseconds(began.elapsed()))
}

/// The median of some runs.
fn median(network: &Compiled) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < FEWEST_TURNS || began.elapsed() < REFERENCE_TIME {
        times.push(time(network)?);
    }
    Ok(quantile(&times, 0.5))
}

/// What a network takes at the speed that the machine had when the reference was measured.
fn compare(network: &Compiled, reference: &Reference, limit: f64) -> Result<f64, Failure> {
    let mut times = Vec::new();
    while times.len() < TURNS && !is_clear(&times, limit) {
        let beside = time(&reference.network)?;
        times.push(time(network)? / beside.max(1e-6) * reference.ms);
    }
    Ok(quantile(&times, 0.5))
}

/// Whether there are enough times to tell on which side of the limit they are.
fn is_clear(times: &[f64], limit: f64) -> bool {
    let within = times.iter().filter(|&&time| time <= limit).count();
    times.len() >= FEWEST_TURNS && (within == 0 || within == times.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_when_all_are_on_one_side() {
        assert!(!is_clear(&[], 5.0) && !is_clear(&[1.0, 2.0], 5.0));
        assert!(is_clear(&[1.0, 2.0, 5.0], 5.0) && is_clear(&[6.0, 7.0, 9.0], 5.0));
        assert!(!is_clear(&[1.0, 2.0, 6.0], 5.0));
    }
}
