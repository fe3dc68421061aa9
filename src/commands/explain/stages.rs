//! Layers, or parts of them, whose products are computed in another way than others.

use serde::Serialize;
use xcc_compiler::graph::{Graph, Layer, NodeId};
use xcc_compiler::plan::Part;

use super::LineTable;
use crate::measure::work::layers;

/// What `--json` has of such a layer.
#[derive(Serialize)]
pub struct StageRow {
    node: String,
    layer: String,
    line: usize,
    part: &'static str,
}

impl StageRow {
    /// The rows of a node, of which these stages are computed so: of each of its layers that are,
    /// or have a part that is.
    pub fn of_node((graph, id): (&Graph, NodeId), stages: [bool; 2], lines: &LineTable) -> Vec<Self> {
        let is_one_layer = layers(graph, id, Part::Whole).len() == 1;
        let parts: &[(Part, &str)] = match stages.into() {
            (true, true) if is_one_layer => &[(Part::Whole, "both parts")],
            (false, true) if is_one_layer => &[(Part::Whole, "pointwise part")],
            (true, true) => &[(Part::Spatial, "all of it"), (Part::Pointwise, "all of it")],
            (true, false) => &[(Part::Spatial, "all of it")],
            (false, true) => &[(Part::Pointwise, "all of it")],
            (false, false) => &[],
        };
        let rows = parts.iter().flat_map(|&(part, what)| {
            let row = move |layer: &Layer| Self {
                node: id.to_string(),
                layer: layer.name.clone(),
                line: lines.line(layer.span.start),
                part: what,
            };
            layers(graph, id, part).into_iter().map(row)
        });
        rows.collect()
    }

    /// Layer, line, value, and which part of it.
    pub fn cells(&self) -> [String; 4] {
        [format!("  {}", self.layer), format!("line {}", self.line), self.node.clone(), self.part.to_owned()]
    }
}
