//! What is known of each step: its time, its work, and the roofline model's bound (Williams, Waterman and
//! Patterson, *Roofline*, CACM 2009).

use std::time::Duration;

use serde::Serialize;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::Program;

use super::samples::quantile;
use super::work::{self, Called, StepWork, kind};
use super::{milliseconds, peaks};

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

/// What the machine can do at most.
pub struct Roofs {
    /// 10^9 operations in a second that one core reaches, each measurement.
    pub peaks: Vec<f64>,
    /// Threads of a run.
    pub threads: u32,
    /// Bytes in a second that all threads read.
    pub bandwidth: f64,
}

impl Roofs {
    /// 10^9 operations in a second that all threads reach.
    pub fn peak(&self) -> f64 {
        peaks::of_threads(&self.peaks, self.threads)
    }

    /// What bounds a step of so many multiply-adds and bytes that took `ms`, and its least time in milliseconds.
    pub fn bound(&self, ms: f64, macs: u64, bytes: u64) -> (Bound, f64) {
        Bound::of(ms, 2.0 * macs as f64 / self.peak() / 1e6, bytes as f64 / self.bandwidth * 1e3)
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
    fn of(ms: f64, compute: f64, memory: f64) -> (Self, f64) {
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
    pub gflops: Option<f64>,
    pub peak_share: Option<f64>,
    pub bytes: u64,
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
    let (bound, bound_ms) = roofs.bound(ms, work.macs, work.bytes);
    let gflops = gflops(work.macs, ms);
    StepReport {
        step,
        layer: work.layer,
        kernels: work.kernels,
        ms,
        p5_ms,
        p95_ms,
        share: 0.0,
        macs: work.macs,
        gflops,
        peak_share: gflops.map(|gflops| gflops / roofs.peak()),
        bytes: work.bytes,
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
    fn the_longer_least_time_bounds_a_step_until_it_takes_twice_as_long() {
        assert_eq!(Bound::of(3.9, 2.0, 1.0), (Bound::Compute, 2.0));
        assert_eq!(Bound::of(3.9, 1.0, 2.0), (Bound::Memory, 2.0));
        assert_eq!(Bound::of(4.1, 1.0, 2.0), (Bound::Overhead, 2.0));
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
