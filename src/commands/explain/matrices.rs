//! Which layers are multiplied as matrices of bf16 values.

use serde::Serialize;
use xcc_compiler::graph::{Graph, NodeId};
use xcc_compiler::plan::methods::Methods;

use super::LineTable;
use crate::measure::work::layer;

/// What `--json` has of a layer that is multiplied as a matrix.
#[derive(Serialize)]
pub struct MatrixRow {
    node: String,
    layer: String,
    line: usize,
    part: &'static str,
}

impl MatrixRow {
    /// The row of a node, if it has a stage that is multiplied so.
    pub fn of_node(methods: Methods, (graph, id): (&Graph, NodeId), lines: &LineTable) -> Option<Self> {
        let node = graph.node(id);
        let [first, second] = methods.stages_by_tiles(graph, id);
        // Planes of Winograd's method are a form of segments.
        let part = match (first && !methods.takes_planes_of_pairs(node), second) {
            (true, true) => "both parts",
            (false, true) => "pointwise part",
            (true, false) => "all of it",
            (false, false) => return None,
        };
        let layer = layer(graph, id);
        Some(Self {
            node: id.to_string(),
            layer: layer.name.clone(),
            line: lines.line(layer.span.start),
            part,
        })
    }

    /// Layer, line, value, and which part of it.
    pub fn cells(&self) -> [String; 4] {
        [format!("  {}", self.layer), format!("line {}", self.line), self.node.clone(), self.part.to_owned()]
    }
}
