//! `xcc precision`: what each precision costs in exactness, and what it gains in time.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use xcc_compiler::graph::Graph;
use xcc_compiler::plan::{PlanOptions, Precision};
use xcc_compiler::schedule::precisions::MoreExact;
use xcc_runtime::Model;
use xcc_runtime::reference::evaluate_keeping;
use xcc_runtime::weights::Weights;

use crate::cli::{self, Failure, NetworkArgs, SpecArgs};
use crate::inputs::{InputArgs, Inputs};
use crate::measure::samples::quantile;
use crate::network::{self, Origin};
use crate::table::{Layout, Table};
use crate::terminal::with_progress;

/// How long each precision is timed, at least.
const TIME: Duration = Duration::from_millis(500);
/// Runs that are timed, at least.
const RUNS: usize = 5;

/// Compare the precisions that this machine has: errors against the reference, and time
///
/// Every input is run in each precision and by the reference evaluator in 64-bit floats. Errors
/// are those of the network's first output, relative to the largest element of the reference's: of
/// the worst element of all inputs, and the mean of all. An input agrees when the largest element
/// is at the same place as the reference's, and no element is NaN. The time is the median of a run
/// of one input.
#[derive(Args)]
#[command(mut_arg("batch", |arg| arg.hide(true)), mut_arg("precision", |arg| arg.hide(true)))]
#[command(after_help = "\
Examples:
  xcc precision specs/digits.xc examples/digits/*.png
  xcc precision specs/xception.xc --set size=96 --seed 1 --count 16

JSON: an object on one line with `model`, `inputs` (their number), `threads`, `weights` (a file or null), `seed` (of random weights or \
null) and `precisions`: objects with `precision`, `worst_error`, `mean_error`, `agreeing` (inputs), `ms` and `more_exact` (null, or an object about \
layers that use more exact products than the precision permits, since they are as fast: `asked`, `layers`, `of` (layers that could do with less \
exact ones) and `reason`).")]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// Random inputs, where no others are given
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What was found of one precision.
#[derive(Serialize)]
struct Row {
    precision: String,
    worst_error: f64,
    mean_error: f64,
    agreeing: usize,
    ms: f64,
    more_exact: Option<MoreExact>,
}

#[derive(Serialize)]
struct Report {
    model: String,
    inputs: usize,
    threads: u32,
    #[serde(flatten)]
    origin: Origin,
    precisions: Vec<Row>,
}

/// Inputs, each with the output of the reference.
type Cases = Vec<(Vec<f32>, Vec<f64>)>;

/// Compares and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let network = &arguments.network;
    if network.batch.get() > 1 || network.precision != Precision::F32 {
        return Err(Failure::input(
            "all precisions are compared, an input at a time: --batch and --precision do nothing here",
        ));
    }
    let loaded = cli::load_graph(&arguments.spec)?;
    let inputs = match arguments.inputs.inputs(&loaded.graph)? {
        Some(inputs) => inputs,
        None => Inputs::random(&loaded.graph, arguments.count, network.weights.seed.unwrap_or(0))?,
    };
    let bound = network::bind(&loaded, &network.weights)?;
    let cases =
        with_progress("computing the reference", || reference(&loaded.graph, &bound.weights, &inputs))?;
    let target = cli::with_constants(network.target, network.constants.as_deref())?;
    let mut precisions = Vec::new();
    for precision in Precision::ALL.into_iter().filter(|precision| precision.is_for(target)) {
        let options = PlanOptions { threads: network.threads(), precision, ..PlanOptions::default() };
        let compile = || network::compile(loaded.graph.clone(), &bound.weights, target, options);
        let model = with_progress("compiling", compile)?;
        precisions.push(with_progress("running", || measure(&model, precision, &cases))?);
    }
    let (model, threads) = (loaded.graph.name.clone(), network.threads());
    let report = Report { model, inputs: cases.len(), threads, origin: bound.origin, precisions };
    report.origin.tell();
    if arguments.json { cli::print_json(&report) } else { cli::print(&text(&report)) }
}

fn reference(graph: &Graph, weights: &Weights, inputs: &Inputs) -> Result<Cases, Failure> {
    let output = network::first_output(graph);
    let case = |index: usize| {
        let input = inputs.read(index..index + 1, 1)?;
        let exact: Vec<f64> = input.iter().map(|&value| f64::from(value)).collect();
        let values = evaluate_keeping(graph, weights, &exact, 1, &[output]);
        let expected = values.map_err(Failure::input)?.take(output).unwrap_or_default();
        Ok((input, expected))
    };
    (0..inputs.count()).map(case).collect()
}

/// Runs all cases, then times runs of them.
fn measure(model: &Model, precision: Precision, cases: &Cases) -> Result<Row, Failure> {
    let run = |input: &[f32]| {
        let outputs = model.run(input).map_err(|error| network::failure(error, 1))?;
        Ok::<_, Failure>(outputs.into_iter().next().unwrap_or_default())
    };
    let (mut errors, mut agreeing) = (Vec::new(), 0);
    for (input, expected) in cases {
        let found: Vec<f64> = run(input)?.iter().map(|&value| f64::from(value)).collect();
        let scale = expected.iter().fold(0.0, |scale: f64, e| scale.max(e.abs()));
        let error = |(e, f): (&f64, &f64)| if e == f { 0.0 } else { (e - f).abs() / scale };
        errors.extend(expected.iter().zip(&found).map(error));
        let is_known = !found.iter().chain(expected).any(|value| value.is_nan());
        agreeing += usize::from(is_known && largest(expected) == largest(&found));
    }
    let mut times = Vec::new();
    let began = Instant::now();
    for (input, _) in cases.iter().cycle() {
        if times.len() >= RUNS && began.elapsed() >= TIME {
            break;
        }
        let start = Instant::now();
        run(input)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Row {
        precision: precision.to_string(),
        // Not a maximum of floats, which would take no notice of NaN.
        worst_error: errors.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0),
        mean_error: errors.iter().sum::<f64>() / errors.len().max(1) as f64,
        agreeing,
        ms: quantile(&times, 0.5),
        more_exact: model.program().schedule.more_exact(),
    })
}

/// The place of the largest element, of several the first.
fn largest(values: &[f64]) -> Option<usize> {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b]))
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Right, Layout::Right, Layout::Right]);
    table.strong_row(["precision", "worst error", "mean error", "same top-1", "ms"].map(str::to_owned));
    table.rule("");
    for row in &report.precisions {
        table.row([
            row.precision.clone(),
            format!("{:.1e}", row.worst_error),
            format!("{:.1e}", row.mean_error),
            format!("{} of {}", row.agreeing, report.inputs),
            format!("{:.3}", row.ms),
        ]);
    }
    let mut text = table.render(usize::MAX, false);
    for exact in report.precisions.iter().filter_map(|row| row.more_exact.as_ref()) {
        text += &format!("{exact}\n");
    }
    let is_shown =
        |precision: &Precision| report.precisions.iter().any(|row| row.precision == precision.to_string());
    for precision in Precision::ALL.into_iter().filter(|precision| !is_shown(precision)) {
        text += &format!(
            "{precision} needs {}: a processor that has it, and `--target native`\n",
            precision.needs()
        );
    }
    text
}
