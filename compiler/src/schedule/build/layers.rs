//! Convolutions, dense layers and pools that run by themselves.

use super::{Maps, Scheduler};
use crate::graph::{Activation, Conv, LinearPart, NodeId, Pool, Shape, Window};
use crate::kernels::fast_inner;
use crate::layout::View;
use crate::schedule::direct::tile_shape;
use crate::schedule::options::PlanError;
use crate::schedule::reasons::Reason;
use crate::schedule::segments::SegmentAlgorithm;
use crate::schedule::tiling::block_count;
use crate::schedule::units::unit_groups;
use crate::schedule::{Algorithm, ConvSchedule, Division, InputActivation};

/// Loads of a value that cost more than to activate the value beforehand: each takes two
/// instructions more than a multiply-add that reads memory, or one more where none does, a pass
/// takes three for a vector of values and the way to memory and back.
const LOADS_OF_PASS: u64 = 8;

impl Scheduler<'_> {
    pub(super) fn dense(&mut self, id: NodeId, part: &LinearPart) -> Result<ConvSchedule, PlanError> {
        let input = self.view(self.node(id).inputs[0]).shape;
        self.conv(id, &Conv::of_dense(input, part))
    }

    /// A convolution that runs by itself.
    pub(super) fn conv(&mut self, id: NodeId, conv: &Conv) -> Result<ConvSchedule, PlanError> {
        let of_pairs = self.takes_planes_of_pairs(id);
        if self.rules(id).takes_matmul(self.node(id), conv) && !of_pairs {
            let division = self.matmul_division(id, conv)?;
            return Ok(ConvSchedule {
                algorithm: Algorithm::Matmul,
                activation: InputActivation::OnLoad,
                division,
            });
        }
        self.note_matrix_limit(id, conv);
        let maps = self.maps(id);
        if let Some(vectors) = self.rules(id).fast_inner_layer(conv, maps.out.shape) {
            return self.fast_inner_product(id, conv, vectors);
        }
        let load = self.node(id).fusion.load;
        let is_apart = load != Activation::Linear && !of_pairs && self.loads_often(id, conv, maps);
        let (activation, load, maps) = match is_apart {
            true => {
                let input = maps.input.without_gaps();
                (InputActivation::Apart, Activation::Linear, Maps { input, ..maps })
            }
            false => (InputActivation::OnLoad, load, maps),
        };
        if conv.partition.is_one_to_one() {
            let division = Division::rows(self.blocks_of_windows(&conv.window, maps));
            return Ok(ConvSchedule { algorithm: Algorithm::Depthwise, activation, division });
        }
        let row = self.flat_pixels(conv, maps).unwrap_or(maps.out.shape.w());
        let direct = self.direct(id, conv, load, self.node(id).kernel_post(), row)?;
        let algorithm = self.choose_algorithms(id, direct, [maps.input.shape, maps.out.shape], true);
        let shared = self.shared_planes(id, conv, algorithm.segments(), maps);
        let division = shared.unwrap_or_else(|| self.direct_division(conv, &algorithm, maps));
        Ok(ConvSchedule { algorithm, activation, division })
    }

    /// Notes why a convolution has no matrices although the target has them in the layer's
    /// precision.
    pub(super) fn note_matrix_limit(&mut self, id: NodeId, conv: &Conv) {
        if self.precision(id).is_by_bf16(self.target)
            && let Some(limit) = self.rules(id).matrix_limit(self.node(id), conv)
        {
            self.note(id, Reason::NoMatrix(limit));
        }
    }

    /// Whether panels would load, and activate, each value of the input so often that a pass over
    /// the map costs less.
    pub(super) fn loads_often(&mut self, id: NodeId, conv: &Conv, maps: Maps) -> bool {
        let widest = conv.partition.outputs().iter().max().copied().unwrap_or(1);
        let panel = tile_shape(self.target, widest, 2).vectors * self.target.lanes;
        let panels = u64::from(widest.div_ceil(panel.max(1)));
        let [from, to] = [maps.input, maps.out].map(|view| view.shape.pixels());
        let loads = to.saturating_mul(panels).saturating_mul(conv.window.taps());
        let is_often = !conv.partition.is_one_to_one() && loads >= from.saturating_mul(LOADS_OF_PASS);
        if is_often {
            self.note(id, Reason::LoadedOften { loads, values: from });
        }
        is_often
    }

    /// Blocks of rows of each image of a depthwise convolution or a pool.
    pub(super) fn blocks_of_windows(&self, window: &Window, maps: Maps) -> u32 {
        let row = maps.input.row() * u64::from(window.strides[0]);
        let fewest = self.fewest_units(self.options.batch);
        block_count(maps.out.shape.h(), row, self.target.cache_bytes, fewest)
    }

    pub(super) fn pool(&self, id: NodeId, pool: &Pool) -> Division {
        Division::rows(self.blocks_of_windows(&pool.window, self.maps(id)))
    }

    /// A pointwise convolution by the fast inner product: its inputs are prescaled by a step of
    /// their own.
    pub(super) fn fast_inner_product(
        &self,
        id: NodeId,
        conv: &Conv,
        vectors: u32,
    ) -> Result<ConvSchedule, PlanError> {
        self.direct(id, conv, Activation::Linear, self.node(id).kernel_post(), u32::MAX)?;
        let maps = self.maps(id);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), conv.partition.ic());
        let pixel = self.target.pixel_bytes(fast_inner::room(shape.c(), self.target.lanes));
        let input = View { offset: 0, pixel, image: shape.pixels() * pixel, shape };
        // Of the pixels that are read, and no others.
        let conv = Conv { window: Window::POINT, ..conv.clone() };
        let units = unit_groups(&conv, &[SegmentAlgorithm::fast_inner_product(vectors)], self.target.lanes);
        let algorithms = vec![SegmentAlgorithm::fast_inner_product(vectors)];
        let division =
            self.direct_division(&conv, &Algorithm::Segments { algorithms, units }, Maps { input, ..maps });
        let algorithm = Algorithm::FastInnerProduct { vectors };
        Ok(ConvSchedule { algorithm, activation: InputActivation::OnLoad, division })
    }
}
