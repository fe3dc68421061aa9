//! `xcc sweep`: a network at many settings, what each costs, and how long each takes.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use xcc_runtime::replace::replace;

use crate::cli::{self, Failure, Source};
use crate::numbers::counted;
use crate::sweep::kernels::{self, KernelTable, Times};
use crate::sweep::plan::{Plan, PlanArgs};
use crate::sweep::results::{Quantity, Results, Status};
use crate::sweep::store::{Existing, Store};
use crate::sweep::{csv, date, examine, measure, report, survey, table, validate};
use crate::terminal::{self, with_progress};

/// Measure a network at many settings of its parameters
///
/// Every point is compiled first, then all are run in turn, round after round, so that a machine
/// whose speed drifts favours none. Results are kept in a file as they come: what was interrupted
/// goes on with `--resume`. The least time of a point by the roofline model is the sum of what its
/// steps take at the machine's peak or bandwidth, whichever is longer, both measured in the same
/// process.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc sweep specs/xception.xc --over segments=divisors --threads 1
  xcc sweep specs/xception.xc --over segments=1,4,full --hold params=default --by width
  xcc sweep specs/sweeps/xception_spectrum.yaml --csv spectrum.csv --html spectrum.html
  xcc sweep specs/mini_xception.xc --over segments=powers --threads 1,2 --json - | jq .points

Values of `--over`: texts as `--set` takes them, ranges `1..8`, `divisors` (the numbers that divide the channels of most \
layers that the parameter cuts in segments, and `full`), `powers` (of two, likewise), and both of a number: `divisors(96)`. \
`--combine` makes points of several parameters: `product` (all with all), `zip` (first with first), `each` (one \
at a time, others at their defaults).

Columns: `spatial` is the share of MACs in windows of several taps or segments, `MB` 10^6 bytes of packed weights and values, \
`ms` the median of a run, `p95` what 95 % of runs stay below, `of bound` the least time divided by the median. Narrow \
terminals show fewer columns; `kernels` are kinds that not all points call. docs/sweep.md describes the JSON.")]
pub struct Arguments {
    #[command(flatten)]
    plan: PlanArgs,
    /// Keep results as JSON in FILE; `-` prints them at the end, too [default:
    /// SPEC-NAMES.sweep.json, here]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a line for each point as CSV; `-` is standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with charts of the results, for any browser; `xcc report` makes it later, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the time of each kernel of the sweep as JSON, for `--predict`
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    per_kernel: Option<PathBuf>,
    /// Predict times as sums of those in FILE, which `--per-kernel` wrote, instead of those of the
    /// other points
    #[arg(long, value_name = "FILE")]
    predict: Option<PathBuf>,
    /// Go on with the results that are there
    #[arg(long)]
    resume: bool,
    /// Replace results that are there: unfinished ones, those of another sweep, and those in a
    /// file that no --json names
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Show the points and what they cost without measuring them
    #[arg(long)]
    dry_run: bool,
    /// Columns of the table [default: those of the terminal, 80 without one]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
}

/// Sweeps and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let plan = Plan::new(&arguments.plan)?;
    let store = store(arguments, &plan);
    check_outputs(arguments, &plan, store.as_ref())?;
    let source = Source::read(&plan.spec)?;
    let sweep = with_progress("reading the spec", || survey::sweep(&plan, &source))?;
    let points = survey::points(&sweep)?;
    let fresh = Results::new(sweep, points, date::now());
    // What is written can be read again.
    validate::validate(&fresh)
        .map_err(|fault| Failure::input(format!("the sweep makes no sense: {fault}")))?;
    let times = arguments.predict.as_deref().map(|path| Times::read(path, plan.target)).transpose()?;
    let times = times.as_ref();
    let Some(store) = store else {
        let mut results = fresh;
        examine::examine(&mut results, &plan, &source, times, |_| Ok(()))?;
        return write(arguments, &results);
    };
    let mut results = store.open(fresh, existing(arguments))?;
    let takes_long = plan.hold.as_ref().is_some_and(|(budget, _)| budget.quantity == Quantity::Latency);
    let keep = |results: &Results| if takes_long { store.save(results) } else { Ok(()) };
    examine::examine(&mut results, &plan, &source, times, keep)?;
    store.save(&results)?;
    if !arguments.dry_run {
        measure::measure(&mut results, plan.target, plan.rounds, &mut |results| store.save(results))?;
        kernels::predict(&mut results.points, times);
        store.save(&results)?;
    }
    write(arguments, &results)?;
    cli::note(format!("results are in {}", store.path().display()));
    check_failed(&results)
}

