//! The schedule: which algorithm computes each layer, and how its work is cut, decided once and
//! with reasons.
//!
//! A [`Schedule`] is a value. Everything behind it reads it: lowering carries it out, `explain`
//! prints it, counts of multiply-adds follow from it. [`build`] makes it from a graph, a target
//! and a layout; what candidates cost it asks a [`CostModel`], which lowers them and weighs the
//! instructions.

mod build;
mod candidates;
pub mod direct;
pub mod fusion;
pub mod matrix;
pub mod options;
pub mod precisions;
pub mod reasons;
pub mod rules;
pub mod segments;
pub mod strips;
mod text;
pub mod tiling;
pub mod units;
pub mod winograd;

use std::collections::{BTreeMap, HashMap};

pub use build::{
    BEHIND, Facts, between, build, build_what_fits, bytes_between, pixel_between, prefetches_results,
};
pub use candidates::{CostModel, SegmentCandidate, packed_pixels};
pub use text::Listing;

use crate::cost::stage_macs;
use crate::graph::{Conv, Graph, Node, NodeId, Op};
use crate::kernels::{fast_inner, winograd as winograd_kernels};
use crate::target::Target;
use fusion::{ConsideredGroup, FusedGroups};
use options::{PlanOptions, Precision};
use precisions::{LayerPrecisions, MoreExact};
use reasons::Reason;
use segments::{Choice, PlaneProducts, Segment, SegmentAlgorithm, equal_segments, sizes};
use units::UnitGroup;

/// All decisions about a network.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What they were made for.
    pub target: Target,
    /// What was asked for, for the images and threads that run together.
    pub options: PlanOptions,
    /// The precision of each layer, which may be more exact than that of the options.
    pub precisions: LayerPrecisions,
    /// The layers that are computed strip by strip, and those for which that did not pay.
    pub fused_groups: FusedGroups,
    /// Whether kernels ask for cache lines of results before they write them: the network's values
    /// are more than a cache holds.
    pub prefetches_results: bool,
    /// The algorithms of segments that there were to choose from, in the order of nodes.
    pub choices: Vec<Choice>,
    /// Why nodes are computed so, where there was a choice without times.
    pub reasons: BTreeMap<NodeId, Vec<Reason>>,
    nodes: BTreeMap<NodeId, NodeSchedule>,
    /// Milliseconds that planes of Winograd's method take for an image beyond the instructions of
    /// kernels.
    planes_ms: BTreeMap<NodeId, f64>,
}

/// How a node is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeSchedule {
    /// A convolution or a dense layer.
    Conv(ConvSchedule),
    /// A separable convolution.
    Separable(SeparableSchedule),
    /// A pool over windows.
    Pool(Division),
    /// Any other node: by its rows, pixels or groups of channels.
    Other,
}

/// How a convolution is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSchedule {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Where the activation on the way in is applied.
    pub activation: InputActivation,
    /// How its work is cut.
    pub division: Division,
}

/// How a separable convolution is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeparableSchedule {
    /// The algorithm of the spatial part.
    pub spatial: Algorithm,
    /// The algorithm of the pointwise part.
    pub pointwise: Algorithm,
    /// How both parts are run.
    pub stages: Stages,
}

/// Whether the parts of a separable convolution run together or apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Stages {
    /// Some rows of one after the other, with the map between them in scratch memory.
    Together(Division),
    /// As steps of their own, with the map between them in memory whole.
    Apart {
        /// How the spatial part is cut.
        spatial: Division,
        /// How the pointwise part is cut.
        pointwise: Division,
    },
}

/// What computes a convolution.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// A channel of output for each of input, in vectors of channels.
    Depthwise,
    /// Segments in vectors of f32 values, or by Winograd's method.
    Segments {
        /// The algorithm of each run of equal segments.
        algorithms: Vec<SegmentAlgorithm>,
        /// The units of work of a block of rows or pixels.
        units: Vec<UnitGroup>,
    },
    /// Winograd's inner product of 1968, see [`kernels::fast_inner`](crate::kernels::fast_inner).
    FastInnerProduct {
        /// Vectors of the widest panel of weights.
        vectors: u32,
    },
    /// Matrices of bf16 values, in the precision of the layer.
    Matmul,
}

