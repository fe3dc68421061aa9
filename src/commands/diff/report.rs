//! The comparison as text and as JSON.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use xcc_compiler::cost::{LayerSummary, Totals, summarize};
use xcc_compiler::graph::{Graph, LayerId};

use super::times::{LayerTime, Times};
use crate::cli::Setting;
use crate::layers::{Description, Form, describe, nodes_of_layers};
use crate::numbers::{in_units, thousands};
use crate::table::{Layout, Table};

/// Networks of fewer multiply-adds have them in thousands, others in millions.
const SMALL: u64 = 10_000_000;

/// One of the networks.
#[derive(Serialize)]
pub struct Side {
    model: String,
    settings: Vec<String>,
    totals: Totals,
    ms: Option<f64>,
    #[serde(skip)]
    layers: Vec<(String, Facts)>,
}

/// What is compared of a layer, and its time.
#[derive(Clone, Debug, Serialize)]
struct Facts {
    class: &'static str,
    title: String,
    form: Form,
    segments: Option<Vec<u32>>,
    output_shape: Vec<u32>,
    parameters: u64,
    spatial_macs: u64,
    pointwise_macs: u64,
    activation_bytes: u64,
    ms: Option<f64>,
    /// Layers that are computed with it in the time.
    with: Vec<String>,
    #[serde(skip)]
    words: String,
    #[serde(skip)]
    outputs: Option<Vec<u32>>,
}

impl Facts {
    fn new(layer: &LayerSummary, description: &Description) -> Self {
        let facts = [description.title.clone()].into_iter().chain(description.segments());
        let words = facts.chain(description.remarks.iter().cloned()).collect::<Vec<_>>().join(", ");
        let partition = description.partition.as_ref();
        Self {
            class: layer.class,
            title: description.title.clone(),
            form: description.form,
            segments: partition.map(|partition| partition.inputs().to_vec()),
            output_shape: layer.output_shape.clone(),
            parameters: layer.parameters,
            spatial_macs: layer.spatial_macs,
            pointwise_macs: layer.pointwise_macs,
            activation_bytes: layer.activation_bytes,
            ms: None,
            with: Vec::new(),
            words,
            outputs: partition.map(|partition| partition.outputs().to_vec()),
        }
    }

    /// Whether a layer is another one, or costs something else. Times always differ, so they do
    /// not count.
    fn differ(&self, other: &Self) -> bool {
        let what =
            |facts: &Self| (facts.class, facts.words.clone(), facts.segments.clone(), facts.outputs.clone());
        let costs = |facts: &Self| {
            let Self { parameters, spatial_macs, pointwise_macs, activation_bytes, .. } = facts;
            [*parameters, *spatial_macs, *pointwise_macs, *activation_bytes]
        };
        what(self) != what(other) || costs(self) != costs(other) || self.output_shape != other.output_shape
    }

    fn macs(&self) -> u64 {
        self.spatial_macs.saturating_add(self.pointwise_macs)
    }
}

impl Side {
    /// A network and what its layers cost.
    pub fn new(graph: &Graph, settings: &[Setting]) -> Self {
        let summary = summarize(graph);
        let nodes = nodes_of_layers(graph);
        let described = (0..graph.layers.len()).map(LayerId::new);
        let described: HashMap<String, Description> = described
            .filter_map(|layer| describe(graph, layer, &nodes[layer.index()]))
            .map(|description| (description.name.clone(), description))
            .collect();
        let rows = summary.flows.iter().flat_map(|flow| &flow.layers);
        let layers = rows
            .filter_map(|row| Some((row.name.clone(), Facts::new(row, described.get(&row.name)?))))
            .collect();
        let settings = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self { model: summary.model, settings, totals: summary.totals, ms: None, layers }
    }

    /// Fills in what was measured.
    pub fn add_times(&mut self, times: Times) {
        self.ms = Some(times.whole);
        let mut of_layers = times.layers;
        for (name, facts) in &mut self.layers {
            let Some(LayerTime { ms, with }) = of_layers.remove(name) else { continue };
            (facts.ms, facts.with) = (Some(ms), with);
        }
    }

    /// The model and its settings.
    fn title(&self) -> String {
        [std::slice::from_ref(&self.model), &self.settings[..]].concat().join(" ")
    }
}

/// Two networks and the layers in which they differ.
#[derive(Serialize)]
pub struct Report {
    first: Side,
    second: Side,
    layers: Vec<Row>,
}

/// A layer that differs.
#[derive(Serialize)]
struct Row {
    name: String,
    first: Option<Facts>,
    second: Option<Facts>,
}

impl Report {
    /// Compares two networks.
    pub fn new(first: Side, second: Side) -> Self {
        let layers = differences(&first.layers, &second.layers);
        Self { first, second, layers }
    }

    /// The report as a table for people.
    pub fn text(&self, width: usize, color: bool) -> String {
        let Self { first, second, layers } = self;
        let head = format!("- {}\n+ {}\n\n", first.title(), second.title());
        let totals = self.totals_table().render(width, color);
        if layers.is_empty() {
            return format!("{head}no layer differs\n\n{totals}");
        }
        format!("{head}{}\n{totals}", self.layer_table().render(width, color))
    }

    fn is_timed(&self) -> bool {
        self.first.ms.is_some()
    }

    fn is_small(&self) -> bool {
        self.first.totals.macs.max(self.second.totals.macs) < SMALL
    }

