//! A convolution in vectors of f32: its panels and tiles, as far as registers decide.

use super::segments::Taps;
use crate::graph::{Activation, Conv, Pads, Post};
use crate::kernels::sliding::Beside;
use crate::kernels::{conv, fast_inner, sliding};
use crate::target::{Isa, Target};

/// A convolution with what is fused with it.
#[derive(Clone, Copy, Debug)]
pub struct DirectConv<'a> {
    /// The convolution.
    pub conv: &'a Conv,
    /// Applied to the input.
    pub load: Activation,
    /// Applied to the result.
    pub post: &'a [Post],
    /// Its tiles.
    pub shape: TileShape,
}

/// What the tiles of a convolution are made of.
#[derive(Clone, Copy, Debug)]
pub struct TileShape {
    /// Pixels that lie in a row, at most 32.
    pub row: u32,
    /// Vectors of the widest panel.
    pub vectors: u32,
}

impl TileShape {
    /// The same in panels of at most `vectors` vectors.
    pub fn with_vectors(self, vectors: u32) -> Self {
        Self { vectors, ..self }
    }
}

/// Picks the panels for segments of `oc` channels, in rows of `pixels`.
///
/// A tile has as many pixels as the registers hold. Two vectors make the narrowest panel, and so
/// the least traffic from the level-2 cache, that keeps the multiply-adds busy; with AVX-512, the
/// target may have wider ones. A single pixel takes more vectors, to keep enough sums going at
/// once.
pub fn tile_shape(target: Target, oc: u32, pixels: u32) -> TileShape {
    let widest = match target.isa {
        _ if pixels == 1 => 8,
        isa if isa < Isa::Avx512 => 2,
        _ => target.wide_tiles.vectors,
    };
    TileShape { row: pixels.min(32), vectors: oc.div_ceil(target.lanes).min(widest) }
}

/// Registers that tiles may use: Cranelift moves sums through one that must stay free, wide code
/// needs none.
pub fn free_registers(target: Target) -> usize {
    target.registers - usize::from(target.isa == Isa::Baseline)
}

/// Output channels of the widest segment.
fn widest(conv: &Conv) -> u32 {
    conv.partition.outputs().iter().max().copied().unwrap_or(1)
}

impl<'a> DirectConv<'a> {
    /// A convolution whose pixels lie in rows of `row`.
    pub fn new(target: Target, conv: &'a Conv, load: Activation, post: &'a [Post], row: u32) -> Self {
        Self { conv, load, post, shape: tile_shape(target, widest(conv), row) }
    }

    /// Bytes of the weights of the widest panel from each input of the widest segment.
    pub fn panel_bytes(&self, target: Target) -> u64 {
        let ic = self.conv.partition.inputs().iter().max().copied().unwrap_or(1);
        u64::from(ic) * u64::from(self.shape.vectors * target.vector_bytes())
    }

    /// The most pixels of tiles with this many vectors.
    fn tile_pixels(&self, target: Target, vectors: u32) -> u32 {
        let available = free_registers(target);
        let fits = |pixels: &u32| conv::slots(*pixels, vectors, self.load, self.post) <= available;
        (1..=self.shape.row).take_while(fits).last().unwrap_or(1)
    }

    /// The most pixels of tiles by the fast inner product.
    fn fast_inner_pixels(&self, target: Target, vectors: u32) -> u32 {
        let fits = |pixels: &u32| fast_inner::slots(*pixels, vectors, self.post) <= free_registers(target);
        let most = target.fast_inner_products.map_or(1, |rule| rule.pixels).min(self.shape.row);
        (1..=most).take_while(fits).last().unwrap_or(1)
    }

    /// The most pixels of the tiles of a panel.
    pub fn panel_pixels(&self, target: Target, panel: TilePanel) -> u32 {
        match panel.taps {
            Taps::Apart => self.tile_pixels(target, panel.vectors),
            Taps::Prescaled => self.fast_inner_pixels(target, panel.vectors),
            Taps::Together => self.sliding_pixels(target, panel.vectors, panel.beside).unwrap_or(1),
        }
    }

    /// The most pixels of tiles whose taps share inputs, in `vectors` vectors; none when not even
    /// two, or all, fit into the registers.
    pub fn sliding_pixels(&self, target: Target, vectors: u32, beside: Beside) -> Option<u32> {
        let available = free_registers(target);
        let kw = self.conv.window.kernel[1];
        let fits = |pixels: &u32| {
            let sums = self.most_sums(*pixels, beside);
            sliding::slots(sums, (vectors, beside), kw, self.load, self.post) <= available
        };
        let most = (1..=self.shape.row).take_while(fits).last()?;
        Some(most).filter(|&most| most >= self.shape.row.min(2))
    }

    /// The most sums of `pixels` pixels next to each other. Pixels at borders have a sum each, and
    /// so have pixels between them that are too few for another vector.
    fn most_sums(&self, pixels: u32, beside: Beside) -> u32 {
        let Pads { left, right, .. } = self.conv.window.pads;
        match beside.pixels() {
            1 => pixels,
            beside => (pixels / beside).saturating_add(beside - 1).saturating_add(left).saturating_add(right),
        }
    }
}

/// A panel as its tiles see it.
#[derive(Clone, Copy, Debug)]
pub struct TilePanel {
    /// Vectors of outputs.
    pub vectors: u32,
    /// What lies side by side in a vector.
    pub beside: Beside,
    /// How taps read inputs.
    pub taps: Taps,
}
