//! The layers of each point: rows of a table, which the page's script fills for the chosen point.

use std::collections::HashMap;

use serde::Serialize;

use super::html::{Column, cells, table};
use crate::measure::work::{CHAIN, layers_and_part};
use crate::sweep::results::{Layer, Point, Results, Step};

/// What the script needs of a point.
#[derive(Serialize)]
pub struct PointData<'a> {
    /// Its number.
    point: usize,
    /// Its label.
    label: &'a str,
    /// The rows of the table of layers.
    layers: Vec<Vec<String>>,
}

/// The data of the points with these numbers.
pub fn data<'a>(results: &'a Results, shown: &[usize]) -> Vec<PointData<'a>> {
    let data = |&number: &usize| {
        let point = results.points.get(number)?;
        Some(PointData { point: number, label: &point.label, layers: rows(point) })
    };
    shown.iter().filter_map(data).collect()
}

/// The table with the rows of a point.
pub fn html(point: &Point) -> String {
    let columns = columns();
    let row =
        |texts: Vec<String>| format!("<tr>{}</tr>\n", cells(&columns, texts.iter().map(String::as_str)));
    let rows: Vec<String> = rows(point).into_iter().map(row).collect();
    let caption = format!("Layers at {} as they run, with what was fused into them", point.label);
    table("layers", &caption, &columns, &rows)
}

fn columns() -> [Column; 13] {
    [
        Column::words("layer", "The layer whose weights the step reads first"),
        Column::words("kind", "Its class in Keras"),
        Column::words("result", "Height, width and channels of the result"),
        Column::words("window", "Rows and columns of the window, and the distance of two windows"),
        Column::numbers("segments", "Segments of the spatial part"),
        Column::words("cut", "Input channels of each segment, as number × channels"),
        Column::numbers("MMACs", "Millions of multiply-adds of a run"),
        Column::numbers("MB moved", "10⁶ bytes that are read and written at least"),
        Column::numbers("ms", "Median time"),
        Column::numbers("share (%)", "Share of the time of all layers"),
        Column::numbers("GFLOP/s", "10⁹ operations in a second"),
        Column::numbers("of bound (%)", "The least time by the roofline model, divided by the time"),
        Column::words("bound by", "What limits the speed: compute, memory, or overhead"),
    ]
}

/// A row for each step; before a run, one for each layer of the spec.
fn rows(point: &Point) -> Vec<Vec<String>> {
    let layers: HashMap<&str, &Layer> =
        point.layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    if point.steps.is_empty() {
        return point.layers.iter().map(unmeasured).collect();
    }
    let total: f64 = point.steps.iter().map(|step| step.ms).sum();
    let row = |step: &Step| {
        let form = form_of_step(step, &layers);
        // Lines break before each further layer of a fused group.
        let name = step.layer.replace(CHAIN, " +\u{a0}");
        let cells = [name, step.class.clone()].into_iter().chain(form);
        cells.chain(work(step)).chain(times(step, total)).collect()
    };
    point.steps.iter().map(row).collect()
}

fn unmeasured(layer: &Layer) -> Vec<String> {
    let macs = layer.spatial_macs.saturating_add(layer.pointwise_macs) as f64 / 1e6;
    let cells = [layer.name.clone(), layer.class.clone()].into_iter().chain(form(layer));
    cells.chain([format!("{macs:.2}")]).chain(std::iter::repeat_n(String::new(), 6)).collect()
}

