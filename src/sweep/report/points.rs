//! The table of all points, and what is said of each one.

use super::html::{Column, cells, escape, table};
use crate::sweep::results::{Cost, Point, Results, Status, Timing};

/// The table; labels are links to what is said of a point.
pub fn html(results: &Results) -> String {
    let columns = columns(results);
    let settings = settings(results).len();
    let rows: Vec<String> = results
        .points
        .iter()
        .enumerate()
        .map(|(number, point)| row(results, &columns, settings, number, point))
        .collect();
    table("points", "All points of the sweep", &columns, &rows)
}

fn row(results: &Results, columns: &[Column], settings: usize, number: usize, point: &Point) -> String {
    let values = self::settings(results).into_iter().map(|(_, of)| {
        let (text, sort) = of(point);
        let key = sort.map_or_else(String::new, |sort| format!(" data-sort=\"{sort}\""));
        format!("<td class=\"number\"{key}>{}</td>", escape(&text))
    });
    let figures = costs(point.cost.as_ref()).into_iter().chain(times(point.timing.as_ref(), point));
    let figures: Vec<String> = figures.chain([status(point)]).collect();
    let label = escape(&point.label);
    format!(
        "<tr data-point=\"{number}\"><th scope=\"row\"><a href=\"#point-{number}\" data-point=\"{number}\">{label}</a></th>{}{}</tr>\n",
        values.collect::<String>(),
        cells(&columns[settings + 1..], figures.iter().map(String::as_str)),
    )
}

type Setting<'a> = (String, Box<dyn Fn(&Point) -> (String, Option<f64>) + 'a>);

/// What varies, how it is written, and what it is sorted by.
fn settings(results: &Results) -> Vec<Setting<'_>> {
    let sweep = &results.sweep;
    let mut settings: Vec<Setting> = Vec::new();
    for axis in &sweep.axes {
        let of = |point: &Point| {
            let text = point.settings.get(&axis.parameter).cloned().unwrap_or_default();
            let number = axis.values.iter().find(|value| value.text == text).and_then(|value| value.number);
            (text, number)
        };
        settings.push((axis.parameter.clone(), Box::new(of)));
    }
    if let Some(hold) = &sweep.hold {
        let of = |point: &Point| {
            (point.held.as_ref().map_or_else(String::new, |held| held.value.to_string()), None)
        };
        settings.push((hold.by.clone(), Box::new(of)));
    }
    settings
}

fn columns(results: &Results) -> Vec<Column> {
    let mut columns = vec![Column::words("point", "What varies")];
    columns.extend(
        settings(results).into_iter().map(|(name, _)| Column::numbers(name, "A parameter of the spec")),
    );
    columns.extend([
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
        Column::words("state", "Whether it was measured, or why not"),
    ]);
    columns
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
    match &point.message {
        Some(message) => format!("{}: {message}", point.status.name()),
        None => point.status.name().to_owned(),
    }
}

/// What a point costs and takes, in a line of text.
pub fn facts(point: &Point) -> String {
    let mut facts = Vec::new();
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
        facts.push(format!("{:.3} ms (median of {} runs)", timing.median_ms, timing.samples_ms.len()));
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
