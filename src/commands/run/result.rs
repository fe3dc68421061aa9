//! How results are shown: as text, and as JSON.

use std::path::Path;

use serde::Serialize;
use xcc_compiler::graph::Shape;
use xcc_runtime::npy;

use crate::chart::bar;
use crate::cli::Backend;
use crate::inputs::Inputs;
use crate::network::Origin;
use crate::table::{Layout, Table};

/// Columns of a bar for a probability of 1.
const BAR: usize = 24;

/// What was run, and how.
#[derive(Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// The layer whose value the result is.
    pub layer: String,
    /// What ran it.
    pub backend: Backend,
    /// Inputs in a run.
    pub batch: u32,
    /// Threads of compiled code.
    pub threads: u32,
    /// Where the weights are from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Results and what is needed to show them.
pub struct Presentation<'a> {
    /// What was run.
    pub report: Report,
    /// On what.
    pub inputs: &'a Inputs,
    /// Shape of the result for one input.
    pub shape: Shape,
    /// Names of the elements of a vector.
    pub names: Option<Vec<String>>,
    /// The results, one behind the other.
    pub values: Vec<f32>,
    /// How many classes are shown for each input.
    pub top: usize,
    /// Whether classes are shown in a list for each input, or all inputs in one table.
    pub listed: bool,
    /// The file that the results were written to.
    pub written: Option<&'a Path>,
}

/// An element of a vector: a class and its probability or score.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Class<'a> {
    class: usize,
    label: Option<&'a str>,
    value: f32,
}

/// What is said about one input.
#[derive(Serialize)]
struct Outcome<'a> {
    input: String,
    #[serde(flatten)]
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Classes { top: Vec<Class<'a>> },
    Map { min: f32, max: f32, mean: f64 },
}

#[derive(Serialize)]
pub struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    output_shape: Vec<u64>,
    output: Option<&'a Path>,
    results: Vec<Outcome<'a>>,
}

impl Presentation<'_> {
    /// The results as the JSON that the command's help describes.
    pub fn json(&self) -> Json<'_> {
        Json {
            report: &self.report,
            output_shape: self.output_shape(),
            output: self.written,
            results: self.outcomes(),
        }
    }

    /// The results as text that is made to be read.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.inputs.are_images() {
            let extents: Vec<String> = self.output_shape().iter().map(u64::to_string).collect();
            text = format!("{}: {}\n", self.report.layer, extents.join("x"));
        }
        text += &if self.listed { self.lists() } else { self.table() };
        if let Some(path) = self.written {
            text += &format!("written to {}\n", path.display());
        }
        text
    }

    fn output_shape(&self) -> Vec<u64> {
        let mut extents = npy::extents(self.shape);
        extents.insert(0, self.inputs.count() as u64);
        extents
    }

    fn outcomes(&self) -> Vec<Outcome<'_>> {
        let results = self.values.chunks_exact(self.shape.elements().max(1) as usize);
        let outcome = |(index, values)| Outcome { input: self.inputs.name(index), value: self.value(values) };
        results.enumerate().map(outcome).collect()
    }

    fn value(&self, values: &[f32]) -> Value<'_> {
        if self.shape.pixels() == 1 {
            return Value::Classes { top: top(values, self.names.as_deref(), self.top) };
        }
        let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
        Value::Map {
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean: sum / values.len() as f64,
        }
    }

    /// A list of classes under the name of each input.
    fn lists(&self) -> String {
        let mut text = String::new();
        for outcome in self.outcomes() {
            let mut table = Table::new(&[Layout::Left, Layout::Right, Layout::Left]);
            match &outcome.value {
                Value::Classes { top } => top.iter().for_each(|class| table.row(self.cells(class))),
                map => table.row([statistics(map), String::new(), String::new()]),
            }
            text += &format!("{}\n", outcome.input);
            text.extend(table.render(usize::MAX, false).lines().map(|line| format!("  {line}\n")));
        }
        text
    }

    /// A line for each input: its best class.
    fn table(&self) -> String {
        let mut table = Table::new(&[Layout::Left, Layout::Left, Layout::Right, Layout::Left]);
        for outcome in self.outcomes() {
            let [first, second, third] = match &outcome.value {
                Value::Classes { top } => top.first().map(|class| self.cells(class)).unwrap_or_default(),
                map => [statistics(map), String::new(), String::new()],
            };
            table.row([outcome.input, first, second, third]);
        }
        table.render(usize::MAX, false)
    }

    /// Name, value and bar of a class; only probabilities have bars.
    fn cells(&self, class: &Class) -> [String; 3] {
        let name = class.label.map_or_else(|| class.class.to_string(), str::to_owned);
        let probability = self.values.iter().all(|value| (0.0..=1.0).contains(value));
        let bar = if probability { bar(f64::from(class.value), BAR) } else { String::new() };
        [name, format!("{:.4}", class.value), bar]
    }
}

fn statistics(value: &Value) -> String {
    match value {
        Value::Map { min, max, mean } => format!("from {min} to {max}, mean {mean:.6}"),
        Value::Classes { .. } => String::new(),
    }
}

/// The `count` largest elements of a vector, the largest first and equal ones in their order; NaN
/// comes last.
fn top<'a>(values: &[f32], names: Option<&'a [String]>, count: usize) -> Vec<Class<'a>> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let key = |index: &usize| if values[*index].is_nan() { f32::NEG_INFINITY } else { values[*index] };
    order.sort_by(|a, b| key(b).total_cmp(&key(a)).then(values[*a].is_nan().cmp(&values[*b].is_nan())));
    let class = |index: usize| Class {
        class: index,
        label: names.and_then(|names| names.get(index)).map(String::as_str),
        value: values[index],
    };
    order.into_iter().take(count).map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_nan_last() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let values = [f32::NAN, 0.5, f32::NEG_INFINITY, 0.75, 0.5];
        let classes = top(&values, Some(&names), 9);
        let order: Vec<usize> = classes.iter().map(|class| class.class).collect();
        assert_eq!(order, [3, 1, 4, 2, 0]);
        assert_eq!(classes[0], Class { class: 3, label: Some("d"), value: 0.75 });
        assert_eq!(top(&values, None, 1).len(), 1);
    }
}
