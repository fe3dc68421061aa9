//! Times of kernels, and the times of networks as their sums.
//!
//! A step's time is shared out among its kernels by the vector instructions that each executes. A
//! kernel's name says all about its code, so the time of a step that was never measured is that of
//! its kernels elsewhere, for as many instructions. What an instruction costs depends on how many
//! there are (caches, threads that wait), so of several measurements of a kernel that one counts
//! whose number of instructions is the nearest.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xcc_compiler::target::Target;
use xcc_runtime::bounded::read_at_most;
use xcc_runtime::machine;

use super::results::{Kernel, Machine, Point, Predicted, Results, Step};
use super::store::short;
use super::validate;
use crate::cli::Failure;
use crate::measure::samples::quantile;
use crate::measure::work::kind;

/// The version of the table's form.
pub const SCHEMA: u32 = 1;

/// Largest table that is read, in bytes.
const LARGEST: u64 = 1 << 28;

/// Times of kernels on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTable {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The version of xcc that measured.
    pub xcc: String,
    /// When: ISO 8601, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// The instruction set of the kernels.
    pub target: String,
    /// What runs take beside their steps.
    pub between: Vec<Between>,
    /// The kernels, in the order of their names.
    pub kernels: Vec<KernelTimes>,
}

/// What runs with so many threads take beside their steps: copying of inputs and outputs, waking
/// of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Between {
    /// Threads of the runs.
    pub threads: u32,
    /// The median, in milliseconds.
    pub ms: f64,
}

/// Times of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTimes {
    /// Its descriptor's name.
    pub kernel: String,
    /// Threads that shared the calls.
    pub threads: u32,
    /// Where it was measured, by the number of instructions.
    pub problems: Vec<Problem>,
}

/// A use of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// A step that uses it so.
    pub layer: String,
    /// Calls in a run.
    pub calls: u64,
    /// Vector instructions that these calls execute.
    pub instructions: u64,
    /// Its share of the step's time, in milliseconds: the median over steps with as many
    /// instructions.
    pub ms: f64,
}

impl KernelTable {
    /// The times of all kernels of a sweep.
    pub fn new(results: &Results) -> Self {
        let mut found: BTreeMap<(&str, u32), BTreeMap<u64, Vec<Call>>> = BTreeMap::new();
        for call in calls(&results.points) {
            let problems = found.entry((&call.kernel.name, call.point.threads)).or_default();
            problems.entry(call.kernel.instructions).or_default().push(call);
        }
        let times = |((kernel, threads), problems): ((&str, u32), BTreeMap<u64, Vec<Call>>)| KernelTimes {
            kernel: kernel.to_owned(),
            threads,
            problems: problems.into_values().filter_map(problem).collect(),
        };
        Self {
            schema: SCHEMA,
            xcc: results.xcc.clone(),
            date: results.date.clone(),
            machine: results.machine.clone(),
            target: results.sweep.target.clone(),
            between: between(&results.points),
            kernels: found.into_iter().map(times).collect(),
        }
    }

    /// Reads a table that is for `target` and this machine.
    fn parse(text: &[u8], target: &str) -> Result<Self, String> {
        let table: Self = serde_json::from_slice(text)
            .map_err(|error| format!("is no table of kernels: {}", short(&error)))?;
        let processor = machine::processor();
        match () {
            () if table.schema != SCHEMA => {
                Err(format!("has version {} of its form; this program knows version {SCHEMA}", table.schema))
            }
            () if table.target != target => {
                Err(format!("was measured for target {}, not {target}", table.target))
            }
            () if table.machine.processor != processor => {
                Err(format!("was measured on {}, not on {processor}", table.machine.processor))
            }
            () => validate::kernel_table(&table)
                .map(|()| table)
                .map_err(|fault| format!("makes no sense: {fault}; mend that place, or measure anew")),
        }
    }
}

/// The calls of a kernel by a measured step.
struct Call<'a> {
    point: &'a Point,
    step: &'a Step,
    kernel: &'a Kernel,
    /// Their share of the step's time, in milliseconds.
    ms: f64,
}

/// Calls of a kernel that execute as many instructions, as one problem.
fn problem(calls: Vec<Call>) -> Option<Problem> {
    let Call { step, kernel, .. } = calls.first()?;
    let times: Vec<f64> = calls.iter().map(|call| call.ms).collect();
    Some(Problem {
        layer: step.layer.clone(),
        calls: kernel.calls,
        instructions: kernel.instructions,
        ms: quantile(&times, 0.5),
    })
}

/// The calls of all measured steps.
fn calls(points: &[Point]) -> impl Iterator<Item = Call<'_>> {
    let measured = points.iter().filter(|point| point.timing.is_some());
    let steps = measured.flat_map(|point| point.steps.iter().map(move |step| (point, step)));
    steps.flat_map(|(point, step)| {
        let all = instructions(step).max(1) as f64;
        step.kernels.iter().map(move |kernel| {
            let ms = step.ms * kernel.instructions as f64 / all;
            Call { point, step, kernel, ms }
        })
    })
}

