//! Measuring a network: what `bench`, `profile` and `sweep` share.

pub mod peaks;
pub mod reading;
pub mod samples;
pub mod settings;
pub mod steps;
pub mod work;

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use xcc_compiler::graph::Graph;
use xcc_compiler::target::Target;

use crate::cli::{self, Failure};
use crate::inputs::Inputs;
use crate::network::{self, Engine, EngineArgs, JobArgs};
use crate::terminal;
use samples::Plan;
use settings::Settings;

/// Columns of a report where there is no terminal, and the most where there is one.
const WIDTH: usize = 100;

/// Columns of a report on standard output.
pub fn width() -> usize {
    terminal::known_width().map_or(WIDTH, |width| width.min(WIDTH))
}

/// What is measured, and how often.
#[derive(Args)]
pub struct MeasureArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    results: Results,
    /// Runs that are timed [default: as many as fit into 2 seconds, from 10 to 1000]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(1..=1_000_000))]
    iters: Option<u32>,
    /// Runs before those, after the first one of all [default: as many as fit into 0.3 seconds, at
    /// least 2]
    #[arg(long, value_name = "N", value_parser = cli::whole_number::<u32>(0..=1_000_000))]
    warmup: Option<u32>,
}

impl MeasureArgs {
    /// How many runs there are.
    pub fn plan(&self) -> Plan {
        Plan { warmup: self.warmup, runs: self.iters }
    }
}

/// What `xcc run` does with results: taken here, too, so that its command lines can be timed as
/// they are.
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

/// A network that has run once, and all that is known of it then.
pub struct Subject {
    /// What is measured, where.
    pub settings: Settings,
    /// How long it took to get here.
    pub start: StartTimes,
    /// The graph as it was elaborated, with the outputs asked for.
    pub graph: Graph,
    /// What runs it.
    pub engine: Engine,
    /// What it runs on.
    pub input: Vec<f32>,
    /// What code is made for.
    pub target: Target,
}

impl Subject {
    /// Reads, compiles and runs once what the arguments name.
    pub fn new(arguments: &MeasureArgs) -> Result<Self, Failure> {
        let MeasureArgs { job, engine, results, .. } = arguments;
        engine.check(&job.network)?;
        let (mut loaded, parse) = timed(|| cli::load_graph(&job.spec))?;
        results.note();
        let input = input(job, &loaded.graph)?;
        let (bound, load) = timed(|| network::bind(&loaded, &job.network.weights))?;
        engine.tap(&mut loaded.graph)?;
        let settings = Settings::new(&loaded, job, engine.backend, bound.origin);
        let graph = loaded.graph.clone();
        let built = timed(|| Engine::new(graph, bound.weights, engine.backend, &job.network));
        let (built, build) = built?;
        engine.map(&built)?;
        let (_, first) = timed(|| built.run(&input))?;
        let pack = built.model().map(|model| model.pack_time());
        Ok(Self {
            settings,
            start: StartTimes::new([parse, load, build, first], pack),
            graph: loaded.graph,
            engine: built,
            input,
            target: job.network.target,
        })
    }
}

/// The first inputs given, or random ones.
fn input(job: &JobArgs, graph: &Graph) -> Result<Vec<f32>, Failure> {
    let batch = job.network.batch.get();
    let inputs = match job.inputs.inputs(graph)? {
        Some(inputs) => inputs,
        None => Inputs::random(graph, batch, job.network.weights.seed.unwrap_or(0))?,
    };
    inputs.read(0..inputs.count().min(batch as usize), batch as usize)
}

/// How long it takes until a network has run once, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StartTimes {
    /// Reading the spec, up to the graph.
    pub parse_ms: f64,
    /// Reading the list of weights, and those that are not mapped.
    pub load_ms: f64,
    /// Passes, plan and machine code.
    pub compile_ms: f64,
    /// Packing weights, which reads mapped ones and draws random ones; none without machine code.
    pub pack_ms: Option<f64>,
    /// The first run, which gets memory and threads.
    pub first_run_ms: f64,
    /// All of them from the beginning to the end.
    pub start_ms: f64,
}

impl StartTimes {
    fn new(times: [Duration; 4], pack: Option<Duration>) -> Self {
        let [parse, load, build, first] = times.map(milliseconds);
        let pack = pack.map(milliseconds);
        Self {
            parse_ms: parse,
            load_ms: load,
            compile_ms: build - pack.unwrap_or(0.0),
            pack_ms: pack,
            first_run_ms: first,
            start_ms: parse + load + build + first,
        }
    }
}

/// As a number.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A result and how long it took.
pub fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Duration), Failure> {
    let began = Instant::now();
    let result = work()?;
    Ok((result, began.elapsed()))
}
