//! Which layers are computed together, strip by strip, and which are not, and why.

use serde::Serialize;
use xcc_compiler::graph::{Graph, NodeId};
use xcc_compiler::plan::Part;
use xcc_compiler::schedule::fusion::{ConsideredGroup, Verdict};

use super::LineTable;
use crate::measure::work::{layer, layers};
use crate::numbers;

/// What `--json` has of layers that are or could be a fused group.
#[derive(Serialize)]
pub struct FusionRow {
    node: String,
    layers: Vec<String>,
    line: usize,
    saved_macs: u64,
    cost_macs: u64,
    /// Rows of a strip, if the layers are a fused group.
    strip_rows: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strip_bytes: Option<u64>,
}

impl FusionRow {
    /// Layers with the line of the first one.
    pub fn new(considered: &ConsideredGroup, graph: &Graph, lines: &LineTable) -> Self {
        let first = considered.nodes.first().copied().unwrap_or(NodeId::new(0));
        let (strip_rows, strip_bytes) = match considered.verdict {
            Verdict::Chosen { height } => (Some(height), None),
            Verdict::Costly => (None, None),
            Verdict::TooLarge { bytes } => (None, Some(bytes)),
        };
        Self {
            node: first.to_string(),
            layers: considered
                .nodes
                .iter()
                .flat_map(|&node| layers(graph, node, Part::Whole))
                .map(|layer| layer.name.clone())
                .collect(),
            line: lines.line(layer(graph, first).span.start),
            saved_macs: considered.saved,
            cost_macs: considered.cost,
            strip_rows,
            strip_bytes,
        }
    }

    /// Whether the layers are a fused group.
    pub fn is_chosen(&self) -> bool {
        self.strip_rows.is_some()
    }

    /// Layer, line, value, and with which others for what reason.
    pub fn cells(&self) -> [String; 4] {
        let (first, others) =
            self.layers.split_first().map_or(("", &[][..]), |(first, others)| (first, others));
        let others = others.join(" and ");
        let [saved, cost] = [self.saved_macs, self.cost_macs].map(numbers::macs);
        let why = match (self.strip_rows, self.strip_bytes) {
            (Some(rows), _) => {
                let rows = numbers::counted(rows as usize, "row");
                format!("with {others}, {rows} at a time: saves {saved}, costs {cost}")
            }
            (None, None) => format!("refused: with {others} would save {saved} and cost {cost}"),
            (None, Some(bytes)) => {
                let bytes = numbers::bytes(bytes);
                format!("refused: with {others}, a single row needs {bytes} in the cache")
            }
        };
        [format!("  {first}"), format!("line {}", self.line), self.node.clone(), why]
    }
}
