//! Softmax over the channels of one pixel: exp(x - max) / sum(exp(x - max)).

use std::fmt;

use super::epilogue;
use crate::vector::{BinaryOp, Builder, F32, Kernel, Pointer, Slot, Times};

/// What a softmax kernel depends on. `scratch` points at one vector that the kernel may overwrite.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxPixel {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Channels; exactly these are read and written.
    pub channels: u32,
}

impl fmt::Display for SoftmaxPixel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "softmax_c{}_v{}", self.channels, self.lanes)
    }
}

/// Registers of a kernel under construction.
struct Registers {
    /// The maximum, in all lanes once it is joined.
    maximum: Slot,
    /// The sum, in all lanes once it is joined.
    sum: Slot,
    value: Slot,
    temporaries: Vec<Slot>,
    input: Pointer,
    out: Pointer,
}

impl SoftmaxPixel {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "out", "scratch"], false);
        let r = Registers {
            maximum: b.slot(),
            sum: b.slot(),
            value: b.slot(),
            temporaries: b.slots(4),
            input: b.pointer(),
            out: b.pointer(),
        };
        self.find_maximum(&mut b, &r);
        self.sum_of_powers(&mut b, &r);
        self.divide(&mut b, &r);
        b.finish(self.to_string())
    }

    /// Runs `each` with the number of lanes to treat: over whole vectors, then over the remaining
    /// channels one by one. The single channels are in all lanes when they come from a broadcast.
    /// Moves both pointers along.
    fn walk(&self, b: &mut Builder, r: &Registers, mut each: impl FnMut(&mut Builder, u32)) {
        b.point(r.input, b.parameter("in"), 0);
        b.point(r.out, b.parameter("out"), 0);
        let mut step = |b: &mut Builder, lanes: u32| {
            each(b, lanes);
            b.advance(r.input, lanes as i32 * F32);
            b.advance(r.out, lanes as i32 * F32);
        };
        b.repeat(Times::Exactly(self.channels / self.lanes), |b| step(b, self.lanes));
        b.repeat(Times::Exactly(self.channels % self.lanes), |b| step(b, 1));
    }

    /// Loads a whole vector, or one value into all lanes.
    fn load(&self, b: &mut Builder, dst: Slot, from: Pointer, lanes: u32) {
        if lanes == self.lanes { b.load(dst, from, 0) } else { b.broadcast(dst, from, 0) }
    }

    fn find_maximum(&self, b: &mut Builder, r: &Registers) {
        b.constant(r.maximum, f32::NEG_INFINITY);
        self.walk(b, r, |b, lanes| {
            self.load(b, r.value, r.input, lanes);
            b.binary(BinaryOp::Max, r.maximum, r.value, r.maximum);
        });
        self.join(b, BinaryOp::Max, r.maximum, r.value);
    }

    /// Stores the powers and adds them up. Powers of single channels go to a sum of their own,
    /// since they are in all lanes.
    fn sum_of_powers(&self, b: &mut Builder, r: &Registers) {
        let singles = r.temporaries[3];
        b.constant(r.sum, 0.0);
        b.constant(singles, 0.0);
        self.walk(b, r, |b, lanes| {
            self.load(b, r.value, r.input, lanes);
            b.binary(BinaryOp::Sub, r.value, r.value, r.maximum);
            epilogue::exp(b, r.value, &r.temporaries[..3]);
            b.store_lanes(r.value, r.out, 0, lanes);
            let sum = if lanes == self.lanes { r.sum } else { singles };
            b.binary(BinaryOp::Add, sum, sum, r.value);
        });
        self.join(b, BinaryOp::Add, r.sum, r.value);
        b.binary(BinaryOp::Add, r.sum, r.sum, singles);
    }

    fn divide(&self, b: &mut Builder, r: &Registers) {
        self.walk(b, r, |b, lanes| {
            self.load(b, r.value, r.out, lanes);
            b.binary(BinaryOp::Div, r.value, r.value, r.sum);
            b.store_lanes(r.value, r.out, 0, lanes);
        });
    }

    /// Combines the lanes of `slot` and leaves the result in all of them.
    fn join(&self, b: &mut Builder, op: BinaryOp, slot: Slot, temporary: Slot) {
        let scratch = b.parameter("scratch");
        b.store_lanes(slot, scratch, 0, self.lanes);
        b.broadcast(slot, scratch, 0);
        for lane in 1..self.lanes as i32 {
            b.broadcast(temporary, scratch, lane * F32);
            b.binary(op, slot, slot, temporary);
        }
    }
}