/// Where an activation on the way into a convolution is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputActivation {
    /// To each value that is loaded; or there is none.
    OnLoad,
    /// In a step of its own, which leaves the activated input in memory.
    Apart,
}

/// How the work of a step is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// By the strips of the layers that run together.
    Strips,
    /// The rows of each image.
    Rows {
        /// Blocks of rows.
        blocks: u32,
        /// Blocks of rows of patches, for each run of segments by Winograd's method.
        patches: Vec<u32>,
    },
    /// The pixels of all images as if they were one row.
    Pixels {
        /// Blocks of pixels.
        blocks: u32,
    },
    /// Planes of Winograd's method that threads share: patches are transformed in a step, planes
    /// multiplied in another, and results transformed in a third.
    SharedPlanes {
        /// Blocks of rows of patches of the first and the third step.
        blocks: u32,
    },
    /// Panels of weights that threads share, for a matrix that a step before has made.
    SharedPanels {
        /// Blocks of rows of the step that makes the matrix; of a separable convolution that is
        /// the spatial part.
        gathered: u32,
        /// Whether the pixels of all images count as one row.
        is_flat: bool,
        /// Blocks of pixels that each panel is multiplied with.
        blocks: u32,
    },
}

impl Division {
    /// Blocks of rows, without patches.
    pub fn rows(blocks: u32) -> Self {
        Self::Rows { blocks, patches: Vec::new() }
    }

    /// Blocks of rows or pixels of the step that computes results.
    pub fn blocks(&self) -> u32 {
        match self {
            Division::Strips => 1,
            Division::Rows { blocks, .. }
            | Division::Pixels { blocks }
            | Division::SharedPlanes { blocks }
            | Division::SharedPanels { blocks, .. } => *blocks,
        }
    }
}

impl Algorithm {
    /// The algorithms of the runs of equal segments.
    pub fn segments(&self) -> &[SegmentAlgorithm] {
        match self {
            Algorithm::Segments { algorithms, .. } => algorithms,
            Algorithm::Depthwise | Algorithm::FastInnerProduct { .. } | Algorithm::Matmul => &[],
        }
    }

    /// The units of work of the segments.
    pub fn units(&self) -> &[UnitGroup] {
        match self {
            Algorithm::Segments { units, .. } => units,
            Algorithm::Depthwise | Algorithm::FastInnerProduct { .. } | Algorithm::Matmul => &[],
        }
    }

    /// True if all segments are computed by Winograd's method.
    pub fn is_by_planes(&self) -> bool {
        !self.segments().is_empty()
            && self.segments().iter().all(|algorithm| matches!(algorithm, SegmentAlgorithm::Winograd(_)))
    }

    /// True if products are of bf16 values.
    pub fn is_bf16(&self) -> bool {
        let is_of_pairs = |algorithm: &SegmentAlgorithm| {
            matches!(algorithm, SegmentAlgorithm::Winograd(PlaneProducts::Pairs))
        };
        *self == Algorithm::Matmul || self.segments().iter().any(is_of_pairs)
    }

    /// Multiply-adds of an image that need no multiplication, of a convolution with a result of
    /// `out` rows and columns.
    fn saved_macs(&self, conv: &Conv, out: [u32; 2], lanes: u32) -> u64 {
        match self {
            Algorithm::Depthwise | Algorithm::Matmul => 0,
            Algorithm::FastInnerProduct { .. } => {
                let [ic, oc] = [conv.partition.ic(), conv.partition.oc()];
                let of_output = u64::from(fast_inner::products_saved(ic, lanes));
                (of_output * u64::from(oc)).saturating_mul(u64::from(out[0]) * u64::from(out[1]))
            }
            Algorithm::Segments { algorithms, .. } => {
                let runs = equal_segments(&conv.partition);
                runs.iter()
                    .zip(algorithms)
                    .map(|(segments, algorithm)| saved_by(*algorithm, segments, out, lanes))
                    .sum()
            }
        }
    }
}

