//! What is known of each step: its time, its work, and the roofline model's bound (Williams, Waterman and
//! Patterson, *Roofline*, CACM 2009).

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use xcc_compiler::cost::macs;
use xcc_compiler::graph::{Graph, NodeId, Op};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::nest::Operand;
use xcc_compiler::plan::{Program, Step};

use super::work::{self, Called, kind};
use crate::measure::samples::quantile;
use crate::measure::{milliseconds, peaks};

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
    let called = work::of_drivers(program);
    let mut seen = HashSet::new();
    let report = |(number, step): (usize, &Step)| {
        // A node's products are those of its first step: others only finish its epilogue.
        let nodes = step.before.iter().chain([&step.node]).filter(|&&node| seen.insert(node));
        let products = nodes.map(|&node| macs(&graph, node).total()).fold(0, u64::saturating_add);
        let times: Vec<f64> = runs.iter().map(|run| milliseconds(run.steps[number])).collect();
        let [p5_ms, ms, p95_ms] = [0.05, 0.5, 0.95].map(|share| quantile(&times, share));
        let macs = products.saturating_mul(u64::from(program.options.batch));
        let bytes = bytes(program, &graph, step);
        let memory = bytes as f64 / roofs.bandwidth * 1e3;
        let (bound, bound_ms) = Bound::of(ms, 2.0 * macs as f64 / roofs.peak() / 1e6, memory);
        let gflops = gflops(macs, ms);
        let nodes = step.before.iter().chain([&step.node]);
        let layer = nodes.map(|&node| layer_name(&graph, node)).collect::<Vec<_>>().join(" + ");
        let kernels = called[step.driver.index()].clone();
        let peak_share = gflops.map(|gflops| gflops / roofs.peak());
        let (step, share) = (number, 0.0);
        StepReport {
            step,
            layer,
            kernels,
            ms,
            p5_ms,
            p95_ms,
            share,
            macs,
            gflops,
            peak_share,
            bytes,
            bound_ms,
            bound,
        }
    };
    program.steps.iter().enumerate().map(report).collect()
}

/// 10^9 operations in a second, if there are any.
fn gflops(macs: u64, ms: f64) -> Option<f64> {
    (macs > 0).then(|| 2.0 * macs as f64 / ms.max(1e-6) / 1e6)
}

/// Bytes that a step reads and writes at least: its inputs, its result and its packed weights, each once.
fn bytes(program: &Program, graph: &Graph, step: &Step) -> u64 {
    let node = graph.node(step.node);
    let place = |operand: Operand| step.operands[operand.index()];
    let size = |value: NodeId| graph.node(value).shape.elements() * 4 * u64::from(program.options.batch);
    // Operands are places in the arena; where an input lies there tells which one is read.
    let lies_at = |value: NodeId, operand: Operand| {
        let view = program.values.get(&value);
        view.zip(place(operand)).is_some_and(|(view, place)| view.offset == place.offset)
    };
    let nodes = step.before.iter().chain([&step.node]);
    let inputs: Vec<NodeId> = nodes.flat_map(|&node| graph.node(node).inputs.iter().copied()).collect();
    let read = |operand: Operand| inputs.iter().copied().find(|&input| lies_at(input, operand));
    // A step that continues its node's epilogue reads what the steps before left in the result.
    let input = size(read(Operand::In).unwrap_or(step.node));
    let output = if node.op == Op::Concat { input } else { size(step.node) };
    let packed = [Operand::Weights, Operand::Bias, Operand::PointwiseWeights, Operand::PointwiseBias];
    let packed: u64 = packed.into_iter().filter_map(place).map(|place| place.bytes).sum();
    input + read(Operand::Add).map_or(0, size) + output + packed
}

/// What to call the step of a node: fused nodes are named after their last layer, such as an activation,
/// which says little about where time goes. So it is the layer whose weights are read first, if there is one.
fn layer_name(graph: &Graph, id: NodeId) -> &str {
    let node = graph.node(id);
    let first = node.op.weights().first().map(|&weight| graph.weight(weight).layer);
    &graph.layer(first.unwrap_or(node.layer)).name
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
