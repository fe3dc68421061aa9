//! A convolution and how it is computed, wherever it runs.

use super::panels::PanelRun;
use super::{Planner, STEP_LIMIT};
use crate::graph::{Activation, Conv, NodeId, Pads, Post};
use crate::kernels::sliding::Beside;
use crate::kernels::{conv, crossed, sliding};
use crate::plan::PlanError;
use crate::plan::forms::{self, Form, Panels, Taps};
use crate::plan::nest::{Argument, Operand};
use crate::plan::pack::Pack;
use crate::target::{Isa, Target};

/// Everything about a convolution but where it runs.
pub(super) struct Job<'a> {
    pub conv: &'a Conv,
    pub load: Activation,
    pub post: &'a [Post],
    pub weights: Operand,
    pub bias: Operand,
    pub shape: TileShape,
    /// How each run of equal segments is computed.
    pub forms: Vec<Form>,
    /// Whether Winograd's method is possible: it needs whole maps rather than some rows at a time.
    pub winograd: bool,
    /// Whether its products would be those of pairs of bf16 values.
    pub pairs: bool,
    /// The factors by which pixels of the result are made ready for crossed products, if they are.
    pub ready: Option<Argument>,
    /// Bytes between pixels of the input, where forms are chosen.
    pub input_pixel: Option<u64>,
}

/// What the tiles of a convolution are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileShape {
    /// Pixels that lie in a row, at most 32.
    pub row: u32,
    /// Vectors of the widest panel.
    pub vectors: u32,
}

/// Picks the panels for segments of `oc` channels, in rows of `pixels`.
///
/// A tile has as many pixels as the registers hold. Two vectors make the narrowest panel, and so the least traffic
/// from the level-2 cache, that keeps the multiply-adds busy; with AVX-512, the target may have wider ones. A single pixel
/// takes more vectors, to keep enough sums going at once.
pub(super) fn tile_shape(target: Target, oc: u32, pixels: u32) -> TileShape {
    let widest = match target.isa {
        _ if pixels == 1 => 8,
        isa if isa < Isa::Avx512 => 2,
        _ => target.wide_tiles.vectors,
    };
    TileShape { row: pixels.min(32), vectors: oc.div_ceil(target.lanes).min(widest) }
}

/// Registers that tiles may use: Cranelift moves sums through one that must stay free, wide code needs none.
pub(super) fn free_registers(target: Target) -> usize {
    target.registers - usize::from(target.isa == Isa::Baseline)
}

impl Job<'_> {
    /// The recipe of the convolution's constants.
    pub fn pack(&self, lanes: u32) -> Pack {
        Pack::Panels { conv: self.conv.clone(), lanes, forms: self.forms.clone() }
    }

    /// The most pixels of tiles with this many vectors.
    fn tile_pixels(&self, target: Target, vectors: u32) -> u32 {
        let available = free_registers(target);
        let fits = |pixels: &u32| conv::slots(*pixels, vectors, self.load, self.post) <= available;
        (1..=self.shape.row).take_while(fits).last().unwrap_or(1)
    }

    /// The most pixels of tiles of crossed products.
    fn crossed_pixels(&self, target: Target, vectors: u32) -> u32 {
        let fits = |pixels: &u32| crossed::slots(*pixels, vectors, self.post) <= free_registers(target);
        let most = target.crossed_products.map_or(1, |rule| rule.pixels).min(self.shape.row);
        (1..=most).take_while(fits).last().unwrap_or(1)
    }

    /// The most pixels of tiles of the panels of a run.
    pub(super) fn panel_pixels(&self, target: Target, run: &PanelRun) -> u32 {
        match run.taps {
            Taps::Apart => self.tile_pixels(target, run.vectors),
            Taps::Crossed => self.crossed_pixels(target, run.vectors),
            Taps::Together => self.sliding_pixels(target, (run.vectors, run.beside)).unwrap_or(1),
        }
    }

    /// The most pixels of tiles whose taps share inputs, in so many vectors, or none when not even two (or all) fit into the
    /// registers.
    pub(super) fn sliding_pixels(&self, target: Target, (vectors, beside): (u32, Beside)) -> Option<u32> {
        let available = free_registers(target);
        let kw = self.conv.window.kernel[1];
        let fits = |pixels: &u32| {
            let sums = self.most_sums(*pixels, beside);
            sliding::slots(sums, (vectors, beside), kw, self.load, self.post) <= available
        };
        let most = (1..=self.shape.row).take_while(fits).last()?;
        Some(most).filter(|&most| most >= self.shape.row.min(2))
    }

    /// The most sums of so many pixels next to each other. Pixels at borders have a sum each, and those between them that are too
    /// few for another vector.
    fn most_sums(&self, pixels: u32, beside: Beside) -> u32 {
        let Pads { left, right, .. } = self.conv.window.pads;
        match beside.pixels() {
            1 => pixels,
            beside => (pixels / beside).saturating_add(beside - 1).saturating_add(left).saturating_add(right),
        }
    }
}

impl Planner<'_> {
    pub(super) fn job<'a>(
        &self,
        id: NodeId,
        conv: &'a Conv,
        (load, post): (Activation, &'a [Post]),
        row: u32,
    ) -> Result<Job<'a>, PlanError> {
        let widest = conv.partition.outputs().iter().max().copied().unwrap_or(1);
        let ic = conv.partition.inputs().iter().max().copied().unwrap_or(1);
        let shape = tile_shape(self.program.target, widest, row);
        let weights = u64::from(ic) * u64::from(shape.vectors * self.program.target.vector_bytes());
        self.limit(self.graph.node(id), "a panel of weights", weights, STEP_LIMIT)?;
        let form = Form::Panels(Panels { merged: 1, vectors: shape.vectors, taps: Taps::Apart });
        let forms = vec![form; forms::equal_segments(&conv.partition).len()];
        let [weights, bias] = [Operand::Weights, Operand::Bias];
        let (winograd, pairs, ready, input_pixel) = (false, false, None, None);
        Ok(Job { conv, load, post, weights, bias, shape, forms, winograd, pairs, ready, input_pixel })
    }
}
