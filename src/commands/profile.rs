//! `xcc profile`: where the time of a run goes, step by step, and what bounds each step.

mod report;

use clap::{Args, ValueEnum};
use xcc_compiler::plan::Precision;
use xcc_runtime::Model;
use xcc_runtime::peak::Unit;

use crate::cli::{self, Failure};
use crate::measure::peaks::{Peak, Peaks, unit};
use crate::measure::reading::Reading;
use crate::measure::steps::{self, Roofs, Run};
use crate::measure::{MeasureArgs, Subject, timed, width};
use crate::network;
use crate::terminal::with_progress;
use report::Report;

/// Show where the time of a run goes, step by step
///
/// A step computes a layer, with what was fused into it, or several layers (`a + b`) strip by
/// strip, so that the maps between them are never in memory whole. It calls one or more kernels.
/// The time that a step must take at least is the longer of its operations at the machine's peak
/// and its bytes (inputs, outputs and weights, each once) at the bandwidth that threads have
/// beyond their level-2 caches, both measured in the same process. Weights are read once in a run:
/// where they are more than 16 MiB for each thread, the bandwidth of reading as many counts for
/// them, which is that of memory if no cache holds them. The longer one bounds the step, `compute`
/// or `memory`, unless the step takes more than twice as long: then it is bound by `overhead`.
/// Products of bf16 values, by tiles (AMX) or in pairs (AVX512-BF16), have a peak of their own,
/// and what runs in vectors of f32 values, such as depthwise parts, has that of these.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc profile specs/xception.xc --threads 1
  xcc profile specs/xception.xc --sort time --set segments=28
  perf record xcc profile specs/xception.xc --perf-map

Columns: `kernels` has the kernel that executes most of the step's instructions, by its number in \
`xcc emit --stage plan`, and how many others are called; the list below the table has its name. \
`of peak` is the share of the peak that its products have (where both tiles and vectors multiply, of \
the one that takes longer; Winograd's method and the fast inner product take fewer products than `GFLOP/s` counts), `MB` 10^6 bytes, `reached` the share of the bound: how long the \
step must take at least, divided by how long it took.

JSON: an object on one line with `model`, `parameters` (of the spec), `backend`, `batch`, \
`threads`, `weights` (a file or null), `seed` (of random weights or null), `target`, `precision`, `processor`, \
`features`, `warmup` (runs before those that count), `times_ms` (every run that counts, in order), \
`median_ms`, `peak_gflops` (of the precision: median of one core, times the threads that have one), `f32_peak_gflops` \
(of what runs in vectors), `bandwidth_gbs` (10^9 bytes in a second, all threads), \
`weights_bandwidth_gbs` (of weights), `steps`, `families` and `between` (copying of inputs and outputs, waking of \
threads) with `ms` and `share`. A step has `step` (from 0, as in the plan), `layer`, `kernels` \
(objects with `kernel`, `name`, `calls` and `instructions`, the share of the step's; the largest \
first), `ms` (median), `p5_ms`, `p95_ms`, `share`, `macs` (of all images of a run), `tile_macs` \
(those of bf16 values), `saved_macs` (those that Winograd's method and fast inner products do without, so that they have \
no part in `peak_share` and `bound_ms`), `gflops` (2 x macs / ms; null without any), `peak_share` (or null), `bytes`, `weight_bytes` (of them), `bound_ms` (the least time) and \
`bound`: `compute`, `memory` or `overhead`. A family, the steps that call the same kinds of kernels, \
has `family`, `steps` (how many), `ms`, `share` and `gflops` (or null). Shares are those of the sum of \
all `ms` of steps and between them; they add up to 1.")]
pub struct Arguments {
    #[command(flatten)]
    measure: MeasureArgs,
    /// The order of steps
    #[arg(long, value_enum, default_value_t = Order::Network)]
    sort: Order,
}

/// The order of steps.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// As they run
    Network,
    /// The longest first
    Time,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { measure, sort } = arguments;
    let Subject { settings, graph, engine, input, target, .. } = Subject::new(measure)?;
    let model = engine.model().ok_or_else(no_steps)?;
    let reading = Reading::of(model, target, settings.threads);
    let before = bandwidths(&reading)?;
    let precision = measure.job.network.precision;
    let unit = unit(precision, target, Some(model));
    let mut peaks = Peaks::begin(target, peaks_of(precision, unit, settings.threads))?;
    let run = || timed_run(model, &input);
    let taken = with_progress("measuring", || measure.plan().take(run, || peaks.between()))?;
    let peaks = peaks.end()?;
    let after = bandwidths(&reading)?;
    let roofs = roofs(&peaks, std::array::from_fn(|kind| before[kind].max(after[kind])));
    settings.origin.tell();
    let mut steps = steps::steps(model.program(), &graph, &taken.runs, &roofs);
    let between = steps::share_out(&mut steps, &taken.runs);
    let families = steps::families(&steps);
    if *sort == Order::Time {
        steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    }
    let report =
        Report::new(settings, &taken, (roofs, peaks), reading.weight_bytes, steps, families, between);
    if measure.job.json { cli::print_json(&report) } else { cli::print(&report.text(width())) }
}

/// The peak of vectors of f32 values, and that of bf16 values behind it where a network has
/// products of them.
fn peaks_of(precision: Precision, unit: Unit, threads: u32) -> Vec<Peak> {
    let tiles = Some(unit).filter(|unit| *unit != Unit::Vectors);
    let vectors = Peak::new(Precision::F32, Unit::Vectors, threads);
    std::iter::once(vectors).chain(tiles.map(|unit| Peak::new(precision, unit, threads))).collect()
}

fn roofs(peaks: &[Peak], [bandwidth, weights_bandwidth]: [f64; 2]) -> Roofs {
    let of_threads = |number: usize| peaks.get(number).map(Peak::of_threads);
    Roofs { vectors: of_threads(0).unwrap_or(0.0), tiles: of_threads(1), bandwidth, weights_bandwidth }
}

/// Bytes of values and of weights that all threads read in a second.
fn bandwidths(reading: &Reading) -> Result<[f64; 2], Failure> {
    let values = reading.values()?;
    Ok([values, reading.weights()?.unwrap_or(values)])
}

fn no_steps() -> Failure {
    Failure::input("the reference evaluator has no steps: a profile is one of compiled code, `--backend cpu`")
}

fn timed_run(model: &Model, input: &[f32]) -> Result<Run, Failure> {
    let ((_, steps), whole) = timed(|| {
        model.run_timed(input).map_err(|error| network::failure(error, model.program().options.batch))
    })?;
    Ok(Run { whole, steps })
}
