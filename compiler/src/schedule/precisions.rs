//! Which layers take more exact products than a plan's precision permits: a precision is a
//! permission, so a layer whose f32 products take no more time has them.
//!
//! Times are predicted from the instructions and the weights of each layer by itself, for one
//! image and one thread. So the answer is data of the graph and the target, the same for any
//! number of threads and images.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::options::Precision;
use super::rules::Rules;
use crate::graph::{Graph, NodeId};
use crate::instruction_times::InstructionTimes;
use crate::target::{Bf16Unit, Target};

/// Time of f32 products relative to less exact ones, up to which a layer takes them: predictions
/// are wrong by this much on average (`mean_error` of the measurements).
const AS_FAST: f64 = 1.1;

/// Milliseconds that each layer takes: its instructions by the target's times, or its weights,
/// where these come from memory and take longer. A layer that cannot be lowered has none.
pub type LayerTimes = BTreeMap<NodeId, f64>;

/// The precision of each layer of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerPrecisions {
    asked: Precision,
    /// Layers that the precision has less exact products for.
    permitted: usize,
    /// The layers among them that have f32 products, with the stages that could have less exact
    /// ones.
    exact: BTreeMap<NodeId, [bool; 2]>,
}

/// Layers of a plan that have more exact products than asked for.
///
/// Prints as a sentence that begins with the precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoreExact {
    /// The precision that was asked for.
    #[serde(serialize_with = "as_text")]
    pub asked: Precision,
    /// Number of these layers.
    pub layers: usize,
    /// Number of layers that could have less exact products.
    pub of: usize,
    /// The reason, as a clause.
    pub reason: String,
}

fn as_text<S: Serializer>(precision: &Precision, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(precision)
}

impl fmt::Display for MoreExact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, layers, of, reason } = self;
        write!(f, "{asked}: {layers} of {of} layers use f32 products: {reason}")
    }
}

impl LayerPrecisions {
    /// One precision for all layers, whatever they take.
    pub fn all(asked: Precision) -> Self {
        Self { asked, ..Self::default() }
    }

    /// The precision of each layer of `graph`: f32 where that is predicted to be as fast as
    /// `asked`, or where only f32 can be lowered.
    ///
    /// Split products are never between the two: they are three where bf16 has one. `times` has
    /// the times of all layers in a precision.
    pub fn find(
        graph: &Graph,
        target: Target,
        asked: Precision,
        times: &dyn Fn(Precision) -> Option<LayerTimes>,
    ) -> Self {
        let rules = Rules::new(asked, target);
        let stages = |&id: &NodeId| (id, rules.matmul_stages(graph, id));
        let permitted: BTreeMap<NodeId, [bool; 2]> = match asked {
            Precision::F32 => BTreeMap::new(),
            _ => graph.order().iter().map(stages).filter(|(_, stages)| *stages != [false; 2]).collect(),
        };
        if permitted.is_empty() {
            return Self::all(asked);
        }
        let (Some(f32), Some(less_exact)) = (times(Precision::F32), times(asked)) else {
            return Self::all(asked);
        };
        let time = |times: &LayerTimes, id: NodeId| times.get(&id).copied().unwrap_or(f64::INFINITY);
        let is_as_fast = |id: &NodeId| {
            let f32 = time(&f32, *id);
            f32.is_finite() && f32 <= AS_FAST * time(&less_exact, *id)
        };
        let (of, exact) = (permitted.len(), permitted.into_iter().filter(|(id, _)| is_as_fast(id)).collect());
        Self { asked, permitted: of, exact }
    }

    /// The precision of a layer.
    pub fn of(&self, id: NodeId) -> Precision {
        if self.exact.contains_key(&id) { Precision::F32 } else { self.asked }
    }

    /// The stages of a layer that have more exact products than asked for.
    pub fn more_exact_stages(&self, id: NodeId) -> [bool; 2] {
        self.exact.get(&id).copied().unwrap_or_default()
    }

    /// The layers with more exact products than asked for, with the reason; none if there are no
    /// such layers.
    pub fn more_exact(&self, target: Target) -> Option<MoreExact> {
        let layers = self.exact.len();
        let (asked, of) = (self.asked, self.permitted);
        (layers > 0).then(|| MoreExact { asked, layers, of, reason: reason(target) })
    }
}

/// The reason for f32 products on a target, as a clause.
fn reason(target: Target) -> String {
    let InstructionTimes { multiply_add, pair, .. } = target.times;
    match target.bf16_unit() {
        Some(Bf16Unit::Pairs) => {
            let times = f64::from(pair) / f64::from(2 * multiply_add.max(1));
            format!("vdpbf16ps takes {times:.1} times as long as the 2 multiply-adds that it replaces")
        }
        Some(Bf16Unit::Tiles) | None => {
            "to make and load their tiles takes as long as multiply-adds in vectors".to_owned()
        }
    }
}
