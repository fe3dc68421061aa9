//! The table of all points, and what is said of each one.

use super::html::{Column, escape, table};
use crate::numbers::counted;
use crate::sweep::results::{Axis, Combine, Cost, Point, Results, Status, Sweep, Timing};

/// A cell: its text, and what it is sorted by where that is not the text.
#[derive(Clone, Default)]
struct Cell {
    text: String,
    sort: Option<f64>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, sort: None }
    }
}

/// The table, without columns that say nothing; labels are links to what is said of a point.
pub fn html(results: &Results) -> String {
    let rows: Vec<Vec<Cell>> = results.points.iter().map(|point| row(results, point)).collect();
    let is_used =
        |column: usize| rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.text.is_empty()));
    let (used, columns): (Vec<usize>, Vec<Column>) =
        columns(results).into_iter().enumerate().filter(|(number, _)| is_used(*number)).unzip();
    let labels = [Column::words("point", "What varies")];
    let html = |(number, row): (usize, &Vec<Cell>)| {
        let cells: String =
            used.iter().zip(&columns).filter_map(|(&at, column)| Some(cell(column, row.get(at)?))).collect();
        let label = results.points.get(number).map_or("", |point| point.label.as_str());
        let link = format!("<a href=\"#point-{number}\">{}</a>", escape(label));
        format!("<tr data-point=\"{number}\"><th scope=\"row\">{link}</th>{cells}</tr>\n")
    };
    let html: Vec<String> = rows.iter().enumerate().map(html).collect();
    let columns: Vec<Column> = labels.into_iter().chain(columns).collect();
    table("points", "All points of the sweep", &columns, &html)
}

fn cell(column: &Column, cell: &Cell) -> String {
    let class = if column.is_number { " class=\"number\"" } else { "" };
    let sort = cell.sort.map_or_else(String::new, |sort| format!(" data-sort=\"{sort}\""));
    format!("<td{class}{sort}>{}</td>", escape(&cell.text))
}

/// The parameters that need a column: where only one has a value at each point, the label says it.
fn parameters(results: &Results) -> impl Iterator<Item = &Axis> {
    let Sweep { axes, combine, .. } = &results.sweep;
    axes.iter().filter(|_| axes.len() > 1 && *combine != Combine::Each)
}

fn columns(results: &Results) -> Vec<Column> {
    let held = results.sweep.hold.iter().map(|hold| hold.by.as_str());
    let names = parameters(results).map(|axis| axis.parameter.as_str()).chain(held);
    let settings = names.map(|name| Column::numbers(name, "A parameter of the spec"));
    let figures = [
        Column::numbers("params (10⁶)", "Parameters, stored statistics included"),
        Column::numbers("MACs (10⁹)", "Multiply-adds of one image"),
        Column::numbers("spatial (%)", "Share of multiply-adds of windows or segments"),
        Column::numbers("memory (MB)", "10⁶ bytes of packed weights and values"),
        Column::numbers("FLOP/B", "Operations for each byte that the layers move at least"),
        Column::numbers("compile (ms)", "Passes, plan and machine code"),
        Column::numbers("median (ms)", "Half of the runs take less"),
        Column::numbers("p5 (ms)", "5 % of the runs take less"),
        Column::numbers("p95 (ms)", "95 % of the runs take less"),
        Column::numbers("GFLOP/s", "10⁹ operations in a second, a multiply-add being two"),
        Column::numbers("of bound (%)", "The least time by the roofline model, divided by the median"),
        Column::numbers("predicted (ms)", "The sum of times that kernels took elsewhere"),
        Column::words("state", "Why it was not measured, or not in all rounds"),
    ];
    settings.chain(figures).collect()
}

/// The cells of a point, one for each column.
fn row(results: &Results, point: &Point) -> Vec<Cell> {
    let setting = |axis: &Axis| {
        let text = point.settings.get(&axis.parameter).cloned().unwrap_or_default();
        let sort = axis.values.iter().find(|value| value.text == text).and_then(|value| value.number);
        Cell { text, sort }
    };
    let held = results.sweep.hold.iter().map(|_| point.held.as_ref().map(|held| held.value.to_string()));
    let held = held.map(|value| Cell::from(value.unwrap_or_default()));
    let state = if point.status == Status::Measured { String::new() } else { status(point) };
    let figures =
        costs(point.cost.as_ref()).into_iter().chain(times(point.timing.as_ref(), point)).chain([state]);
    parameters(results).map(setting).chain(held).chain(figures.map(Cell::from)).collect()
}

fn costs(cost: Option<&Cost>) -> [String; 5] {
    let Some(cost) = cost else { return Default::default() };
    [
        format!("{:.3}", cost.parameters as f64 / 1e6),
        format!("{:.3}", cost.macs as f64 / 1e9),
        format!("{:.1}", 100.0 * cost.spatial_macs as f64 / cost.macs.max(1) as f64),
        format!("{:.1}", cost.memory_bytes as f64 / 1e6),
        format!("{:.1}", cost.intensity),
    ]
}

fn times(timing: Option<&Timing>, point: &Point) -> [String; 7] {
    let predicted = point.predicted.map_or_else(String::new, |predicted| format!("{:.3}", predicted.ms));
    let Some(timing) = timing else {
        let [a, b, c, d, e, f] = Default::default();
        return [a, b, c, d, e, f, predicted];
    };
    [
        format!("{:.1}", timing.compile_ms),
        format!("{:.3}", timing.median_ms),
        format!("{:.3}", timing.p5_ms),
        format!("{:.3}", timing.p95_ms),
        format!("{:.1}", timing.gflops),
        timing.bound_share.map_or_else(String::new, |share| format!("{:.1}", share * 100.0)),
        predicted,
    ]
}

fn status(point: &Point) -> String {
    match (&point.message, &point.timing) {
        (Some(message), _) => format!("{}: {message}", point.status.name()),
        (None, Some(timing)) if point.status == Status::Pending => {
            format!("{} after {}", point.status.name(), counted(timing.rounds as usize, "round"))
        }
        _ => point.status.name().to_owned(),
    }
}

/// What a point costs and takes, in a line of text.
pub fn facts(results: &Results, point: &Point) -> String {
    let held = results.sweep.hold.as_ref().map(|hold| &hold.by).zip(point.held.as_ref());
    let mut facts = Vec::new();
    facts.extend(held.map(|(by, held)| format!("{by} {}", held.value)));
    if let Some(cost) = &point.cost {
        facts.push(format!("{:.3} million parameters", cost.parameters as f64 / 1e6));
        facts.push(format!("{:.3} GMACs", cost.macs as f64 / 1e9));
        facts.push(format!("{:.1} MB of memory", cost.memory_bytes as f64 / 1e6));
        facts.push(format!(
            "activations {:.1} MB, {:.1} MB after fusion",
            cost.activation_bytes as f64 / 1e6,
            cost.fused_activation_bytes as f64 / 1e6
        ));
    }
    if let Some(timing) = &point.timing {
        facts.push(format!(
            "{:.3} ms (median of {})",
            timing.median_ms,
            counted(timing.samples_ms.len(), "run")
        ));
        facts.push(format!("{:.1} GFLOP/s", timing.gflops));
        facts.extend(
            timing.bound_share.map(|share| format!("{:.1} % of the roofline's speed", share * 100.0)),
        );
    }
    if point.status != Status::Measured {
        facts.push(status(point));
    }
    facts.join(" · ")
}
