//! Results as a table and a plot for the terminal.

use console::measure_text_width;
use xcc_compiler::plan::Precision;

use super::results::{Axis, Combine, Point, Predicted, Results, Roof, Status, Timing};
use super::{budget, kernels};
use crate::chart::split_bar;
use crate::measure::samples::quantile;
use crate::measure::work::kind;
use crate::numbers::counted;
use crate::table::{Layout, Table, wrap};

/// From this width on, kernels are shown.
const WIDEST: usize = 140;
/// The column of sums of times of kernels.
const PREDICTED: &str = "predicted";
/// Most rows of the plot.
const PLOT_ROWS: usize = 40;
/// Least share that is shown.
const SHOWN: f64 = 0.0005;
/// Columns of the longest bar where there is room, and where there is none.
const BAR: usize = 40;
const SHORTEST_BAR: usize = 10;

/// The results as text of `width` columns, where that is possible. Predictions are shown before
/// other times where they are `asked` for.
pub fn text(results: &Results, width: usize, asked: bool, color: bool) -> String {
    let mut text = head(results, width);
    let columns = columns_within(results, width, asked);
    text += &rows(results, &columns).render(width, color);
    text += &messages(results, width);
    if columns.iter().any(|column| column.name == PREDICTED) {
        text += &prediction(results, width);
    }
    let plot = plot(results, width);
    if !plot.is_empty() {
        text += &format!("\n{plot}");
    }
    text
}

/// What was swept, where, and what the machine reaches.
fn head(results: &Results, width: usize) -> String {
    let sweep = &results.sweep;
    let mut lines = wrap(&sweep.name, width);
    lines.extend(sweep.question.iter().flat_map(|question| wrap(question, width)));
    let is_one = [sweep.precisions.len(), sweep.threads.len(), sweep.batches.len()].map(|count| count == 1);
    let [precision, threads, batch] = [
        sweep.precisions.join(", "),
        sweep.threads.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        sweep.batches.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    ];
    let thread = if is_one[1] && threads == "1" { "thread" } else { "threads" };
    let machine = &results.machine.processor;
    let target = &sweep.target;
    lines
        .extend(wrap(&format!("{machine}: {target}, {precision}, {threads} {thread}, batch {batch}"), width));
    lines.extend(sweep.hold.iter().flat_map(|hold| wrap(&budget::sentence(hold), width)));
    let measured = |roof: &&Roof| roof.peak_gflops > 0.0;
    let roofs = results.machine.roofs.iter().filter(measured).map(|roof| roof_text(results, roof));
    lines.extend(roofs.flat_map(|text| wrap(&text, width)));
    lines.join("\n") + "\n\n"
}

/// What the machine reaches with so many threads, in f32 and in the precisions of the sweep; what
/// tiles do in f32 behind that, where points have such products and it was measured.
pub fn roof_text(results: &Results, roof: &Roof) -> String {
    let is_swept = |precision: &Precision| results.sweep.precisions.contains(&precision.to_string());
    let shown = |precision: &Precision| *precision == Precision::F32 || is_swept(precision);
    let peaks = Precision::ALL
        .into_iter()
        .filter(shown)
        .filter_map(|precision| Some(format!("{:.1} GFLOP/s in {precision}", roof.peak(precision)?)));
    let tiles = roof.tiles(Precision::F32).filter(|_| results.points.iter().any(Point::is_f32_by_tiles));
    let tiles = tiles.map(|peak| format!("{peak:.1} GFLOP/s in f32 by tiles"));
    let peaks: Vec<String> = peaks.chain(tiles).collect();
    let threads = counted(roof.threads as usize, "thread");
    format!("peak of {threads}: {}, {:.1} GB/s", peaks.join(", "), roof.bandwidth_gbs)
}

/// One column of the table.
struct Column<'a> {
    name: String,
    layout: Layout,
    /// The higher, the sooner it is left out where there is no room; 0 stays.
    rank: u32,
    cell: Cell<'a>,
}

/// The text of a point, if there is something to say.
type Cell<'a> = Box<dyn Fn(&Point) -> Option<String> + 'a>;

impl<'a> Column<'a> {
    fn right(name: &str, cell: impl Fn(&Point) -> Option<String> + 'a) -> Self {
        Self { name: name.to_owned(), layout: Layout::Right, rank: 0, cell: Box::new(cell) }
    }

    fn ranked(self, rank: u32) -> Self {
        Self { rank, ..self }
    }
}