/// Result, window, segments and cut of a step: of a fused group of layers the last result, and the
/// rest of each layer where they differ.
fn form_of_step(step: &Step, layers: &HashMap<&str, &Layer>) -> [String; 4] {
    let (name, part) = layers_and_part(&step.layer);
    let names: Vec<&str> = name.split(CHAIN).collect();
    let last = names.last().is_some_and(|name| layers.contains_key(name));
    let forms: Vec<[String; 4]> = names.iter().filter_map(|name| Some(form(layers.get(name)?))).collect();
    let Some([result, ..]) = forms.last() else { return Default::default() };
    let [window, segments, cut] = [1, 2, 3].map(|part| {
        let mut texts: Vec<&str> = forms.iter().map(|form| form[part].as_str()).collect();
        texts.dedup();
        texts.join("; ")
    });
    let result = if last { result.clone() } else { String::new() };
    match part {
        // Neither computes the layer's result.
        Some("activation" | "windows") => Default::default(),
        Some("pointwise") => [result, "1×1".to_owned(), "1".to_owned(), String::new()],
        _ => [result, window, segments, cut],
    }
}

/// Result, window, segments and cut.
fn form(layer: &Layer) -> [String; 4] {
    let result: Vec<String> = layer.output_shape.iter().map(u32::to_string).collect();
    let window = layer.kernel.map_or_else(String::new, |[rows, columns]| {
        let strides = layer.strides.filter(|strides| *strides != [1, 1]);
        format!("{rows}×{columns}{}", strides.map_or_else(String::new, |[down, _]| format!(" / {down}")))
    });
    let segments = layer.segments.map_or_else(String::new, |segments| segments.to_string());
    let cut = layer.cut.as_ref().map_or_else(String::new, |cut| cut.replace('x', "×").replace(',', ", "));
    [result.join("×"), window, segments, cut]
}

fn work(step: &Step) -> [String; 2] {
    let macs = if step.macs == 0 { String::new() } else { format!("{:.2}", step.macs as f64 / 1e6) };
    [macs, format!("{:.2}", step.bytes as f64 / 1e6)]
}

fn times(step: &Step, total: f64) -> [String; 5] {
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    [
        format!("{:.3}", step.ms),
        percent(step.ms / total.max(f64::MIN_POSITIVE)),
        step.gflops.map_or_else(String::new, |speed| format!("{speed:.1}")),
        step.bound_ms.filter(|_| step.ms > 0.0).map_or_else(String::new, |bound| percent(bound / step.ms)),
        step.bound.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layer(name: &str, segments: u32) -> Layer {
        let layer = json!({
            "name": name, "class": "SeparableConv2D", "path": [], "output_shape": [9, 9, segments], "kernel": [3, 3],
            "strides": [1, 1], "segments": segments, "cut": format!("{segments}x1"), "parameters": 0,
            "spatial_macs": 0, "pointwise_macs": 0
        });
        serde_json::from_value(layer).unwrap()
    }

    #[test]
    fn a_step_has_the_last_result_and_what_differs_of_each_layer() {
        let [a, b] = [layer("a", 8), layer("b", 16)];
        let layers = HashMap::from([("a", &a), ("b", &b)]);
        let form = |name: &str| {
            let step = json!({
                "layer": name, "class": "", "macs": 0, "bytes": 0, "samples_ms": [], "ms": 0.0, "gflops": null,
                "bound_ms": null, "bound": null, "kernels": []
            });
            form_of_step(&serde_json::from_value(step).unwrap(), &layers)
        };
        assert_eq!(form("b"), ["9×9×16", "3×3", "16", "16×1"]);
        assert_eq!(form("a + b"), ["9×9×16", "3×3", "8; 16", "8×1; 16×1"]);
        assert_eq!(
            form("a + pool"),
            ["", "3×3", "8", "8×1"],
            "the result is that of the pool, which is not known here"
        );
        assert_eq!(form("pool"), ["", "", "", ""]);
        assert_eq!(form("b (spatial)"), ["9×9×16", "3×3", "16", "16×1"]);
        assert_eq!(form("b (pointwise)"), ["9×9×16", "1×1", "1", ""]);
        assert_eq!(form("b (products)"), form("b"));
        assert_eq!(form("b (activation)"), ["", "", "", ""]);
        assert_eq!(form("b (windows)"), ["", "", "", ""]);
    }
}