fn existing(arguments: &Arguments) -> Existing {
    match (arguments.resume, arguments.force) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        // A dry run has nothing to put in the place of what was measured.
        _ if arguments.json.as_deref().is_some_and(|path| !is_stdout(path)) && !arguments.dry_run => {
            Existing::Update
        }
        _ => Existing::Keep,
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Where results are kept: nowhere, if nothing is measured and no file is named.
fn store(arguments: &Arguments, plan: &Plan) -> Option<Store> {
    let given = arguments.json.clone().filter(|path| !is_stdout(path));
    let default = || PathBuf::from(format!("{}.sweep.json", plan.file_stem(&arguments.plan)));
    let path = if arguments.dry_run { given } else { Some(given.unwrap_or_else(default)) };
    path.map(Store::new)
}

/// Finds out before anything is measured whether the results can be written: to files that are
/// none of the others, nor any that is read.
fn check_outputs(arguments: &Arguments, plan: &Plan, store: Option<&Store>) -> Result<(), Failure> {
    let outputs = [&arguments.json, &arguments.csv, &arguments.per_kernel, &arguments.html];
    if outputs.iter().filter(|path| path.as_deref().is_some_and(is_stdout)).count() > 1 {
        return Err(Failure::input(
            "only one of --json, --csv, --per-kernel and --html can be `-`, standard output",
        ));
    }
    let others = outputs[1..].iter().copied().flatten().map(PathBuf::as_path);
    let written: Vec<&Path> =
        store.map(Store::path).into_iter().chain(others.filter(|path| !is_stdout(path))).collect();
    let read = [&arguments.plan.constants, &arguments.predict].into_iter().flatten();
    let read: Vec<&Path> =
        [&arguments.plan.spec, &plan.spec].into_iter().chain(read).map(PathBuf::as_path).collect();
    for (number, file) in written.iter().enumerate() {
        cli::check_output(file, [&written[..number], &read].concat())?;
    }
    Ok(())
}

/// Writes the files that were asked for, and the table unless one of them is standard output.
fn write(arguments: &Arguments, results: &Results) -> Result<(), Failure> {
    if let Some(path) = &arguments.per_kernel {
        let table = serde_json::to_string(&KernelTable::new(results)).map_err(Failure::input)?;
        write_text(path, &(table + "\n"))?;
    }
    if let Some(path) = &arguments.csv {
        write_text(path, &csv::text(results))?;
    }
    if let Some(path) = &arguments.html {
        write_text(path, &report::page(results).map_err(Failure::input)?)?;
    }
    if arguments.json.as_deref().is_some_and(is_stdout) {
        return cli::print_json(results);
    }
    if [&arguments.csv, &arguments.per_kernel, &arguments.html]
        .into_iter()
        .flatten()
        .any(|path| is_stdout(path))
    {
        return Ok(());
    }
    let width = arguments.width.unwrap_or_else(terminal::width);
    let color = terminal::color(&io::stdout());
    cli::print(&table::text(results, width, arguments.predict.is_some(), color))
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    if is_stdout(path) {
        return cli::print(text);
    }
    let failed = |error: io::Error| Failure::input(format!("{}: {error}", path.display()));
    replace(path, |file| file.write_all(text.as_bytes())).map_err(failed)
}

fn check_failed(results: &Results) -> Result<(), Failure> {
    let failed = results.points.iter().filter(|point| point.status == Status::Failed).count();
    if failed == 0 {
        return Ok(());
    }
    let points = counted(results.points.len(), "point");
    Err(Failure::check(format!("{failed} of {points} failed; `--resume` tries them again")))
}
