//! Results as a table and a plot for the terminal.

use xcc_compiler::plan::Precision;

use super::kernels;
use super::results::{Point, Results, Roof, Status, Sweep};
use crate::chart::split_bar;
use crate::measure::samples::quantile;
use crate::measure::work::kind;
use crate::numbers::counted;
use crate::table::{Layout, Table, wrap};

/// From these widths on, more columns are shown, and kernels.
const WIDE: usize = 110;
const WIDEST: usize = 140;
/// Most rows of the plot.
const PLOT_ROWS: usize = 40;
/// Columns of the longest bar.
const BAR: usize = 40;

/// The results as text of `width` columns, where that is possible.
pub fn text(results: &Results, width: usize, color: bool) -> String {
    let mut text = head(results, width);
    text += &table(results, width).render(width, color);
    text += &messages(results, width);
    text += &prediction(results, width);
    let plot = plot(results);
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
    let measured = |roof: &&Roof| roof.peak_gflops > 0.0;
    let roofs = results.machine.roofs.iter().filter(measured).map(|roof| roof_text(sweep, roof));
    lines.extend(roofs.flat_map(|text| wrap(&text, width)));
    lines.join("\n") + "\n\n"
}

/// What the machine reaches with so many threads, in f32 and in the precisions of the sweep.
pub fn roof_text(sweep: &Sweep, roof: &Roof) -> String {
    let is_swept = |precision: &Precision| sweep.precisions.contains(&precision.to_string());
    let shown = |precision: &Precision| *precision == Precision::F32 || is_swept(precision);
    let peaks = Precision::ALL
        .into_iter()
        .filter(shown)
        .filter_map(|precision| Some(format!("{:.1} GFLOP/s in {precision}", roof.peak(precision)?)));
    let peaks: Vec<String> = peaks.collect();
    let threads = counted(roof.threads as usize, "thread");
    format!("peak of {threads}: {}, {:.1} GB/s", peaks.join(", "), roof.bandwidth_gbs)
}

/// One column of the table.
struct Column<'a> {
    name: String,
    layout: Layout,
    cell: Cell<'a>,
}

/// The text of a point, if there is something to say.
type Cell<'a> = Box<dyn Fn(&Point) -> Option<String> + 'a>;

impl<'a> Column<'a> {
    fn right(name: &str, cell: impl Fn(&Point) -> Option<String> + 'a) -> Self {
        Self { name: name.to_owned(), layout: Layout::Right, cell: Box::new(cell) }
    }
}

fn table(results: &Results, width: usize) -> Table {
    let mut columns = settings(results);
    columns.extend(costs(results, width >= WIDE));
    let is_measured = results.points.iter().any(|point| point.timing.is_some());
    if is_measured {
        columns.extend(times(width));
    }
    if (width >= WIDE || !is_measured) && results.points.iter().any(|point| point.predicted.is_some()) {
        columns.push(Column::right("predicted", |point| Some(format!("{:.3}", point.predicted?.ms))));
    }
    if is_measured && width >= WIDEST {
        columns.push(kernels_column(results));
    }
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
fn settings(results: &Results) -> Vec<Column<'_>> {
    let sweep = &results.sweep;
    let mut columns: Vec<Column> = sweep
        .axes
        .iter()
        .map(|axis| {
            let name = &axis.parameter;
            Column::right(name, move |point| point.settings.get(name).cloned())
        })
        .collect();
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

/// A power of ten and its letter, so that the largest of numbers has at most four digits before the point.
fn unit(largest: u64) -> (f64, &'static str) {
    match largest {
        10_000_000_000.. => (1e9, "G"),
        10_000_000.. => (1e6, "M"),
        10_000.. => (1e3, "k"),
        _ => (1.0, ""),
    }
}

fn costs(results: &Results, is_wide: bool) -> Vec<Column<'_>> {
    let costs = || results.points.iter().filter_map(|point| point.cost);
    let (parameters, prefix) = unit(costs().map(|cost| cost.parameters).max().unwrap_or(0));
    let (macs, macs_prefix) = unit(costs().map(|cost| cost.macs).max().unwrap_or(0));
    let scaled = |number: u64, unit: f64| match unit {
        1.0 => number.to_string(),
        unit => format!("{:.2}", number as f64 / unit),
    };
    let mut columns = vec![
        Column::right(&format!("{prefix}params"), move |point| {
            Some(scaled(point.cost?.parameters, parameters))
        }),
        Column::right(&format!("{macs_prefix}MACs"), move |point| Some(scaled(point.cost?.macs, macs))),
        Column::right("spatial", |point| {
            let cost = point.cost?;
            Some(percent(cost.spatial_macs as f64 / cost.macs.max(1) as f64))
        }),
        Column::right("MB", |point| Some(format!("{:.1}", point.cost?.memory_bytes as f64 / 1e6))),
    ];
    if is_wide {
        columns.push(Column::right("FLOP/B", |point| Some(format!("{:.1}", point.cost?.intensity))));
    }
    columns
}

