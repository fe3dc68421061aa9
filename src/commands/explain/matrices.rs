//! Which layers are multiplied as matrices of bf16 values.

use serde::Serialize;
use xcc_compiler::graph::{Graph, Layer, NodeId};
use xcc_compiler::plan::Part;
use xcc_compiler::plan::methods::Methods;

use super::LineTable;
use crate::measure::work::layers;

/// What `--json` has of a layer that is multiplied as a matrix.
#[derive(Serialize)]
pub struct MatrixRow {
    node: String,
    layer: String,
    line: usize,
    part: &'static str,
}

impl MatrixRow {
    /// The rows of a node: of each of its layers that are multiplied so, or have a part that is.
    pub fn of_node(methods: Methods, (graph, id): (&Graph, NodeId), lines: &LineTable) -> Vec<Self> {
        let node = graph.node(id);
        let [first, second] = methods.stages_by_tiles(graph, id);
        // Planes of Winograd's method are a form of segments.
        let first = first && !methods.takes_planes_of_pairs(node);
        let is_one_layer = layers(graph, id, Part::Whole).len() == 1;
        let parts: &[(Part, &str)] = match (first, second) {
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
