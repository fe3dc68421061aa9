//! `xcc bench`: how long a network takes on this machine, and what share of the machine's peak
//! that is.

mod report;

use clap::Args;
use xcc_compiler::cost::total_macs;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{self, PASSES};

use crate::cli::{self, Failure};
use crate::measure::peaks::{Peak, Peaks, unit_of_most};
use crate::measure::{MeasureArgs, Subject, timed, width};
use crate::terminal::with_progress;
use report::Report;

/// Measure how long a network takes on this machine
///
/// Every run is timed on its own, from compact input to compact output. The peak is what one core
/// reaches with nothing but multiply-adds of the same vectors, measured in the same process
/// before, between and after the runs (the median counts), times the threads that have a core.
/// With AMX, unless all layers are too small for it, it is that of nothing but products of tiles
/// in all threads: in bf16 all of it, in split a third and in f32 a sixth, since a multiply-add
/// takes three or six products there. In bf16 with AVX512-BF16 alone, it is that of products of
/// pairs in vectors of one core. Where most layers use f32 products, since those are as fast, it
/// is that of f32; a line says so. Layers that run in vectors of f32 values have another peak;
/// `xcc profile` tells the steps apart.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc bench specs/xception.xc --threads 1
  xcc bench specs/xception.xc --set segments=28 --json

JSON: an object on one line with `model`, `parameters` (of the spec), `backend`, \
`batch`, `threads`, `weights` (a file or null), `seed` (of random weights or null), \
`target`, `precision`, `processor`, `features`, then times until the network has run once: \
`parse_ms` (spec to graph), `load_ms` (weights), `compile_ms` (passes, plan, code), \
`pack_ms` (weights read or drawn; or null), `first_run_ms` and `start_ms` (their \
sum); then `warmup` (runs before those that \
count), `times_ms` (every run that counts, in order), `median_ms`, `p5_ms`, `p95_ms`, \
`min_ms`, `macs` (multiply-adds of one image), `saved_macs` (those of them that \
Winograd's method and fast inner products do without), `gflops` (2 x macs x batch / median), \
`peak_gflops` (of the precision: median of one core, times the threads that have one), \
`peak_samples_gflops` (one core; that of tiles while all threads work; every \
measurement, in order: before, between and after the runs), `peak_share` (gflops of \
macs that are not saved / peak_gflops), \
`peak_rss_mb` (most memory of the process in 10^6 bytes, or null) and `more_exact` (null, or an object about layers that use more exact \
products than asked for, since they are as fast: `asked`, `layers`, `of` (layers that could do with less exact ones) and `reason`).")]
pub struct Arguments {
    #[command(flatten)]
    measure: MeasureArgs,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { measure } = arguments;
    let Subject { settings, start, graph, engine, input, target } = Subject::new(measure)?;
    let precision = measure.job.network.precision;
    let peak = Peak::new(precision, unit_of_most(precision, target, engine.model()), settings.threads);
    let mut peaks = Peaks::begin(target, vec![peak.clone()])?;
    let run = || timed(|| engine.run(&input)).map(|(_, time)| time);
    let taken = with_progress("measuring", || measure.plan().take(run, || peaks.between()))?;
    let peak = peaks.end()?.pop().unwrap_or(peak);
    settings.origin.tell();
    let saved = engine.model().map_or(0, |model| model.program().saved_macs.values().flatten().sum());
    let macs = [total_macs(&needed(&graph)).total(), saved];
    let more_exact = engine.model().and_then(|model| model.program().schedule.more_exact());
    let report = Report::new(settings, start, taken, macs, peak).with_more_exact(more_exact);
    if measure.job.json { cli::print_json(&report) } else { cli::print(&report.text(width())) }
}

/// The graph without what its outputs do not need.
fn needed(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let unused = PASSES.iter().filter(|pass| pass.name == "drop_unused");
    unused.for_each(|pass| pass.apply(&mut graph, &mut passes::Report::new(None)));
    graph
}