fn times(width: usize) -> Vec<Column<'static>> {
    let is_wide = width >= WIDE;
    let mut columns = Vec::new();
    if is_wide {
        columns.push(Column::right("compile", |point| {
            Some(format!("{:.0}", point.timing.as_ref()?.compile_ms))
        }));
    }
    columns.push(Column::right("ms", |point| Some(format!("{:.3}", point.timing.as_ref()?.median_ms))));
    if is_wide {
        columns.push(Column::right("p5", |point| Some(format!("{:.3}", point.timing.as_ref()?.p5_ms))));
    }
    columns.push(Column::right("p95", |point| Some(format!("{:.3}", point.timing.as_ref()?.p95_ms))));
    columns.push(Column::right("GFLOP/s", |point| Some(format!("{:.1}", point.timing.as_ref()?.gflops))));
    columns.push(Column::right("of bound", |point| point.timing.as_ref()?.bound_share.map(percent)));
    columns
}

/// The kinds of kernels that not all points call.
fn kernels_column(results: &Results) -> Column<'_> {
    let common = common_kinds(results);
    let cell = move |point: &Point| {
        let own: Vec<&str> = kinds(point).into_iter().filter(|kind| !common.contains(kind)).collect();
        (!own.is_empty()).then(|| own.join(", "))
    };
    Column { name: "kernels".to_owned(), layout: Layout::Wrapped, cell: Box::new(cell) }
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

/// How good the sums of kernels are.
fn prediction(results: &Results, width: usize) -> String {
    let covered: Vec<f64> =
        results.points.iter().filter_map(|point| Some(point.predicted?.covered)).collect();
    if covered.is_empty() {
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
    let text = format!(
        "predicted: the sum of times of kernels elsewhere{off}; {} of instructions are in kernels that were measured \
         there, others are taken to be as fast as the most similar of those",
        percent(quantile(&covered, 0.5))
    );
    format!("\n{}\n", wrap(&text, width).join("\n"))
}

/// A bar for each measured point; of many points, some.
fn plot(results: &Results) -> String {
    let measured: Vec<&Point> =
        results.points.iter().filter(|point| point.status == Status::Measured).collect();
    let most = measured.iter().filter_map(|point| Some(point.timing.as_ref()?.median_ms)).fold(0.0, f64::max);
    if measured.len() < 2 || most <= 0.0 {
        return String::new();
    }
    let every = measured.len().div_ceil(PLOT_ROWS);
    let mut table = Table::new(&[Layout::Right, Layout::Right, Layout::Left]);
    for point in measured.iter().step_by(every) {
        let Some(timing) = &point.timing else { continue };
        let bar = split_bar(timing.bound_ms.unwrap_or(0.0) / most, timing.median_ms / most, BAR);
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
    fn units_leave_two_to_five_digits() {
        assert_eq!([9_999, 10_000, 22_910_480, 33_000_000_000].map(|n| unit(n).1), ["", "k", "M", "G"]);
    }
}
