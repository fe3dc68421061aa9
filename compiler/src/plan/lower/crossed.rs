//! Crossed products: pixels made ready for them, where they are computed or in a step of its own, and pointwise layers of such pixels.

use super::job::Job;
use super::maps::{Maps, set};
use super::place::Surface;
use super::{Operands, Planner, argument};
use crate::graph::{Activation, Conv, NodeId, Shape, Window};
use crate::kernels::Descriptor;
use crate::kernels::crossed::{self, CrossedPixels};
use crate::plan::forms::{Form, Panels, Taps};
use crate::plan::nest::{Argument, NestBuilder, Offset, Operand};
use crate::plan::values::View;
use crate::plan::{Part, Place, PlanError};
use crate::vector::F32;

impl Job<'_> {
    /// This pointwise convolution of pixels that are ready, in panels of so many vectors.
    pub(super) fn cross(&mut self, vectors: u32) {
        self.shape.vectors = vectors;
        self.forms = vec![Form::Panels(Panels { merged: 1, vectors, taps: Taps::Crossed })];
    }
}

impl Planner<'_> {
    /// A pointwise convolution of crossed products, in panels of so many vectors: a step that makes pixels ready, and one that
    /// multiplies.
    pub(super) fn crossed_conv(
        &mut self,
        id: NodeId,
        (conv, vectors): (&Conv, u32),
        maps: Maps,
    ) -> Result<(), PlanError> {
        let (load, post) = (self.graph.node(id).fusion.load, self.post(id));
        let mut job = self.job(id, conv, (Activation::Linear, post), u32::MAX)?;
        job.cross(vectors);
        let constants = self.pack(job.pack(self.program.target.lanes));
        let (memory, input) = self.ready_input(id, (conv, load), (maps, constants[1]));
        // Of the pixels that are read, and no others.
        let conv = Conv { window: Window::POINT, ..conv.clone() };
        let job = Job { conv: &conv, ..job };
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(memory);
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        let mut b = NestBuilder::new();
        self.panel_blocks(&mut b, &job, Maps { input, ..maps });
        self.step_of(id, Part::Products, b, operands);
        Ok(())
    }

    /// Where the factors of inputs lie among the packed biases of a pointwise convolution of crossed products.
    pub(super) fn factors(&self, conv: &Conv, biases: Operand) -> Argument {
        let words = crossed::factors(conv.partition.oc(), self.program.target.lanes);
        argument(biases, Offset::bytes(words as i64 * i64::from(F32)))
    }

    /// Makes neighbouring pixels ready.
    pub(super) fn ready_pixels(
        &mut self,
        b: &mut NestBuilder,
        (channels, load, factors): (u32, Activation, Argument),
        [from, to]: [&Surface; 2],
        pixels: u32,
    ) {
        let descriptor = CrossedPixels {
            lanes: self.program.target.lanes,
            channels,
            in_step: from.pixel as i32,
            out_step: to.pixel as i32,
            load,
        };
        let kernel = self.kernel(Descriptor::CrossedPixels(descriptor));
        let [from, to] = [from, to].map(|surface| surface.at(|origin| origin));
        b.call(kernel, vec![from, factors, to], Some(pixels));
    }

    /// The pixels that a pointwise convolution reads, ready and with an activation applied: as a step that leaves them in memory
    /// between steps.
    fn ready_input(
        &mut self,
        id: NodeId,
        (conv, load): (&Conv, Activation),
        (maps, biases): (Maps, Place),
    ) -> (Place, View) {
        let [rows, columns] = conv.window.strides.map(u64::from);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), conv.partition.ic());
        let pixel = self.program.target.pixel_bytes(crossed::room(shape.c(), self.program.target.lanes));
        let image = shape.pixels() * pixel;
        let memory = self.between_steps(u64::from(self.program.options.batch) * image);
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
        let factors = self.factors(conv, Operand::Bias);
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
        b.divide(self.program.options.batch, |b, image| {
            b.units(0..shape.h(), 1, |b, [row, _]| {
                let row_of = |surface: &Surface, bytes: u64| {
                    let surface = surface.image(image, bytes);
                    Surface { origin: surface.origin.clone().along(row, surface.row), ..surface }
                };
                let rows = [row_of(&from, input.image), row_of(&to, ready.image)];
                self.ready_pixels(b, (shape.c(), load, factors.clone()), rows.each_ref(), shape.w());
            });
        });
        self.step_of(id, Part::Inputs, b, operands);
    }
}
