//! The machine's speed while a network is measured: machines that are shared change it.

use std::time::{Duration, Instant};

use xcc_compiler::plan::Precision;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::machine::cores;
use xcc_runtime::peak::{self, Unit};

use super::samples::quantile;
use crate::cli::Failure;

/// How long the measurements before and after the runs take.
const TIME: Duration = Duration::from_millis(100);
/// How often the peaks are measured for a moment between runs.
const INTERVAL: Duration = Duration::from_millis(50);

/// What multiply-adds in registers reach.
#[derive(Clone, Debug)]
pub struct Peak {
    /// What products are computed in.
    pub precision: Precision,
    /// What computes them.
    pub unit: Unit,
    /// Threads of a run.
    pub threads: u32,
    /// 10^9 operations in a second of one thread, in the order of measurement: by tiles while all
    /// threads work, since cores may share matrix units or the power for them, else while one core
    /// does.
    pub gflops: Vec<f64>,
}

impl Peak {
    /// That of runs with so many threads, not measured yet.
    pub fn new(precision: Precision, unit: Unit, threads: u32) -> Self {
        Self { precision, unit, threads, gflops: Vec::new() }
    }

    /// Threads that can work at a time.
    fn busy(&self) -> u32 {
        self.threads.min(cores())
    }

    fn measure(&mut self, target: Target, time: Duration) -> Result<(), Failure> {
        let threads = if self.unit == Unit::Tiles { self.busy() } else { 1 };
        let products = peak::measure(target, self.unit, threads, time).map_err(Failure::input)?;
        self.add(products, threads);
        Ok(())
    }

    /// Adds a measurement: operations in a second by products that `threads` threads reach
    /// together.
    fn add(&mut self, products: f64, threads: u32) {
        self.gflops.push(products / f64::from(threads) / f64::from(self.products()) / 1e9);
    }

    /// Products that a multiply-add takes.
    fn products(&self) -> u32 {
        if self.unit == Unit::Tiles { self.precision.products() } else { 1 }
    }

    /// What it is the peak of.
    pub fn name(&self) -> String {
        let by_tiles = self.unit == Unit::Tiles && self.precision == Precision::F32;
        format!("{}{}", self.precision, if by_tiles { " by tiles" } else { "" })
    }

    /// What all threads reach: the median of the measurements of one, times the number of those
    /// with a core.
    pub fn of_threads(&self) -> f64 {
        quantile(&self.gflops, 0.5) * f64::from(self.busy())
    }

    /// Says in words where a peak comes from.
    pub fn remark(&self) -> String {
        let (one, threads) = (quantile(&self.gflops, 0.5), self.busy());
        let factors = match threads {
            1 => String::new(),
            _ if threads < self.threads => format!("{threads} cores x {one:.1}: "),
            _ => format!("{threads} x {one:.1}: "),
        };
        let [low, high] = [0.0, 1.0].map(|share| quantile(&self.gflops, share));
        let what = match (self.unit, self.products()) {
            (Unit::Vectors, _) => "multiply-adds alone on one core".to_owned(),
            (Unit::Pairs, _) => "products of pairs of bf16 values alone on one core".to_owned(),
            (Unit::Tiles, 1) => "bf16 products of tiles alone".to_owned(),
            (Unit::Tiles, products) => format!("bf16 products of tiles alone, {products} a multiply-add"),
        };
        format!("{factors}{what}, median of {low:.1} to {high:.1}")
    }
}

/// What computes the products of large layers: vectors of f32 where no layer has products of bf16
/// values.
pub fn unit(precision: Precision, target: Target, model: Option<&Model>) -> Unit {
    let in_vectors = model.is_some_and(|model| model.program().bf16_unit().is_none());
    if in_vectors { Unit::Vectors } else { Unit::of(precision, target) }
}

/// The peak for the products of most layers, where some are more exact than asked for.
pub fn unit_of_most(precision: Precision, target: Target, model: Option<&Model>) -> Unit {
    let exact = model.and_then(|model| model.program().schedule.more_exact());
    let are_most = exact.is_some_and(|exact| 2 * exact.layers > exact.of);
    if are_most { Unit::Vectors } else { unit(precision, target, model) }
}

/// Peaks that are measured again and again.
pub struct Peaks {
    target: Target,
    last: Instant,
    peaks: Vec<Peak>,
}

impl Peaks {
    /// Measures for the first time; what was measured of `peaks` before is kept.
    pub fn begin(target: Target, peaks: Vec<Peak>) -> Result<Self, Failure> {
        let mut peaks = Self { target, last: Instant::now(), peaks };
        peaks.measure(TIME)?;
        Ok(peaks)
    }

    /// Measures for a moment, if the last time was a while ago.
    pub fn between(&mut self) -> Result<(), Failure> {
        if self.last.elapsed() >= INTERVAL { self.measure(Duration::ZERO) } else { Ok(()) }
    }

    /// All measurements so far.
    pub fn samples(&self) -> &[Peak] {
        &self.peaks
    }

    /// Measures for the last time and gives all measurements.
    pub fn end(mut self) -> Result<Vec<Peak>, Failure> {
        self.measure(TIME)?;
        Ok(self.peaks)
    }

    fn measure(&mut self, time: Duration) -> Result<(), Failure> {
        for peak in &mut self.peaks {
            peak.measure(self.target, time)?;
        }
        self.last = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_multiply_adds_by_all_threads_with_a_core() {
        let peak = |precision, unit, together| {
            let mut peak = Peak::new(precision, unit, 2);
            [3e12, 1e12, 2e12].into_iter().for_each(|products| peak.add(products, together));
            peak.of_threads() / f64::from(cores().min(2))
        };
        assert_eq!(peak(Precision::F32, Unit::Vectors, 1), 2000.0);
        assert_eq!(peak(Precision::Bf16, Unit::Tiles, 2), 1000.0);
        assert!((peak(Precision::Split, Unit::Tiles, 2) - 1000.0 / 3.0).abs() < 1e-9);
        assert!((peak(Precision::F32, Unit::Tiles, 2) - 1000.0 / 6.0).abs() < 1e-9);
    }
}
