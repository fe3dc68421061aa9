//! `xcc verify`: compiled code against the reference evaluator, value by value.

use std::io;

use clap::{Args, ValueEnum};
use serde::Serialize;
use xcc_compiler::plan::{PlanOptions, Precision};
use xcc_compiler::target::Target;
use xcc_runtime::npy;
use xcc_runtime::verify::{Comparison, VerifyError, tolerance, verify};
use xcc_runtime::weights::Weights;

use crate::cli::{self, Failure, LARGEST_BATCH, Loaded};
use crate::inputs::Inputs;
use crate::network::{self, JobArgs, Origin};
use crate::numbers::thousands;
use crate::table::{Layout, Table};
use crate::terminal::{self, with_progress};

/// Values that are shown unless all are asked for.
const SHOWN: usize = 10;

/// Compare compiled code with the reference evaluator, value by value
///
/// The reference runs the network as it is written, the machine code what passes made of it: once
/// with all values kept, and once as `run` does, of which the outputs are compared. An error is
/// that of the worst element of a value, relative to the value's largest element; up to 1e-4
/// counts as rounding (up to 2e-2 with `--precision bf16`, 5e-5 with `--precision split`).
/// Elements below 2^-126 (2^-100 where bf16 values are multiplied, since denormal ones are zero
/// there) count as that large.
///
/// In bf16, 2e-2 is what networks show, not a bound: a factor is wrong by up to 2^-8, so a sum by
/// up to 2^-7 of the sum of its absolute products. A value whose products cancel, as in small
/// random networks, may exceed 2e-2. NaN and infinities agree with their like only; compiled code
/// may spread them to other results of their layer, and make NaN of infinities. Without inputs,
/// one run of random ones is compared.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc verify specs/xception.xc --set segments=28 --set size=72
  xcc verify specs/digits.xc examples/digits/*.png --all

Exit status: 0 when all values agree, 1 when one does not.

JSON: an object on one line with `model`, `reference`, `batch`, `threads`, `precision`, \
`weights` (a file or null), `seed` (of random weights or null), `tolerance`, `passed`, \
`worst_error`, `not_finite` and `values`, in the order of computation. A value has `value` \
(its name in `emit`), `layer`, `shape`, `error`, `image`, `row`, `column`, `channel`, \
`expected`, `found` and `not_finite` (elements that are NaN or infinite). Numbers that are \
not finite are null.")]
pub struct Arguments {
    #[command(flatten)]
    job: JobArgs,
    /// What the reference computes in
    #[arg(long, value_enum, default_value_t = Reference::F64)]
    reference: Reference,
    /// Show all values in the order of computation, not just the worst
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Reference {
    /// 64-bit floats: the error is that of compiled code
    F64,
    /// 32-bit floats: twice as fast, both sides round
    F32,
}

/// How the comparison was made.
#[derive(Serialize)]
struct Report {
    model: String,
    reference: Reference,
    batch: u32,
    threads: u32,
    #[serde(serialize_with = "as_text")]
    precision: Precision,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    tolerance: f64,
    passed: bool,
    worst_error: f64,
    not_finite: usize,
    values: Vec<JsonValue<'a>>,
}

#[derive(Serialize)]
struct JsonValue<'a> {
    value: String,
    layer: &'a str,
    shape: Vec<u64>,
    error: f64,
    image: u64,
    row: u64,
    column: u64,
    channel: u64,
    expected: f64,
    found: f32,
    not_finite: usize,
}

fn as_text<S: serde::Serializer>(value: &impl ToString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.to_string())
}

/// Compares, prints the errors, and fails when one is too large.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let JobArgs { spec, inputs, network, json } = &arguments.job;
    let loaded = cli::load_graph(spec)?;
    let inputs = inputs.inputs(&loaded.graph)?;
    let bound = network::bind(&loaded, &network.weights)?;
    let report = Report {
        model: loaded.graph.name.clone(),
        reference: arguments.reference,
        batch: in_one_run(inputs.as_ref().map_or(0, Inputs::count))?.max(network.batch.get()),
        threads: network.threads(),
        precision: network.precision,
        origin: bound.origin,
    };
    let inputs = match inputs {
        Some(inputs) => inputs,
        None => Inputs::random(&loaded.graph, report.batch, network.weights.seed.unwrap_or(0))?,
    };
    let input = inputs.read(0..inputs.count(), report.batch as usize)?;
    let target = cli::with_constants(network.target, network.constants.as_deref())?;
    let comparisons = compare(&loaded, &bound.weights, target, &input, &report)?;
    report.origin.tell();
    inputs.tell();
    tell_not_finite(&comparisons, report.batch);
    let sorted = worst_first(&comparisons);
    if *json {
        cli::print_json(&as_json(&report, &comparisons))?;
    } else if arguments.all {
        cli::print(&text(&comparisons.iter().collect::<Vec<_>>(), &sorted, report.precision))?;
    } else {
        cli::print(&text(&sorted[..sorted.len().min(SHOWN)], &sorted, report.precision))?;
    }
    verdict(&sorted, report.precision)
}

/// The number of inputs, if one run can take them all.
fn in_one_run(inputs: usize) -> Result<u32, Failure> {
    let batch = u32::try_from(inputs).ok().filter(|&batch| batch <= LARGEST_BATCH);
    batch.ok_or_else(|| {
        Failure::input(format!(
            "{inputs} inputs are more than the {LARGEST_BATCH} that are compared in one run: give fewer"
        ))
    })
}

fn compare(
    loaded: &Loaded,
    weights: &Weights,
    target: Target,
    input: &[f32],
    report: &Report,
) -> Result<Vec<Comparison>, Failure> {
    let options = PlanOptions {
        batch: report.batch,
        threads: report.threads,
        precision: report.precision,
        ..PlanOptions::default()
    };
    let compared = with_progress("comparing with the reference", || match report.reference {
        Reference::F64 => verify::<f64>(&loaded.graph, weights, target, options, input),
        Reference::F32 => verify::<f32>(&loaded.graph, weights, target, options, input),
    });
    compared.map_err(|error| match error {
        VerifyError::Model(error) => network::failure(error, report.batch),
        error => Failure::input(error),
    })
}

/// A note on elements that are NaN or infinite, of which the errors say nothing where both sides
/// agree.
fn tell_not_finite(comparisons: &[Comparison], batch: u32) {
    let affected: Vec<&Comparison> = comparisons.iter().filter(|value| value.not_finite > 0).collect();
    let Some(first) = affected.first() else { return };
    let elements: u64 = comparisons.iter().map(|value| value.shape.elements() * u64::from(batch)).sum();
    cli::note(format!(
        "{} of {} elements are NaN or infinite, in {} of {} values, {} first",
        thousands(not_finite(comparisons) as u64),
        thousands(elements),
        affected.len(),
        comparisons.len(),
        first.layer
    ));
}

fn not_finite(comparisons: &[Comparison]) -> usize {
    comparisons.iter().map(|comparison| comparison.not_finite).sum()
}

fn worst_first(comparisons: &[Comparison]) -> Vec<&Comparison> {
    let mut sorted: Vec<&Comparison> = comparisons.iter().collect();
    sorted.sort_by(|a, b| b.worst.error.total_cmp(&a.worst.error));
    sorted
}

/// A table of the `shown` values, and what all of them, of which the worst is the first of
/// `sorted`, add up to.
fn text(shown: &[&Comparison], sorted: &[&Comparison], precision: Precision) -> String {
    let (text, number) = (Layout::Left, Layout::Right);
    let mut table = Table::new(&[text, Layout::Wrapped, number, text, number, number]);
    let heads = ["value", "layer", "error", "at image,row,\ncolumn,channel", "expected", "found"];
    table.strong_row(heads.map(str::to_owned));
    table.rule("");
    shown.iter().for_each(|comparison| table.row(cells(comparison)));
    let mut text = table.render(terminal::width(), terminal::color(&io::stdout()));
    text += "errors are those of the worst element, relative to the largest of its value\n";
    if shown.len() < sorted.len() {
        text += &format!("the worst {} of {} values; `--all` shows the others\n", shown.len(), sorted.len());
    }
    if let Some(worst) = sorted.first().filter(|worst| worst.passes(precision)) {
        text += &format!(
            "ok: {} values agree; the worst error is {:.1e}, the tolerance {:.0e}\n",
            sorted.len(),
            worst.worst.error,
            tolerance(precision)
        );
    }
    text
}

fn cells(comparison: &Comparison) -> [String; 6] {
    let Comparison { node, layer, worst, .. } = comparison;
    let at = worst.position;
    [
        node.to_string(),
        layer.clone(),
        format!("{:.1e}", worst.error),
        format!("{},{},{},{}", at.image, at.row, at.column, at.channel),
        format!("{:.6e}", worst.expected),
        format!("{:.6e}", worst.found),
    ]
}

fn as_json<'a>(report: &'a Report, comparisons: &'a [Comparison]) -> Json<'a> {
    let value = |comparison: &'a Comparison| {
        let at = comparison.worst.position;
        JsonValue {
            value: comparison.node.to_string(),
            layer: &comparison.layer,
            shape: npy::extents(comparison.shape),
            error: comparison.worst.error,
            image: at.image,
            row: at.row,
            column: at.column,
            channel: at.channel,
            expected: comparison.worst.expected,
            found: comparison.worst.found,
            not_finite: comparison.not_finite,
        }
    };
    Json {
        report,
        tolerance: tolerance(report.precision),
        passed: comparisons.iter().all(|comparison| comparison.passes(report.precision)),
        worst_error: comparisons.iter().map(|comparison| comparison.worst.error).fold(0.0, f64::max),
        not_finite: not_finite(comparisons),
        values: comparisons.iter().map(value).collect(),
    }
}

/// What else than a mistake may be the reason for large errors in a precision.
fn hint(precision: Precision) -> &'static str {
    match precision {
        Precision::Bf16 => {
            "; in bf16 a sum is exact to 2^-7 of its absolute products, which may cancel: compare with --precision f32"
        }
        Precision::F32 | Precision::Split => "",
    }
}

/// Fails when a value does not agree.
fn verdict(sorted: &[&Comparison], precision: Precision) -> Result<(), Failure> {
    let bad = sorted.iter().filter(|comparison| !comparison.passes(precision)).count();
    match sorted.first() {
        Some(worst) if bad > 0 => Err(Failure::check(
            format!(
                "{bad} of {} values differ by more than {:.0e}; the worst is {} by {:.1e}",
                sorted.len(),
                tolerance(precision),
                worst.layer,
                worst.worst.error,
            ) + hint(precision),
        )),
        _ => Ok(()),
    }
}
