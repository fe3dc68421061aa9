//! `xcc sweep`: a network at many settings, what each costs, and how long each takes.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use xcc_compiler::target::Target;
use xcc_runtime::replace::replace;

use crate::cli::{self, Failure, Source};
use crate::numbers::{bytes, counted};
use crate::sweep::kernels::{self, KernelTable, Times};
use crate::sweep::plan::{Plan, PlanArgs};
use crate::sweep::point::{self, Illegal};
use crate::sweep::results::{Point, Quantity, Results, Status};
use crate::sweep::store::{Existing, Store};
use crate::sweep::{budget, csv, date, measure, report, survey, table};
use crate::terminal::{self, with_progress};

/// Largest table of kernels that is read, in bytes.
const LARGEST_TABLE: u64 = 1 << 28;
/// Different mistakes of illegal points that are shown.
const MOST_MISTAKES: usize = 3;

/// Measure a network at many settings of its parameters
///
/// Every point is compiled first, then all are run in turn, round after round, so that a machine whose speed
/// drifts favours none. Results are kept in a file after each round: what was interrupted goes on with
/// `--resume`. The least time of a point by the roofline model is the sum of what its steps take at the
/// machine's peak or bandwidth, whichever is longer, both measured in the same process.
#[derive(Args)]
#[command(after_help = "\
Examples:
  xcc sweep specs/xception.xc --over segments=divisors --threads 1
  xcc sweep specs/xception.xc --over segments=1,4,full --hold params=default --by width
  xcc sweep specs/sweeps/xception_spectrum.yaml --csv spectrum.csv --html spectrum.html
  xcc sweep specs/digits.xc --over segments=powers --threads 1,2 --json - | jq .points

Values of `--over`: texts as `--set` takes them, ranges `1..8`, `divisors` (the numbers that divide the channels of most
layers that the parameter cuts in segments, and `full`), `powers` (of two, likewise), and both of a number: `divisors(96)`.
`--combine` makes points of several parameters: `product` (all with all), `zip` (first with first), `each` (one
at a time, others at their defaults).

Columns: `spatial` is the share of MACs in windows of several taps or segments, `MB` 10^6 bytes of packed weights and values,
`ms` the median of a run, `p95` what 95 % of runs stay below, `of bound` the least time divided by the median. Wide
terminals show more columns; `kernels` are kinds that not all points call. docs/sweep.md describes the JSON.")]
pub struct Arguments {
    #[command(flatten)]
    plan: PlanArgs,
    /// Keep results as JSON in FILE; `-` prints them at the end, too [default: SPEC-NAMES.sweep.json, here]
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
    /// Predict times as sums of those in FILE, which `--per-kernel` wrote, instead of those of the other points
    #[arg(long, value_name = "FILE")]
    predict: Option<PathBuf>,
    /// Go on with the results that are there
    #[arg(long)]
    resume: bool,
    /// Replace unfinished results that are there
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
    check_outputs(arguments)?;
    let plan = Plan::new(&arguments.plan)?;
    let source = Source::read(&plan.spec)?;
    let sweep = with_progress("reading the spec", || survey::sweep(&plan, &source))?;
    let points = survey::points(&sweep)?;
    let fresh = Results::new(sweep, points, date::now());
    let store = Store::new(results_file(arguments, &plan));
    let mut results = if arguments.dry_run { fresh } else { store.open(fresh, existing(arguments))? };
    let times = arguments.predict.as_deref().map(|path| read_times(path, &plan.target)).transpose()?;
    let takes_long = plan.hold.as_ref().is_some_and(|(budget, _)| budget.quantity == Quantity::Latency);
    let keep =
        |results: &Results| if takes_long && !arguments.dry_run { store.save(results) } else { Ok(()) };
    examine(&mut results, &plan, &source, times.as_ref(), keep)?;
    if !arguments.dry_run {
        store.save(&results)?;
        measure::measure(&mut results, plan.target, plan.rounds, &mut |results| store.save(results))?;
        kernels::predict(&mut results.points, times.as_ref());
        store.save(&results)?;
    }
    write(arguments, &results)?;
    if !arguments.dry_run {
        cli::note(format!("results are in {}", store.path().display()));
    }
    check_failed(&results)
}

