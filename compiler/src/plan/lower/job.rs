//! A convolution in vectors as it is scheduled, wherever it runs.

use crate::plan::nest::{Argument, Operand};
use crate::plan::pack::Pack;
use crate::schedule::Algorithm;
use crate::schedule::direct::DirectConv;
use crate::schedule::segments::SegmentAlgorithm;
use crate::schedule::units::{UnitGroup, unit_groups};
use crate::target::Target;

/// Everything about a convolution but where it runs.
pub(super) struct Job<'a> {
    pub direct: DirectConv<'a>,
    pub weights: Operand,
    pub bias: Operand,
    /// How each run of equal segments is computed.
    pub algorithms: Vec<SegmentAlgorithm>,
    /// The units of work of a block of rows.
    pub units: Vec<UnitGroup>,
    /// The factors by which pixels of the result are prescaled for the fast inner product, if they
    /// are.
    pub ready: Option<Argument>,
}

impl<'a> Job<'a> {
    /// A convolution by an algorithm in vectors.
    pub fn new(direct: DirectConv<'a>, algorithm: &Algorithm, lanes: u32) -> Self {
        let (weights, bias) = (Operand::Weights, Operand::Bias);
        if let Algorithm::FastInnerProduct { vectors } = *algorithm {
            let algorithms = vec![SegmentAlgorithm::fast_inner_product(vectors)];
            let units = unit_groups(direct.conv, &algorithms, lanes);
            let direct = DirectConv { shape: direct.shape.with_vectors(vectors), ..direct };
            return Self { direct, weights, bias, algorithms, units, ready: None };
        }
        let (algorithms, units) = (algorithm.segments().to_vec(), algorithm.units().to_vec());
        Self { direct, weights, bias, algorithms, units, ready: None }
    }

    /// The recipe of the convolution's constants.
    pub fn pack(&self, target: Target) -> Pack {
        let (conv, lanes) = (self.direct.conv.clone(), target.lanes);
        match self.direct.conv.partition.is_one_to_one() {
            true => Pack::Depthwise { conv, lanes },
            false => Pack::Panels { conv, lanes, algorithms: self.algorithms.clone() },
        }
    }
}
