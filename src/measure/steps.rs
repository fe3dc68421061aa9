//! What is known of each step: its time, its work, and the roofline model's bound (Williams,
//! Waterman and Patterson, *Roofline*, CACM 2009).

use std::time::Duration;

use serde::Serialize;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::Program;

use super::milliseconds;
use super::samples::quantile;
use super::work::{self, Called, StepWork, kind};

/// A step that takes longer than this many times its bound is not bound by it.
const OVERHEAD: f64 = 2.0;

/// Times of one run.
pub struct Run {
    /// From input to outputs.
    pub whole: Duration,
    /// Of each step.
    pub steps: Vec<Duration>,
}

impl Run {
    /// Milliseconds that no step takes.
    fn between(&self) -> f64 {
        milliseconds(self.whole.saturating_sub(self.steps.iter().sum()))
    }
}

/// What all threads of a run reach at most.
#[derive(Clone, Copy, Debug)]
pub struct Roofs {
    /// 10^9 operations in a second, of f32 values in vectors.
    pub vectors: f64,
    /// 10^9 operations in a second of bf16 products, in the precision of the run; `None` where
    /// there are none.
    pub tiles: Option<f64>,
    /// Bytes in a second that are read and are not in a level-2 cache.
    pub bandwidth: f64,
    /// Bytes of weights in a second: they are read once in a run, and so come from memory where
    /// there are more of them than the last cache holds.
    pub weights_bandwidth: f64,
}

impl Roofs {
    /// 10^9 operations in a second, in the precision of the run.
    pub fn peak(&self) -> f64 {
        self.tiles.unwrap_or(self.vectors)
    }

    /// The least milliseconds that so many multiply-adds take, `tile_macs` of them of bf16 values.
    /// Vectors and tiles work side by side, so those that take longer count; products of pairs
    /// leave few to f32 vectors, which take turns with them.
    pub fn compute_ms(&self, macs: u64, tile_macs: u64) -> f64 {
        let ms = |macs: u64, gflops: f64| 2.0 * macs as f64 / gflops / 1e6;
        let tiles = self.tiles.map_or(0.0, |tiles| ms(tile_macs, tiles));
        ms(macs.saturating_sub(tile_macs), self.vectors).max(tiles)
    }

    /// The least milliseconds that so many bytes take, `weight_bytes` of them of weights.
    pub fn memory_ms(&self, bytes: u64, weight_bytes: u64) -> f64 {
        let values = bytes.saturating_sub(weight_bytes) as f64 / self.bandwidth;
        (values + weight_bytes as f64 / self.weights_bandwidth) * 1e3
    }
}

/// What bounds a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The peak of arithmetic.
    Compute,
    /// The bandwidth of memory.
    Memory,
    /// Neither.
    Overhead,
}

impl Bound {
    /// Which of the two least times bounds a step that took `ms`, and how long that is.
    pub fn of(ms: f64, compute: f64, memory: f64) -> (Self, f64) {
        let least = compute.max(memory);
        match () {
            () if ms > OVERHEAD * least => (Bound::Overhead, least),
            () if compute >= memory => (Bound::Compute, least),
            () => (Bound::Memory, least),
        }
    }

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
            Bound::Overhead => "overhead",
        }
    }
}

/// All figures of a step; the command's help describes them.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    pub step: usize,
    pub layer: String,
    pub kernels: Vec<Called>,
    pub ms: f64,
    pub p5_ms: f64,
    pub p95_ms: f64,
    pub share: f64,
    pub macs: u64,
    pub tile_macs: u64,
    pub saved_macs: u64,
    pub gflops: Option<f64>,
    pub peak_share: Option<f64>,
    pub bytes: u64,
    pub weight_bytes: u64,
    pub bound_ms: f64,
    pub bound: Bound,
}

/// Time that belongs to no step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Between {
    pub ms: f64,
    pub share: f64,
}

/// Steps that call the same kinds of kernels.
#[derive(Clone, Debug, Serialize)]
pub struct Family {
    pub family: String,
    pub steps: usize,
    pub ms: f64,
    pub share: f64,
    pub gflops: Option<f64>,
    #[serde(skip)]
    macs: u64,
}

/// The steps of `program`, which was made of `elaborated`, as they run. Shares are still missing.
pub fn steps(program: &Program, elaborated: &Graph, runs: &[Run], roofs: &Roofs) -> Vec<StepReport> {
    let mut graph = elaborated.clone();
    optimize(&mut graph, &PassOptions::default());
    let works = work::of_steps(program, &graph);
    works.into_iter().enumerate().map(|(step, work)| report(step, work, runs, roofs)).collect()
}