/// Times of kernels that a sweep wrote before.
fn read_times(path: &Path, target: &Target) -> Result<Times, Failure> {
    let failed = |reason: String| Failure::input(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > LARGEST_TABLE {
        let [size, limit] = [size, LARGEST_TABLE].map(bytes);
        return Err(failed(format!("has {size}; a table of kernels has at most {limit}")));
    }
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let table = KernelTable::read(&text, &target.to_string()).map_err(failed)?;
    Ok(Times::of_table(&table))
}

fn existing(arguments: &Arguments) -> Existing {
    match (arguments.resume, arguments.force) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        _ => Existing::Keep,
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Where results are kept.
fn results_file(arguments: &Arguments, plan: &Plan) -> PathBuf {
    let given = arguments.json.clone().filter(|path| !is_stdout(path));
    given.unwrap_or_else(|| PathBuf::from(format!("{}.sweep.json", plan.file_stem(&arguments.plan))))
}

/// Finds out before anything is measured whether the results can be written.
fn check_outputs(arguments: &Arguments) -> Result<(), Failure> {
    let outputs: Vec<&Path> = [&arguments.json, &arguments.csv, &arguments.html]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    if outputs.iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(Failure::input("only one of --json, --csv and --html can be `-`, standard output"));
    }
    for path in outputs {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let (path, folder) = (path.display(), folder.display());
            return Err(Failure::input(format!("{path}: there is no folder {folder}")));
        }
    }
    Ok(())
}

/// Solves for budgets and finds out what points cost, where that is not known yet. `keep` is called after
/// each point.
fn examine(
    results: &mut Results,
    plan: &Plan,
    source: &Source,
    times: Option<&Times>,
    mut keep: impl FnMut(&Results) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bar = terminal::progress(results.points.len() as u64);
    let mut refused: Vec<(usize, Illegal)> = Vec::new();
    for at in 0..results.points.len() {
        bar.inc(1);
        if results.points[at].cost.is_some() {
            continue;
        }
        bar.set_message(format!("examining {}", results.points[at].label));
        match learn(results, at, plan.target, times) {
            Ok(()) => keep(results)?,
            Err(illegal) => refused.push((at, illegal)),
        }
    }
    bar.finish_and_clear();
    if !refused.is_empty() && !plan.skip_illegal {
        return Err(refuse(results, source, &refused));
    }
    for (at, illegal) in refused {
        let point = &mut results.points[at];
        (point.status, point.message) = (Status::Skipped, Some(illegal.message));
    }
    match results.points.iter().any(|point| point.cost.is_some()) {
        true => Ok(()),
        false => Err(Failure::input("no point of the sweep is legal")),
    }
}

fn learn(results: &mut Results, at: usize, target: Target, times: Option<&Times>) -> Result<(), Illegal> {
    let Results { sweep, points, .. } = results;
    let point = &mut points[at];
    if let Some(hold) = sweep.hold.clone().filter(|_| point.held.is_none()) {
        let latency = |point: &Point| {
            let failed = |failure: Failure| Illegal {
                message: failure.message().unwrap_or_default(),
                diagnostics: Vec::new(),
            };
            measure::quick(sweep, point, target).map_err(failed)
        };
        point.held = Some(budget::solve(sweep, &hold, point, latency)?);
    }
    let known = point::know(sweep, point, target)?;
    (point.cost, point.layers) = (Some(known.cost), known.layers);
    point.predicted = times.and_then(|times| times.predict(&known.steps, point.threads, None));
    Ok(())
}

/// Shows what is wrong with illegal points, those with the same mistake together.
fn refuse(results: &Results, source: &Source, refused: &[(usize, Illegal)]) -> Failure {
    let mut mistakes: Vec<(String, Vec<&(usize, Illegal)>)> = Vec::new();
    for point in refused {
        let mistake = point.1.mistake();
        match mistakes.iter_mut().find(|(other, _)| *other == mistake) {
            Some((_, points)) => points.push(point),
            None => mistakes.push((mistake, vec![point])),
        }
    }
    for (_, points) in mistakes.iter().take(MOST_MISTAKES) {
        let [(at, illegal), others @ ..] = points.as_slice() else { continue };
        let others = match others.len() {
            0 => String::new(),
            count => format!(" and {}", counted(count, "other point")),
        };
        let message =
            if illegal.diagnostics.is_empty() { format!(" {}", illegal.message) } else { String::new() };
        cli::note(format!("at {}{others}:{message}", results.points[*at].label));
        cli::tell_diagnostics(&source.name, &source.text, &illegal.diagnostics);
    }
    Failure::input(format!(
        "{} of {} are illegal; `--skip-illegal` leaves them out",
        refused.len(),
        counted(results.points.len(), "point")
    ))
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
    match &arguments.json {
        Some(path) if is_stdout(path) => return cli::print_json(results),
        Some(path) if arguments.dry_run => Store::new(path.clone()).save(results)?,
        _ => {}
    }
    if [&arguments.csv, &arguments.per_kernel, &arguments.html]
        .into_iter()
        .flatten()
        .any(|path| is_stdout(path))
    {
        return Ok(());
    }
    let width = arguments.width.unwrap_or_else(terminal::width);
    cli::print(&table::text(results, width, terminal::color(&io::stdout())))
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