/// Multiply-adds of an image that equal segments save by Winograd's method.
fn saved_by(algorithm: SegmentAlgorithm, segments: &[Segment], out: [u32; 2], lanes: u32) -> u64 {
    let SegmentAlgorithm::Winograd(products) = algorithm else { return 0 };
    let (count, (ic, oc)) = (segments.len() as u64, sizes(segments));
    let pairs = count * u64::from(ic) * u64::from(oc);
    let saved = pairs * winograd_kernels::products_saved(out, [1; 2]);
    let PlaneProducts::FastInner(_) = products else { return saved };
    let [rows, columns] = winograd_kernels::patches(out).map(u64::from);
    let outputs = rows * columns * u64::from(winograd_kernels::PLANES) * count * u64::from(oc);
    saved + outputs * u64::from(fast_inner::products_saved(ic, lanes))
}

impl NodeSchedule {
    /// The algorithms of the stages of a node: of the spatial and the pointwise part of a
    /// separable convolution.
    pub fn algorithms(&self) -> [Option<&Algorithm>; 2] {
        match self {
            NodeSchedule::Conv(conv) => [Some(&conv.algorithm), None],
            NodeSchedule::Separable(parts) => [Some(&parts.spatial), Some(&parts.pointwise)],
            NodeSchedule::Pool(_) | NodeSchedule::Other => [None, None],
        }
    }
}

impl Schedule {
    /// The decision for a node; none where it cannot be computed.
    pub fn node(&self, id: NodeId) -> Option<&NodeSchedule> {
        self.nodes.get(&id)
    }

    /// The precision of a layer's products.
    pub fn precision(&self, id: NodeId) -> Precision {
        self.precisions.of(id)
    }

    /// The layers that have more exact products than the options ask for, if there are any.
    pub fn more_exact(&self) -> Option<MoreExact> {
        self.precisions.more_exact(self.target)
    }

    /// Layers that run strip by strip, and layers for which that did not pay.
    pub fn considered_groups(&self) -> &[ConsideredGroup] {
        &self.fused_groups.considered
    }

    /// Which stages of a node have an algorithm for which `is_such` holds.
    pub fn stages(&self, id: NodeId, is_such: impl Fn(&Algorithm) -> bool) -> [bool; 2] {
        let algorithms = self.node(id).map_or([None, None], NodeSchedule::algorithms);
        algorithms.map(|algorithm| algorithm.is_some_and(&is_such))
    }

    /// Multiply-adds of the stages of a node, of one image, that are products of bf16 values, with
    /// those that Winograd's method saves.
    pub fn bf16_macs(&self, graph: &Graph, id: NodeId) -> [u64; 2] {
        let [first, second] = stage_macs(graph, id);
        let is_bf16 = self.stages(id, Algorithm::is_bf16);
        [(first, is_bf16[0]), (second, is_bf16[1])].map(|(macs, is_bf16)| if is_bf16 { macs } else { 0 })
    }

    /// Multiply-adds of an image that need no multiplication, of the stages of nodes that save
    /// some.
    pub fn saved_macs(&self, graph: &Graph) -> HashMap<NodeId, [u64; 2]> {
        let of_node = |&id: &NodeId| (id, self.saved_by_stages(graph.node(id), id));
        graph.order().iter().map(of_node).filter(|(_, saved)| *saved != [0; 2]).collect()
    }

    fn saved_by_stages(&self, node: &Node, id: NodeId) -> [u64; 2] {
        let (out, lanes) = ([node.shape.h(), node.shape.w()], self.target.lanes);
        match (&node.op, self.node(id)) {
            (Op::Conv(conv), Some(NodeSchedule::Conv(schedule))) => {
                [schedule.algorithm.saved_macs(conv, out, lanes), 0]
            }
            (Op::Separable(parts), Some(NodeSchedule::Separable(schedule))) => [
                schedule.spatial.saved_macs(&parts.spatial, out, lanes),
                schedule.pointwise.saved_macs(&parts.pointwise, out, lanes),
            ],
            _ => [0; 2],
        }
    }

    /// Milliseconds that planes of Winograd's method take for an image beyond the instructions of
    /// kernels.
    pub fn planes_ms(&self) -> f64 {
        self.planes_ms.values().sum()
    }

    /// The same for a node.
    pub fn planes_ms_of(&self, id: NodeId) -> f64 {
        self.planes_ms.get(&id).copied().unwrap_or(0.0)
    }
}