fn instructions(step: &Step) -> u64 {
    step.kernels.iter().map(|kernel| kernel.instructions).fold(0, u64::saturating_add)
}

/// What runs take beside their steps, for each number of threads.
fn between(points: &[Point]) -> Vec<Between> {
    let mut rest: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for point in points {
        let Some(timing) = &point.timing else { continue };
        let steps = |at: usize| point.steps.iter().filter_map(|step| step.samples_ms.get(at)).sum::<f64>();
        let times = timing.samples_ms.iter().enumerate().map(|(at, ms)| (ms - steps(at)).max(0.0));
        rest.entry(point.threads).or_default().push(quantile(&times.collect::<Vec<_>>(), 0.5));
    }
    rest.into_iter().map(|(threads, times)| Between { threads, ms: quantile(&times, 0.5) }).collect()
}

/// Times of kernels, to be looked up.
pub struct Times {
    /// By kernel and threads, the fewest instructions first.
    by_kernel: HashMap<(String, u32), Vec<Use>>,
    /// By kind of kernel and threads, likewise.
    by_kind: HashMap<(String, u32), Vec<Use>>,
    /// By threads, likewise.
    all: HashMap<u32, Vec<Use>>,
    between: Vec<Between>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    instructions: u64,
    ms: f64,
    /// The point where it was measured; `None` for those of a table.
    point: Option<usize>,
}

impl Times {
    /// Those of a file that `--per-kernel` wrote for `target` on this machine.
    pub fn read(path: &Path, target: Target) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::input(format!("{}: {reason}", path.display()));
        let text = read_at_most(path, LARGEST).map_err(|error| failed(error.to_string()))?;
        let table = KernelTable::parse(&text, &target.to_string()).map_err(failed)?;
        Ok(Self::of_table(&table))
    }

    /// Those of a table.
    fn of_table(table: &KernelTable) -> Self {
        let uses = table.kernels.iter().flat_map(|kernel| {
            let name = kernel.kernel.clone();
            kernel.problems.iter().map(move |problem| {
                let Problem { instructions, ms, .. } = *problem;
                (name.clone(), kernel.threads, Use { instructions, ms, point: None })
            })
        });
        Self::new(uses, table.between.clone())
    }

    /// Those of all points, so that each can be predicted from the others.
    fn of_points(points: &[Point]) -> Self {
        let measured = points.iter().enumerate();
        let uses = measured.flat_map(|(at, point)| {
            calls(std::slice::from_ref(point)).map(move |Call { kernel, ms, .. }| {
                let found = Use { instructions: kernel.instructions, ms, point: Some(at) };
                (kernel.name.clone(), point.threads, found)
            })
        });
        Self::new(uses, between(points))
    }

    fn new(uses: impl Iterator<Item = (String, u32, Use)>, between: Vec<Between>) -> Self {
        let mut times =
            Self { by_kernel: HashMap::new(), by_kind: HashMap::new(), all: HashMap::new(), between };
        for (name, threads, found) in uses {
            times.all.entry(threads).or_default().push(found);
            times.by_kind.entry((kind(&name).to_owned(), threads)).or_default().push(found);
            times.by_kernel.entry((name, threads)).or_default().push(found);
        }
        let lists =
            times.by_kernel.values_mut().chain(times.by_kind.values_mut()).chain(times.all.values_mut());
        lists.for_each(|uses| uses.sort_by_key(|found| found.instructions));
        times
    }

    /// The time of a run of steps, from what was measured elsewhere than at the point `but`.
    /// `None` where nothing was with this number of threads, or where the sum is no time.
    pub fn predict(&self, steps: &[Step], threads: u32, but: Option<usize>) -> Option<Predicted> {
        let mut ms = self.between.iter().find(|between| between.threads == threads)?.ms;
        // Instructions of the same kernels, of their kinds, of any.
        let mut found_in = [0; 3];
        for kernel in steps.iter().flat_map(|step| &step.kernels) {
            let (level, found) = self.most_similar(kernel, threads, but)?;
            ms += found.ms * kernel.instructions as f64 / found.instructions.max(1) as f64;
            found_in[level] = u64::saturating_add(found_in[level], kernel.instructions);
        }
        let all = found_in.iter().map(|&instructions| instructions as f64).sum::<f64>().max(1.0);
        let [covered, similar, _] = found_in.map(|instructions| instructions as f64 / all);
        // A few instructions of the table may stand for more than there can be.
        validate::is_time(ms).then_some(Predicted { ms, covered, similar })
    }

    /// The time of uses of the same kernel (0), or else of its kind (1), or else of any (2).
    fn most_similar(&self, kernel: &Kernel, threads: u32, but: Option<usize>) -> Option<(usize, Use)> {
        let same = self.by_kernel.get(&(kernel.name.clone(), threads));
        let kind = self.by_kind.get(&(kind(&kernel.name).to_owned(), threads));
        let lists = [same, kind, self.all.get(&threads)].into_iter().enumerate();
        let mut found =
            lists.filter_map(|(level, uses)| Some((level, nearest(uses?, kernel.instructions, but)?)));
        found.next()
    }
}