fn report(step: usize, work: StepWork, runs: &[Run], roofs: &Roofs) -> StepReport {
    let times: Vec<f64> = runs.iter().map(|run| milliseconds(run.steps[step])).collect();
    let [p5_ms, ms, p95_ms] = [0.05, 0.5, 0.95].map(|share| quantile(&times, share));
    let compute = roofs.compute_ms(work.macs.saturating_sub(work.saved_macs), work.tile_macs);
    let (bound, bound_ms) = Bound::of(ms, compute, roofs.memory_ms(work.bytes, work.weight_bytes));
    StepReport {
        step,
        layer: work.layer,
        kernels: work.kernels,
        ms,
        p5_ms,
        p95_ms,
        share: 0.0,
        macs: work.macs,
        tile_macs: work.tile_macs,
        saved_macs: work.saved_macs,
        gflops: gflops(work.macs, ms),
        peak_share: (work.macs > 0).then(|| compute / ms.max(1e-6)),
        bytes: work.bytes,
        weight_bytes: work.weight_bytes,
        bound_ms,
        bound,
    }
}

/// 10^9 operations in a second, if there are any.
pub fn gflops(macs: u64, ms: f64) -> Option<f64> {
    (macs > 0).then(|| 2.0 * macs as f64 / ms.max(1e-6) / 1e6)
}

/// Fills in the shares of steps in all the time, and gives the rest.
pub fn share_out(steps: &mut [StepReport], runs: &[Run]) -> Between {
    let ms = quantile(&runs.iter().map(Run::between).collect::<Vec<_>>(), 0.5);
    let total = (ms + steps.iter().map(|step| step.ms).sum::<f64>()).max(1e-9);
    steps.iter_mut().for_each(|step| step.share = step.ms / total);
    Between { ms, share: ms / total }
}

/// The steps by kinds of kernels, the longest time first.
pub fn families(steps: &[StepReport]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for step in steps {
        let name = family(&step.kernels);
        let number = families.iter().position(|family| family.family == name).unwrap_or_else(|| {
            families.push(Family { family: name, steps: 0, ms: 0.0, share: 0.0, gflops: None, macs: 0 });
            families.len() - 1
        });
        let family = &mut families[number];
        family.steps += 1;
        family.ms += step.ms;
        family.share += step.share;
        family.macs = family.macs.saturating_add(step.macs);
        family.gflops = gflops(family.macs, family.ms);
    }
    families.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    families
}

/// The kinds of kernels that a step calls, in alphabetical order.
fn family(kernels: &[Called]) -> String {
    let mut kinds: Vec<&str> = kernels.iter().map(|called| kind(&called.name)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_bounded_by_the_unit_that_computes_them() {
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12, "{a} and {b}");
        let f32 = Roofs { vectors: 100.0, tiles: None, bandwidth: 1e9, weights_bandwidth: 1e9 };
        let bf16 = Roofs { tiles: Some(1000.0), ..f32 };
        close(f32.compute_ms(50_000_000, 0), 1.0);
        // A depthwise part alone, a pointwise one alone, both with more of either.
        close(bf16.compute_ms(50_000_000, 0), 1.0);
        close(bf16.compute_ms(500_000_000, 500_000_000), 1.0);
        close(bf16.compute_ms(550_000_000, 500_000_000), 1.0);
        close(bf16.compute_ms(600_000_000, 500_000_000), 2.0);
        close(bf16.compute_ms(1_050_000_000, 1_000_000_000), 2.0);
        assert_eq!([f32.peak(), bf16.peak()], [100.0, 1000.0]);
    }

    #[test]
    fn the_longer_least_time_bounds_a_step_until_it_takes_twice_as_long() {
        assert_eq!(Bound::of(3.9, 2.0, 1.0), (Bound::Compute, 2.0));
        assert_eq!(Bound::of(3.9, 1.0, 2.0), (Bound::Memory, 2.0));
        assert_eq!(Bound::of(4.1, 1.0, 2.0), (Bound::Overhead, 2.0));
    }

    #[test]
    fn weights_take_their_own_bandwidth() {
        let roofs = Roofs { vectors: 1.0, tiles: None, bandwidth: 4e9, weights_bandwidth: 1e9 };
        assert_eq!(
            [(5_000_000, 1_000_000), (4_000_000, 0)].map(|(all, weights)| roofs.memory_ms(all, weights)),
            [2.0, 1.0]
        );
    }

    #[test]
    fn time_outside_of_steps_is_never_negative() {
        let run = |whole, steps: [u64; 2]| Run {
            whole: Duration::from_millis(whole),
            steps: steps.map(Duration::from_millis).to_vec(),
        };
        assert_eq!([run(10, [3, 4]), run(6, [3, 4])].map(|run| run.between()), [3.0, 0.0]);
    }
}