/// As many columns as there is room for.
fn columns_within(results: &Results, width: usize, asked: bool) -> Vec<Column<'_>> {
    let mut columns = columns(results, asked);
    while let Some(rank) = columns.iter().map(|column| column.rank).max().filter(|rank| *rank > 0) {
        let text = rows(results, &columns).render(usize::MAX, false);
        if text.lines().all(|line| line.chars().count() <= width) {
            break;
        }
        columns.retain(|column| column.rank < rank);
    }
    if width >= WIDEST && results.points.iter().any(|point| point.timing.is_some()) {
        columns.push(kernels_column(results));
    }
    columns
}

fn columns(results: &Results, asked: bool) -> Vec<Column<'_>> {
    let mut columns = settings(results);
    columns.extend(costs(results));
    let is_measured = results.points.iter().any(|point| point.timing.is_some());
    if is_measured {
        columns.extend(times());
    }
    if results.points.iter().any(|point| point.predicted.is_some()) {
        let predicted = Column::right(PREDICTED, |point| Some(format!("{:.3}", point.predicted?.ms)));
        columns.push(predicted.ranked(if asked || !is_measured { 0 } else { 4 }));
    }
    columns
}

fn rows(results: &Results, columns: &[Column]) -> Table {
    let layouts: Vec<Layout> = columns.iter().map(|column| column.layout).collect();
    let mut table = Table::new(&layouts);
    table.strong_row(columns.iter().map(|column| column.name.clone()));
    table.rule("");
    for point in &results.points {
        table.row(columns.iter().map(|column| (column.cell)(point).unwrap_or_else(|| "-".to_owned())));
    }
    table
}

/// What varies, and what was solved for.
fn settings<'a>(results: &'a Results) -> Vec<Column<'a>> {
    let sweep = &results.sweep;
    let of_axis = |axis: &'a Axis| {
        let name = &axis.parameter;
        Column::right(name, move |point| point.settings.get(name).cloned())
    };
    // Where one parameter varies at a time, most cells of a column for each would be empty.
    let mut columns: Vec<Column> = match sweep.combine {
        Combine::Each if sweep.axes.len() > 1 => vec![Column::right("set", |point| {
            let pairs = point.settings.iter().map(|(name, value)| format!("{name}={value}"));
            Some(pairs.collect::<Vec<_>>().join(" "))
        })],
        _ => sweep.axes.iter().map(of_axis).collect(),
    };
    if let Some(hold) = &sweep.hold {
        columns.push(Column::right(&hold.by, |point| Some(point.held.as_ref()?.value.to_string())));
    }
    if sweep.precisions.len() > 1 {
        columns.push(Column::right("precision", |point| Some(point.precision.clone())));
    }
    if sweep.threads.len() > 1 {
        columns.push(Column::right("threads", |point| Some(point.threads.to_string())));
    }
    if sweep.batches.len() > 1 {
        columns.push(Column::right("batch", |point| Some(point.batch.to_string())));
    }
    columns
}

/// A power of ten and its letter, so that the largest of numbers has at most four digits before
/// the point.
fn unit(largest: u64) -> (f64, &'static str) {
    match largest {
        1_000_000_000.. => (1e9, "G"),
        1_000_000.. => (1e6, "M"),
        10_000.. => (1e3, "k"),
        _ => (1.0, ""),
    }
}

/// A column of counts in the unit that fits them.
fn counts<'a>(results: &'a Results, name: &str, of: fn(&Point) -> Option<u64>) -> Column<'a> {
    let largest = results.points.iter().filter_map(of).max().unwrap_or(0);
    let (unit, prefix) = unit(largest);
    let decimals = match unit {
        1.0 => 0,
        unit if largest as f64 / unit < 10.0 => 3,
        _ => 2,
    };
    Column::right(&format!("{prefix}{name}"), move |point| {
        Some(format!("{:.decimals$}", of(point)? as f64 / unit))
    })
}

fn costs(results: &Results) -> Vec<Column<'_>> {
    let spatial = Column::right("spatial", |point| {
        let cost = point.cost?;
        Some(percent(cost.spatial_macs as f64 / cost.macs.max(1) as f64))
    });
    let memory = Column::right("MB", |point| Some(format!("{:.1}", point.cost?.memory_bytes as f64 / 1e6)));
    let intensity = Column::right("FLOP/B", |point| Some(format!("{:.1}", point.cost?.intensity)));
    vec![
        counts(results, "params", |point| Some(point.cost?.parameters)),
        counts(results, "MACs", |point| Some(point.cost?.macs)),
        spatial.ranked(3),
        memory.ranked(2),
        intensity.ranked(5),
    ]
}

fn times() -> Vec<Column<'static>> {
    let of = |name: &str, decimals: usize, pick: fn(&Timing) -> f64| {
        Column::right(name, move |point| Some(format!("{:.decimals$}", pick(point.timing.as_ref()?))))
    };
    vec![
        of("compile", 0, |timing| timing.compile_ms).ranked(7),
        of("ms", 3, |timing| timing.median_ms),
        of("p5", 3, |timing| timing.p5_ms).ranked(6),
        of("p95", 3, |timing| timing.p95_ms).ranked(1),
        of("GFLOP/s", 1, |timing| timing.gflops),
        Column::right("of bound", |point| point.timing.as_ref()?.bound_share.map(percent)),
    ]
}

