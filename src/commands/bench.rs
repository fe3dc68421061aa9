//! `xcc bench`: how long a network takes on this machine, and what share of the machine's peak that is.

mod report;
mod samples;
mod steps;

use std::time::{Duration, Instant};

use clap::Args;
use xcc_compiler::cost::total_macs;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{self, PASSES};
use xcc_compiler::target::Target;
use xcc_runtime::{machine, peak};

use crate::cli::{self, Failure};
use crate::inputs::Inputs;
use crate::network::{self, Engine, EngineArgs, JobArgs};
use crate::terminal::with_progress;
use report::{Report, Settings};
use samples::Plan;
pub(super) use samples::quantile;

/// How long the measurements of the peak before and after the runs take.
const PEAK_TIME: Duration = Duration::from_millis(100);
/// How often the peak is measured for a moment between runs: machines that are shared change their speed.
const PEAK_INTERVAL: Duration = Duration::from_millis(50);

/// Measure how long a network takes on this machine
///
/// Every run is timed on its own, from compact input to compact output. The peak is what one core reaches
/// with nothing but multiply-adds of the same vectors, measured in the same process before, between and
/// after the runs (the median counts), times the number of threads.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc bench specs/xception.xc --threads 1
  xcc bench specs/xception.xc --set segments=28 --steps

JSON: an object on one line with `model`, `parameters` (of the spec), `backend`, `batch`, `threads`, `weights` (a file or null), `seed`
(of random weights or null), `target`, `processor`, `features`, `load_ms` (weights), `compile_ms`, `warmup` (runs before), `times_ms`
(every run, in order), `median_ms`, `p5_ms`, `p95_ms`, `min_ms`, `macs` (multiply-adds of one image), `gflops` (2 x MACs x batch / median),
`peak_gflops` (one core times threads), `peak_before_gflops` and `peak_after_gflops` (one core), `peak_share`, `peak_rss_mb` (most memory
of the process in 10^6 bytes, or null) and, with `--steps`, `steps`: objects with `layer`, `ms`, `share` and `gflops`.")]
pub struct Arguments {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    results: Results,
    /// Runs that are timed [default: as many as fit into 2 seconds, from 10 to 1000]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(1..=1_000_000))]
    iters: Option<u32>,
    /// Runs before, which are not timed [default: as many as fit into 0.3 seconds, at least 2]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(0..=1_000_000))]
    warmup: Option<u32>,
    /// Show the time of each layer, too
    #[arg(long)]
    steps: bool,
}

/// What `xcc run` does with results: taken here, too, so that its command lines can be timed as they are.
#[derive(Args)]
struct Results {
    #[arg(long, hide = true)]
    output: Option<String>,
    #[arg(long, hide = true)]
    top: Option<String>,
    #[arg(long, hide = true)]
    labels: Option<String>,
}

impl Results {
    /// Says which options change nothing.
    fn note(&self) {
        let given = [("--output", &self.output), ("--top", &self.top), ("--labels", &self.labels)];
        for (name, _) in given.into_iter().filter(|(_, value)| value.is_some()) {
            cli::note(format!("{name} changes nothing here: results are neither shown nor written"));
        }
    }
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { job, engine, .. } = arguments;
    let mut loaded = cli::load_graph(&job.spec)?;
    arguments.results.note();
    let batch = job.network.batch.get();
    let input = input(job, &loaded.graph, batch)?;
    let (bound, load) = timed(|| network::bind(&loaded, &job.network))?;
    let target = job.network.target;
    let settings = Settings {
        model: loaded.graph.name.clone(),
        parameters: report::parameters(&loaded.parameters),
        backend: engine.backend,
        batch,
        threads: job.network.threads(),
        origin: bound.origin,
        target: target.to_string(),
        processor: machine::processor(),
        features: machine::features(),
    };
    engine.tap(&mut loaded.graph)?;
    let macs = total_macs(&needed(&loaded.graph)).total();
    let graph = loaded.graph.clone();
    let (engine, compile) = timed(|| Engine::new(graph, bound.weights, engine.backend, &job.network))?;
    let plan = Plan { warmup: arguments.warmup, runs: arguments.iters };
    let mut peaks = vec![measured_peak(target, PEAK_TIME)?];
    let mut sampled = Instant::now();
    let sample = || {
        if sampled.elapsed() >= PEAK_INTERVAL {
            peaks.push(measured_peak(target, Duration::ZERO)?);
            sampled = Instant::now();
        }
        Ok(())
    };
    let taken = with_progress("measuring", || plan.take(|| engine.run(&input).map(drop), sample))?;
    let steps = match engine.model().filter(|_| arguments.steps) {
        Some(model) => with_progress("measuring steps", || steps::measure(model, &loaded.graph, &input))?,
        None => Vec::new(),
    };
    peaks.push(measured_peak(target, PEAK_TIME)?);
    settings.origin.tell();
    let report = Report::new(settings, [load, compile], &taken, macs, &peaks, steps);
    if job.json { cli::print_json(&report) } else { cli::print(&report.text()) }
}

/// The graph without what its outputs do not need.
fn needed(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let unused = PASSES.iter().filter(|pass| pass.name == "drop_unused");
    unused.for_each(|pass| pass.apply(&mut graph, &mut passes::Report::new(None)));
    graph
}

/// The first inputs given, or random ones.
fn input(job: &JobArgs, graph: &Graph, batch: u32) -> Result<Vec<f32>, Failure> {
    let inputs = match job.inputs.inputs(graph)? {
        Some(inputs) => inputs,
        None => Inputs::random(graph, batch, job.network.seed.unwrap_or(0))?,
    };
    inputs.read(0..inputs.count().min(batch as usize), batch as usize)
}

/// Operations in a second that one core reaches.
fn measured_peak(target: Target, time: Duration) -> Result<f64, Failure> {
    peak::measure(target, time).map_err(Failure::input)
}

/// A result and how long it took.
fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Duration), Failure> {
    let began = Instant::now();
    let result = work()?;
    Ok((result, began.elapsed()))
}
