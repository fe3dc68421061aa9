//! The machine's speed while a network is measured: machines that are shared change it.

use std::time::{Duration, Instant};

use xcc_compiler::target::Target;
use xcc_runtime::peak;

use super::samples::quantile;
use crate::cli::Failure;

/// How long the measurements before and after the runs take.
const TIME: Duration = Duration::from_millis(100);
/// How often the peak is measured for a moment between runs.
const INTERVAL: Duration = Duration::from_millis(50);

/// What one core reaches, measured again and again.
pub struct Peaks {
    target: Target,
    last: Instant,
    /// 10^9 operations in a second, in the order of measurement.
    gflops: Vec<f64>,
}

impl Peaks {
    /// Measures for the first time.
    pub fn begin(target: Target) -> Result<Self, Failure> {
        let mut peaks = Self { target, last: Instant::now(), gflops: Vec::new() };
        peaks.measure(TIME)?;
        Ok(peaks)
    }

    /// Measures for a moment, if the last time was a while ago.
    pub fn between(&mut self) -> Result<(), Failure> {
        if self.last.elapsed() >= INTERVAL { self.measure(Duration::ZERO) } else { Ok(()) }
    }

    /// All measurements so far.
    pub fn samples(&self) -> &[f64] {
        &self.gflops
    }

    /// Measures for the last time and gives all measurements.
    pub fn end(mut self) -> Result<Vec<f64>, Failure> {
        self.measure(TIME)?;
        Ok(self.gflops)
    }

    fn measure(&mut self, time: Duration) -> Result<(), Failure> {
        let operations = peak::measure(self.target, time).map_err(Failure::input)?;
        self.gflops.push(operations / 1e9);
        self.last = Instant::now();
        Ok(())
    }
}

/// What so many cores reach: the median of the measurements of one core, times their number.
pub fn of_threads(gflops: &[f64], threads: u32) -> f64 {
    quantile(gflops, 0.5) * f64::from(threads)
}

/// Says in words where a peak comes from.
pub fn remark(gflops: &[f64], threads: u32) -> String {
    let one = quantile(gflops, 0.5);
    let factors = if threads == 1 { String::new() } else { format!("{threads} x {one:.1}: ") };
    let [low, high] = [0.0, 1.0].map(|share| quantile(gflops, share));
    format!("{factors}multiply-adds alone on one core, median of {low:.1} to {high:.1}")
}