/// The uses whose number of instructions is nearest to `wanted` by ratio, as one with their median
/// time; of those that were not measured at the point `but`. `uses` are in the order of that
/// number.
fn nearest(uses: &[Use], wanted: u64, but: Option<usize>) -> Option<Use> {
    let split = uses.partition_point(|found| found.instructions < wanted);
    let allowed = |found: &&Use| but.is_none() || found.point != but;
    let (below, above) = (uses[..split].iter().rev().find(allowed), uses[split..].iter().find(allowed));
    let ratio = |found: &Use| (found.instructions.max(1) as f64 / wanted.max(1) as f64).ln().abs();
    let found = below.into_iter().chain(above).min_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
    let first = uses.partition_point(|other| other.instructions < found.instructions);
    let as_many = uses[first..].iter().take_while(|other| other.instructions == found.instructions);
    let times: Vec<f64> = as_many.filter(allowed).map(|other| other.ms).collect();
    Some(Use { ms: quantile(&times, 0.5), ..*found })
}

/// Predicts every measured point from `times`, or else from the other points.
pub fn predict(points: &mut [Point], times: Option<&Times>) {
    let others = times.is_none().then(|| Times::of_points(points));
    for (at, point) in points.iter_mut().enumerate().filter(|(_, point)| point.timing.is_some()) {
        point.predicted = match (times, &others) {
            (Some(times), _) => times.predict(&point.steps, point.threads, None),
            (None, Some(others)) => others.predict(&point.steps, point.threads, Some(at)),
            (None, None) => None,
        };
    }
}

/// How far predictions are off, as shares of what was measured.
pub fn errors(points: &[Point]) -> Vec<f64> {
    let error = |point: &Point| {
        let measured = point.timing.as_ref()?.median_ms;
        Some((point.predicted?.ms / measured.max(1e-6) - 1.0).abs())
    };
    points.iter().filter_map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(instructions: u64, ms: f64, point: usize) -> Use {
        Use { instructions, ms, point: Some(point) }
    }

    #[test]
    fn the_nearest_use_is_that_by_ratio_and_never_the_points_own() {
        let uses = [used(10, 1.0, 0), used(40, 2.0, 1), used(41, 2.0, 0), used(41, 3.0, 0), used(41, 9.0, 0)];
        let ms = |wanted, but| nearest(&uses, wanted, but).map(|found| found.ms);
        assert_eq!([ms(19, None), ms(21, None), ms(400, None)], [Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!([ms(41, Some(0)), ms(41, Some(1))], [Some(2.0), Some(3.0)]);
        assert_eq!(nearest(&uses[..1], 10, Some(0)).map(|found| found.ms), None);
    }

    fn step(name: &str, instructions: u64, ms: f64) -> Step {
        Step {
            layer: "a".to_owned(),
            class: "Conv2D".to_owned(),
            macs: 0,
            tile_macs: None,
            saved_macs: 0,
            bytes: 0,
            weight_bytes: 0,
            samples_ms: vec![ms],
            ms,
            gflops: None,
            bound_ms: None,
            bound: None,
            kernels: vec![Kernel { name: name.to_owned(), calls: 1, instructions }],
        }
    }

    #[test]
    fn a_time_is_the_sum_of_kernels_and_of_what_is_between_them() {
        let uses = [("conv_c8", 100, 1.0), ("conv_c16", 300, 9.0), ("pool_c8", 10, 0.5)];
        let uses = uses.map(|(name, instructions, ms)| (name.to_owned(), 1, used(instructions, ms, 0)));
        let times = Times::new(uses.into_iter(), vec![Between { threads: 1, ms: 0.25 }]);
        // Twice the instructions of the one; those of a kernel that is not known as its kind's
        // nearest.
        let steps = [step("conv_c8", 200, 0.0), step("conv_c12", 200, 0.0)];
        let predicted = times.predict(&steps, 1, None).unwrap();
        assert_eq!(predicted, Predicted { ms: 0.25 + 2.0 + 6.0, covered: 0.5, similar: 0.5 });
        assert_eq!(times.predict(&steps, 2, None), None);
        let foreign = times.predict(&[step("softmax_c9", 20, 0.0)], 1, None).unwrap();
        assert_eq!(foreign, Predicted { ms: 0.25 + 1.0, covered: 0.0, similar: 0.0 });
        assert_eq!(times.predict(&steps, 1, Some(0)), None);
    }
}
