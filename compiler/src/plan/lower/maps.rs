//! Where a step reads and writes: maps, and what is fused with their way through a kernel.

use super::place::{Surface, Surfaces, Widths};
use super::{Operands, Planner};
use crate::graph::{Activation, NodeId, Op, Post, Shape};
use crate::kernels::epilogue::Format;
use crate::plan::Place;
use crate::plan::nest::Operand;
use crate::plan::values::View;
use crate::plan::windows::{BlockRun, RowRun};

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

    pub(super) fn images(&self) -> [u64; 3] {
        [self.input.image, self.out.image, self.add.image]
    }

    /// Whether the pixels of all images lie behind each other in every map.
    pub(super) fn is_one_run(&self) -> bool {
        [self.input, self.out, self.add].iter().all(|view| view.image == view.shape.pixels() * view.pixel)
    }
}

impl Planner<'_> {
    pub(super) fn maps(&self, id: NodeId) -> Maps {
        let out = self.view(id);
        let add = self.added(id).map_or(out, |added| self.view(added));
        let mut input = self.view(self.graph.node(id).inputs[0]);
        if let Op::Dense(_) = self.graph.node(id).op {
            // Pixels lie behind each other, so a map is as well a single column.
            input.shape = Shape::map(input.shape.pixels() as u32, 1, input.shape.c());
        }
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
