//! Timing of runs, and what their times say.

use std::time::{Duration, Instant};

use crate::cli::Failure;

/// Time for runs before those that count.
const WARMUP: Duration = Duration::from_millis(300);
/// Fewest runs before those that count, when time decides.
const WARMUP_RUNS: u32 = 2;
/// Time for the runs that count.
const MEASUREMENT: Duration = Duration::from_secs(2);
/// Fewest and most runs that count, when time decides.
const RUNS: [u32; 2] = [10, 1000];

/// How many runs there are; time decides where nothing is given.
pub struct Plan {
    /// Runs that do not count.
    pub warmup: Option<u32>,
    /// Runs that count.
    pub runs: Option<u32>,
}

/// What was measured in runs.
pub struct Taken<T> {
    /// Runs before.
    pub warmup: u32,
    /// Each run that counts, in order.
    pub runs: Vec<T>,
}

impl Plan {
    /// Calls `run`, which measures itself, as often as planned, and `between` before each run that
    /// counts.
    pub fn take<T>(
        &self,
        mut run: impl FnMut() -> Result<T, Failure>,
        mut between: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Taken<T>, Failure> {
        let began = Instant::now();
        let mut warmup = 0;
        while self.warmup.map_or(warmup < WARMUP_RUNS || began.elapsed() < WARMUP, |runs| warmup < runs) {
            run()?;
            warmup += 1;
        }
        let began = Instant::now();
        let mut runs = Vec::new();
        while self.goes_on(runs.len() as u32, began.elapsed()) {
            between()?;
            runs.push(run()?);
        }
        Ok(Taken { warmup, runs })
    }

    fn goes_on(&self, done: u32, elapsed: Duration) -> bool {
        let [fewest, most] = RUNS;
        self.runs.map_or(done < fewest || (done < most && elapsed < MEASUREMENT), |runs| done < runs)
    }
}

/// The number below which a share of `numbers` lies, with linear interpolation between neighbours;
/// 0 for none.
pub fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied().unwrap_or(0.0);
    let (low, high) = (at(place as usize), at(place as usize + 1));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_given_are_kept() {
        for (warmup, runs) in [(0, 1), (3, 5)] {
            let (mut count, mut pauses) = (0, 0);
            let plan = Plan { warmup: Some(warmup), runs: Some(runs) };
            let run = || {
                count += 1;
                Ok(count)
            };
            let between = || {
                pauses += 1;
                Ok(())
            };
            let taken = plan.take(run, between).unwrap();
            let counted: Vec<u32> = (warmup + 1..=warmup + runs).collect();
            assert_eq!((taken.warmup, taken.runs), (warmup, counted));
            assert_eq!((count, pauses), (warmup + runs, runs));
        }
    }

    #[test]
    fn time_decides_within_bounds() {
        let plan = Plan { warmup: None, runs: None };
        assert!(plan.goes_on(9, Duration::from_secs(100)) && !plan.goes_on(10, Duration::from_secs(100)));
        assert!(plan.goes_on(999, Duration::ZERO) && !plan.goes_on(1000, Duration::ZERO));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let numbers = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&numbers, share)), [1.0, 2.5, 4.0]);
        assert_eq!([0.05, 0.95].map(|share| quantile(&[7.0], share)), [7.0, 7.0]);
    }
}
