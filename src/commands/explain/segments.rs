//! How segments are computed, and why so: the algorithms that a schedule chose, and those that it
//! did not.

use serde::Serialize;
use xcc_compiler::graph::Graph;
use xcc_compiler::schedule::segments::{Candidate, Choice};

use super::LineTable;
use crate::measure::work::layer;

/// What `--json` has of a choice.
#[derive(Serialize)]
pub struct ChoiceRow {
    node: String,
    pub layer: String,
    pub line: usize,
    segments: u32,
    ic: u32,
    oc: u32,
    chosen: usize,
    algorithms: Vec<FormRow>,
}

/// A form and its time.
#[derive(Clone, Serialize)]
struct FormRow {
    algorithm: String,
    ms: f64,
}

impl ChoiceRow {
    /// A choice with the line of its layer.
    pub fn new(choice: &Choice, graph: &Graph, lines: &LineTable) -> Self {
        let layer = layer(graph, choice.node);
        let algorithm =
            |candidate: &Candidate| FormRow { algorithm: candidate.algorithm.to_string(), ms: candidate.ms };
        Self {
            node: choice.node.to_string(),
            layer: layer.name.clone(),
            line: lines.line(layer.span.start),
            segments: choice.segments,
            ic: choice.ic,
            oc: choice.oc,
            chosen: choice.chosen,
            algorithms: choice.candidates.iter().map(algorithm).collect(),
        }
    }

    /// Layer, line, value, and what was chosen for what reason.
    pub fn cells(&self) -> [String; 4] {
        let text = |row: &FormRow| format!("{} {:.3} ms", row.algorithm, row.ms);
        let mut others = self.algorithms.clone();
        let chosen = others.remove(self.chosen);
        others.sort_by(|a, b| a.ms.total_cmp(&b.ms));
        let others: Vec<String> = others.iter().map(text).collect();
        let plural = if self.segments == 1 { "" } else { "s" };
        let segments = format!("{} segment{plural} {}->{}", self.segments, self.ic, self.oc);
        let others = if others.is_empty() { String::new() } else { format!("; not {}", others.join("; ")) };
        let why = format!("{segments}: {}{others}", text(&chosen));
        [format!("  {}", self.layer), format!("line {}", self.line), self.node.clone(), why]
    }
}
