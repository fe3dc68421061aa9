//! Results as CSV (RFC 4180): a line for each point, behind a line of names.

use super::results::{Cost, Point, Predicted, Results, Timing};
use super::table::kinds;

/// The results as lines that end in a line feed. Cells of what is not known are empty.
pub fn text(results: &Results) -> String {
    let parameters: Vec<&str> = results.sweep.axes.iter().map(|axis| axis.parameter.as_str()).collect();
    let held = results.sweep.hold.as_ref().map(|hold| hold.by.as_str());
    let head = parameters.iter().chain(&held).map(|name| (*name).to_owned());
    let head =
        head.chain(RUN.iter().chain(&COST).chain(&TIMING).chain(&PREDICTED).map(|name| (*name).to_owned()));
    let rows = results.points.iter().map(|point| {
        let values = parameters.iter().map(|&name| point.settings.get(name).cloned().unwrap_or_default());
        let held = held.map(|_| point.held.as_ref().map_or_else(String::new, |held| held.value.to_string()));
        let [cost, timing] = [costs(point.cost.as_ref()), timings(point.timing.as_ref())];
        let cells = values.chain(held).chain(run(point)).chain(cost).chain(timing).chain(predictions(point));
        line(cells.chain([kinds(point).join(" ")]))
    });
    let names = line(head.chain(["kernels".to_owned()]));
    std::iter::once(names).chain(rows).collect()
}

const RUN: [&str; 5] = ["precision", "threads", "batch", "status", "message"];
const COST: [&str; 12] = [
    "parameters",
    "spatial_macs",
    "pointwise_macs",
    "macs",
    "weight_bytes",
    "activation_bytes",
    "fused_activation_bytes",
    "moved_bytes",
    "intensity",
    "packed_bytes",
    "arena_bytes",
    "memory_bytes",
];
const TIMING: [&str; 8] =
    ["compile_ms", "samples", "median_ms", "p5_ms", "p95_ms", "gflops", "bound_ms", "bound_share"];
const PREDICTED: [&str; 3] = ["predicted_ms", "predicted_covered", "predicted_similar"];

fn run(point: &Point) -> Vec<String> {
    let Point { precision, threads, batch, status, message, .. } = point;
    let message = message.clone().unwrap_or_default();
    vec![precision.clone(), threads.to_string(), batch.to_string(), status.name().to_owned(), message]
}

fn costs(cost: Option<&Cost>) -> Vec<String> {
    let Some(cost) = cost else { return vec![String::new(); COST.len()] };
    vec![
        cost.parameters.to_string(),
        cost.spatial_macs.to_string(),
        cost.pointwise_macs.to_string(),
        cost.macs.to_string(),
        cost.weight_bytes.to_string(),
        cost.activation_bytes.to_string(),
        cost.fused_activation_bytes.to_string(),
        cost.moved_bytes.to_string(),
        format!("{:.3}", cost.intensity),
        cost.packed_bytes.to_string(),
        cost.arena_bytes.to_string(),
        cost.memory_bytes.to_string(),
    ]
}

fn timings(timing: Option<&Timing>) -> Vec<String> {
    let Some(timing) = timing else { return vec![String::new(); TIMING.len()] };
    let known = |number: Option<f64>| number.map_or_else(String::new, decimals);
    vec![
        decimals(timing.compile_ms),
        timing.samples_ms.len().to_string(),
        decimals(timing.median_ms),
        decimals(timing.p5_ms),
        decimals(timing.p95_ms),
        format!("{:.3}", timing.gflops),
        known(timing.bound_ms),
        known(timing.bound_share),
    ]
}

fn predictions(point: &Point) -> [String; 3] {
    let Some(Predicted { ms, covered, similar }) = point.predicted else { return Default::default() };
    [ms, covered, similar].map(decimals)
}

fn decimals(number: f64) -> String {
    format!("{number:.6}")
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.map(|cell| quoted(&cell)).collect::<Vec<_>>().join(",") + "\n"
}

/// In quotation marks where the cell has signs that mean something.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_signs_are_quoted() {
        assert_eq!(["a b", "a,b", "a\"b"].map(quoted), ["a b", "\"a,b\"", "\"a\"\"b\""]);
    }
}