/// The kinds of kernels that not all points call.
fn kernels_column(results: &Results) -> Column<'_> {
    let common = common_kinds(results);
    let cell = move |point: &Point| {
        let own: Vec<&str> = kinds(point).into_iter().filter(|kind| !common.contains(kind)).collect();
        (!own.is_empty()).then(|| own.join(", "))
    };
    Column { name: "kernels".to_owned(), layout: Layout::Wrapped, rank: 0, cell: Box::new(cell) }
}

/// The kinds of kernels that a point calls, in alphabetical order.
pub fn kinds(point: &Point) -> Vec<&str> {
    let kernels = point.steps.iter().flat_map(|step| &step.kernels);
    let mut kinds: Vec<&str> = kernels.map(|kernel| kind(&kernel.name)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The kinds of kernels that all measured points call.
fn common_kinds(results: &Results) -> Vec<&str> {
    let mut points = results.points.iter().filter(|point| !point.steps.is_empty());
    let mut common = points.next().map(kinds).unwrap_or_default();
    points.for_each(|point| common.retain(|kind| kinds(point).contains(kind)));
    common
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What happened to points that were not measured, a line each.
fn messages(results: &Results, width: usize) -> String {
    let told = results.points.iter().filter_map(|point| {
        let message = point.message.as_ref()?;
        Some(format!("{} {}: {message}", point.label, point.status.name()))
    });
    let lines: Vec<String> = told.flat_map(|text| wrap(&text, width)).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}

/// How good the sums of kernels are, and what they are made of.
fn prediction(results: &Results, width: usize) -> String {
    let predicted: Vec<Predicted> = results.points.iter().filter_map(|point| point.predicted).collect();
    if predicted.is_empty() {
        return String::new();
    }
    let errors = kernels::errors(&results.points);
    let off = match errors.is_empty() {
        true => String::new(),
        false => format!(
            "; off by {} (median), {} at most",
            percent(quantile(&errors, 0.5)),
            percent(quantile(&errors, 1.0))
        ),
    };
    let mean = |of: fn(&Predicted) -> f64| predicted.iter().map(of).sum::<f64>() / predicted.len() as f64;
    let (covered, similar) = (mean(|predicted| predicted.covered), mean(|predicted| predicted.similar));
    let mut text = format!(
        "predicted: the sum of times of kernels elsewhere{off}; {} of instructions are in kernels that were measured there",
        percent(covered)
    );
    for (share, kernels) in [(similar, "of their kind"), (1.0 - covered - similar, "of any kind")] {
        if share >= SHOWN {
            let share = percent(share);
            text +=
                &format!("; {share} are taken to be as fast as those {kernels} that execute about as many");
        }
    }
    format!("\n{}\n", wrap(&text, width).join("\n"))
}

/// A bar for each measured point; of many points, some.
fn plot(results: &Results, width: usize) -> String {
    let measured: Vec<&Point> =
        results.points.iter().filter(|point| point.status == Status::Measured).collect();
    let most = measured.iter().filter_map(|point| Some(point.timing.as_ref()?.median_ms)).fold(0.0, f64::max);
    if measured.len() < 2 || most <= 0.0 {
        return String::new();
    }
    let every = measured.len().div_ceil(PLOT_ROWS);
    let longest = measured.iter().map(|point| measure_text_width(&point.label)).max().unwrap_or(0);
    let beside = longest + format!("  {most:.3} ms  ").len();
    let columns = width.saturating_sub(beside).clamp(SHORTEST_BAR, BAR);
    let mut table = Table::new(&[Layout::Right, Layout::Right, Layout::Left]);
    for point in measured.iter().step_by(every) {
        let Some(timing) = &point.timing else { continue };
        let bar = split_bar(timing.bound_ms.unwrap_or(0.0) / most, timing.median_ms / most, columns);
        table.row([point.label.clone(), format!("{:.3} ms", timing.median_ms), bar]);
    }
    let note = if every > 1 { format!("; of every {every} points one") } else { String::new() };
    format!(
        "latency: █ the least time by the roofline, ░ the rest{note}\n{}",
        table.render(usize::MAX, false)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_leave_one_to_four_digits() {
        let numbers = [9_999, 10_000, 4_253_860, 999_999_999, 8_357_403_496];
        assert_eq!(numbers.map(|number| unit(number).1), ["", "k", "M", "M", "G"]);
    }
}
