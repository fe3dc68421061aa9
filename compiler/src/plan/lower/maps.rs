//! Where a step reads and writes: maps, and what is fused with their way through a kernel.

use super::place::{Surface, Surfaces, Widths};
use super::{Lowering, Operands};
use crate::graph::{Activation, NodeId, Post, Shape};
use crate::kernels::epilogue::Format;
use crate::layout::View;
use crate::plan::Place;
use crate::plan::nest::Operand;
use crate::schedule::tiling::{BlockRun, RowRun};

/// What a spatial kernel does besides its products.
#[derive(Clone, Copy)]
pub(super) struct Fusion<'a> {
    /// Applied to the input.
    pub load: Activation,
    /// Applied to the result.
    pub post: &'a [Post],
    /// How the result is stored.
    pub format: Format,
    /// Weights and biases.
    pub constants: [Operand; 2],
}

/// The maps of a step: views of input, result and added operand.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    pub input: View,
    pub out: View,
    pub add: View,
}

impl Maps {
    pub(super) fn surfaces(&self) -> Surfaces {
        Surfaces {
            input: Surface::of(Operand::In, self.input),
            out: Surface::of(Operand::Out, self.out),
            add: Surface::of(Operand::Add, self.add),
        }
    }

    /// Rows and columns of the input and of the result.
    pub(super) fn extents(&self) -> [[u32; 2]; 2] {
        [self.input, self.out].map(|view| [view.shape.h(), view.shape.w()])
    }

    pub(super) fn images(&self) -> [u64; 3] {
        [self.input.image, self.out.image, self.add.image]
    }

    /// The maps as rows of the pixels of all images, where these lie behind each other.
    pub(super) fn as_row(&self, pixels: u32) -> Self {
        let along = |view: View| View { shape: Shape::map(pixels, 1, view.shape.c()), ..view };
        Self { input: along(self.input), out: along(self.out), add: along(self.add) }
    }
}

impl Lowering<'_> {
    pub(super) fn maps(&self, id: NodeId) -> Maps {
        let out = self.view(id);
        let add = self.added(id).map_or(out, |added| self.view(added));
        let input = self.layout.input_of(self.graph, id);
        Maps { input, out, add }
    }
}

/// A run of pixels as the only row of a block.
pub(super) fn one_row(pixels: u32) -> (Widths, BlockRun) {
    let runs = vec![RowRun { first: 0, count: 1, taps: 0..1 }];
    let block = BlockRun { blocks: 0..1, first_row: 0, rows: 1, runs };
    (Widths { input: pixels, output: pixels, tile: pixels }, block)
}

pub(super) fn set(operands: &mut Operands, names: [Operand; 2], places: [Place; 2]) {
    for (name, place) in names.into_iter().zip(places) {
        operands[name.index()] = Some(place);
    }
}
