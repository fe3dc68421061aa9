//! Fast inner products: pixels made ready for them, where they are computed or in a step of its
//! own, and pointwise layers of such pixels.

use super::job::Job;
use super::maps::{Maps, set};
use super::place::Surface;
use super::{Lowering, Operands, argument};
use crate::graph::{Activation, Conv, NodeId, Shape, Window};
use crate::kernels::Descriptor;
use crate::kernels::fast_inner::{self, PrescaledPixels};
use crate::layout::View;
use crate::plan::emit::Emitter;
use crate::plan::nest::{Argument, NestBuilder, Offset, Operand};
use crate::plan::{Part, Place};
use crate::schedule::ConvSchedule;
use crate::schedule::direct::DirectConv;
use crate::target::Target;
use crate::vector::F32;

impl Lowering<'_> {
    /// A pointwise convolution by the fast inner product: a step that makes pixels ready, and one
    /// that multiplies.
    pub(super) fn fast_inner_conv(&mut self, id: NodeId, conv: &Conv, schedule: &ConvSchedule) {
        let (load, maps) = (self.graph.node(id).fusion.load, self.maps(id));
        let (target, lanes) = (self.target, self.target.lanes);
        let of_inputs = DirectConv::new(target, conv, Activation::Linear, self.post(id), u32::MAX);
        let constants = self.emit.pack(Job::new(of_inputs, &schedule.algorithm, lanes).pack(target));
        let (memory, input) = self.ready_input(id, (conv, load), (maps, constants[1]));
        // Of the pixels that are read, and no others.
        let conv = Conv { window: Window::POINT, ..conv.clone() };
        let job = Job::new(DirectConv { conv: &conv, ..of_inputs }, &schedule.algorithm, lanes);
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(memory);
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        let mut b = NestBuilder::new();
        self.emit.panel_blocks(&mut b, &job, &schedule.division, Maps { input, ..maps });
        self.step_of(id, Part::Products, b, operands);
    }

    /// The pixels that a pointwise convolution reads, ready and with an activation applied: as a
    /// step that leaves them in memory between steps.
    fn ready_input(
        &mut self,
        id: NodeId,
        (conv, load): (&Conv, Activation),
        (maps, biases): (Maps, Place),
    ) -> (Place, View) {
        let [rows, columns] = conv.window.strides.map(u64::from);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), conv.partition.ic());
        let pixel = self.target.pixel_bytes(fast_inner::room(shape.c(), self.target.lanes));
        let image = shape.pixels() * pixel;
        let memory = self.emit.between_steps(u64::from(self.batch) * image);
        let ready = View { offset: memory.offset, pixel, image, shape };
        let input = maps.input;
        let from = Surface {
            pixel: (input.pixel * columns) as i64,
            row: (input.row() * rows) as i64,
            ..Surface::of(Operand::In, input)
        };
        let mut operands = self.operands_of_first(id, memory);
        operands[Operand::Bias.index()] = Some(biases);
        let surfaces = [from, Surface::of(Operand::Out, ready)];
        let factors = factors(self.target, conv, Operand::Bias);
        self.ready_step(id, (load, factors), (surfaces, [input, ready]), operands);
        (memory, ready)
    }

    /// The pixels of a map that is left between steps, made ready where they lie.
    pub(super) fn ready_between(
        &mut self,
        id: NodeId,
        (map, memory): (View, Place),
        (factors, biases): (Argument, Place),
    ) {
        let mut operands = self.operands_of_first(id, memory);
        operands[Operand::In.index()] = Some(memory);
        operands[factors.operand.index()] = Some(biases);
        let surfaces = [Operand::In, Operand::Out].map(|operand| Surface::of(operand, map));
        self.ready_step(id, (Activation::Linear, factors), (surfaces, [map; 2]), operands);
    }

    /// A step that makes pixels ready, shared out in rows.
    fn ready_step(
        &mut self,
        id: NodeId,
        (load, factors): (Activation, Argument),
        ([from, to], [input, ready]): ([Surface; 2], [View; 2]),
        operands: Operands,
    ) {
        let shape = ready.shape;
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            b.units(0..shape.h(), 1, |b, [row, _]| {
                let row_of = |surface: &Surface, bytes: u64| {
                    let surface = surface.image(image, bytes);
                    Surface { origin: surface.origin.clone().along(row, surface.row), ..surface }
                };
                let rows = [row_of(&from, input.image), row_of(&to, ready.image)];
                self.emit.ready_pixels(b, (shape.c(), load, factors.clone()), rows.each_ref(), shape.w());
            });
        });
        self.step_of(id, Part::Inputs, b, operands);
    }
}

/// Where the factors of inputs lie among the packed biases of a pointwise convolution by the fast
/// inner product.
pub(super) fn factors(target: Target, conv: &Conv, biases: Operand) -> Argument {
    let words = fast_inner::factors(conv.partition.oc(), target.lanes);
    argument(biases, Offset::bytes(words as i64 * i64::from(F32)))
}

impl Emitter {
    /// Makes neighbouring pixels ready.
    pub(super) fn ready_pixels(
        &mut self,
        b: &mut NestBuilder,
        (channels, load, factors): (u32, Activation, Argument),
        [from, to]: [&Surface; 2],
        pixels: u32,
    ) {
        let descriptor = PrescaledPixels {
            lanes: self.target.lanes,
            channels,
            in_step: from.pixel as i32,
            out_step: to.pixel as i32,
            load,
        };
        let kernel = self.kernel(Descriptor::PrescaledPixels(descriptor));
        let [from, to] = [from, to].map(|surface| surface.at(|origin| origin));
        b.call(kernel, vec![from, factors, to], Some(pixels));
    }
}