    fn table(&self, what: &str) -> Table {
        use Layout::{Left, Right, Wrapped};
        let mut layouts = vec![Left, Wrapped, Right, Right];
        let mut head = vec!["", what, "Parameters", if self.is_small() { "kMACs" } else { "MMACs" }];
        if self.is_timed() {
            layouts.push(Right);
            head.push("ms");
        }
        let mut table = Table::new(&layouts);
        table.strong_row(head.into_iter().map(str::to_owned));
        table.rule("");
        table
    }

    fn layer_table(&self) -> Table {
        let mut table = self.table("Layer");
        for row in &self.layers {
            table.strong_row(["".to_owned(), row.name.clone()]);
            let shapes = [&row.first, &row.second].map(|side| side.as_ref().map(|facts| &facts.output_shape));
            let has_other_shape = shapes[0] != shapes[1] && shapes.iter().all(Option::is_some);
            for (sign, side) in [("-", &row.first), ("+", &row.second)] {
                let Some(facts) = side else { continue };
                let shape = facts.output_shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x");
                let yields = if has_other_shape { format!(", yields {shape}") } else { String::new() };
                let with = match facts.with.is_empty() {
                    true => String::new(),
                    false => format!("; timed together with {}", facts.with.join(", ")),
                };
                let words = format!("{}{yields}{with}", facts.words);
                table.row(self.cells(sign, words, facts.parameters, facts.macs(), facts.ms));
            }
        }
        table
    }

    fn totals_table(&self) -> Table {
        let mut table = self.table("Whole network");
        for (sign, side) in [("-", &self.first), ("+", &self.second)] {
            table.row(self.cells(sign, side.title(), side.totals.parameters, side.totals.macs, side.ms));
        }
        let ratio = |a: f64, b: f64| if a > 0.0 { format!("{:.3}x", b / a) } else { "-".to_owned() };
        let Totals { parameters, macs, .. } = self.first.totals;
        let second = &self.second.totals;
        let mut cells = vec![
            String::new(),
            "second / first".to_owned(),
            ratio(parameters as f64, second.parameters as f64),
            ratio(macs as f64, second.macs as f64),
        ];
        cells.extend(self.first.ms.zip(self.second.ms).map(|(a, b)| ratio(a, b)));
        table.row(cells);
        table
    }

    fn cells(&self, sign: &str, words: String, parameters: u64, macs: u64, ms: Option<f64>) -> Vec<String> {
        let unit = if self.is_small() { 1000 } else { 1_000_000 };
        let mut cells = vec![sign.to_owned(), words, thousands(parameters), in_units(macs, unit)];
        if self.is_timed() {
            cells.push(ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3}")));
        }
        cells
    }
}

/// The layers that differ, in the order of the first network; those that only the second has stand
/// where they are there.
fn differences(first: &[(String, Facts)], second: &[(String, Facts)]) -> Vec<Row> {
    let in_first: HashSet<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    let in_second: HashMap<&str, usize> =
        second.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    let added = |layers: &[(String, Facts)]| -> Vec<Row> {
        let only_there = layers.iter().filter(|(name, _)| !in_first.contains(name.as_str()));
        let row = |(name, facts): &(String, Facts)| Row {
            name: name.clone(),
            first: None,
            second: Some(facts.clone()),
        };
        only_there.map(row).collect()
    };
    let (mut rows, mut passed) = (Vec::new(), 0);
    for (name, facts) in first {
        let place = in_second.get(name.as_str()).copied();
        if let Some(place) = place.filter(|&place| place > passed) {
            rows.extend(added(&second[passed..place]));
            passed = place;
        }
        let other = place.map(|place| &second[place].1);
        if other.is_none_or(|other| facts.differ(other)) {
            rows.push(Row { name: name.clone(), first: Some(facts.clone()), second: other.cloned() });
        }
    }
    rows.extend(added(&second[passed..]));
    rows
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::*;

    fn side(statements: &str) -> Side {
        let source = format!("model m\ninput image 8 x 8 x 4\n{statements}");
        let graph = read(&source, &[]).graph.unwrap();
        Side::new(&graph, &[])
    }

    fn signs(first: &str, second: &str) -> String {
        let report = Report::new(side(first), side(second));
        let sign = |row: &Row| match (&row.first, &row.second) {
            (Some(_), Some(_)) => format!("~{}", row.name),
            (Some(_), None) => format!("-{}", row.name),
            _ => format!("+{}", row.name),
        };
        report.layers.iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_layers_that_differ_are_listed_in_order() {
        let first = "relu as a\nconv 4, 1x1 as b\nelu as c\nconv 8, 1x1 as d";
        assert_eq!(signs(first, first), "");
        let second =
            "relu as x\nrelu as a\nconv 4, 1x1, bias: no as b\nrelu as y\nconv 8, 1x1 as d\nelu as z";
        assert_eq!(signs(first, second), "+x ~b -c +y +z");
        assert_eq!(signs(second, first), "-x ~b -y +c -z");
    }

    /// Both cuts have the same sizes as sets, the same parameters and the same multiply-adds.
    #[test]
    fn another_order_of_segments_is_a_difference() {
        let first = "depthwise 3x3, segments: [1, 3] as a";
        assert_eq!(signs(first, "depthwise 3x3, segments: [3, 1] as a"), "~a");
        assert_eq!(signs("relu as a", "elu as a"), "~a");
    }
}
