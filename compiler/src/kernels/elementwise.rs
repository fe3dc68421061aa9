//! Runs of pixels whose channels are scaled, shifted, activated, added to, or just copied.

use std::fmt;

use super::epilogue::{self, Format};
use super::name_fusion;
use crate::graph::{Activation, Post};
use crate::vector::{Builder, Kernel, Slot, Times};

/// What an elementwise run depends on. The `rows` count is the number of pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElementwiseRun {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Channels; exactly these are read and written.
    pub channels: u32,
    /// Bytes between pixels of the input.
    pub in_step: i32,
    /// Bytes between pixels of the output.
    pub out_step: i32,
    /// Bytes between pixels of the added operand.
    pub add_step: i32,
    /// Whether channels are multiplied by `scale` and then shifted by `shift`.
    pub affine: bool,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

impl fmt::Display for ElementwiseRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.affine { "affine" } else { "each" };
        write!(f, "{what}_c{}_v{}_i{}_o{}", self.channels, self.lanes, self.in_step, self.out_step)?;
        if self.add_step != 0 {
            write!(f, ".{}", self.add_step)?;
        }
        name_fusion(Activation::Linear, &self.post, f)
    }
}

const POINTERS: [&str; 5] = ["in", "out", "add", "scale", "shift"];

/// Slots of a run.
struct Registers {
    value: Slot,
    shifted: Slot,
    temporaries: Vec<Slot>,
}

impl ElementwiseRun {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &POINTERS, true);
        let registers = Registers {
            value: b.slot(),
            shifted: b.slot(),
            temporaries: b.slots(epilogue::slots(&self.post).max(1)),
        };
        b.repeat(Times::Rows, |b| self.pixel(b, &registers));
        b.finish(self.to_string())
    }

    /// All channels of one pixel; leaves the pointers at the next one.
    fn pixel(&self, b: &mut Builder, r: &Registers) {
        let (whole, rest) = (self.channels / self.lanes, self.channels % self.lanes);
        b.repeat(Times::Exactly(whole), |b| self.vector(b, r, self.lanes));
        if rest > 0 {
            self.vector(b, r, rest);
        }
        let moved = (self.channels.div_ceil(self.lanes)) as i32 * b.vector_bytes();
        for (name, step) in [("in", self.in_step), ("out", self.out_step), ("add", self.add_step)] {
            b.advance(b.parameter(name), step - moved);
        }
        for name in ["scale", "shift"] {
            b.advance(b.parameter(name), -moved);
        }
    }

    fn vector(&self, b: &mut Builder, r: &Registers, lanes: u32) {
        let [input, out, add, scale, shift] = POINTERS.map(|name| b.parameter(name));
        b.load_lanes(r.value, input, 0, lanes);
        let value = if self.affine {
            b.load_lanes(r.temporaries[0], scale, 0, lanes);
            b.load_lanes(r.shifted, shift, 0, lanes);
            b.fma(r.shifted, r.value, r.temporaries[0]);
            r.shifted
        } else {
            r.value
        };
        let result = epilogue::Result { value, out: 0, add: 0, lanes };
        epilogue::finish(b, (&self.post, Format::F32), &[result], [out, add], &r.temporaries);
        for name in POINTERS {
            b.advance(b.parameter(name), b.vector_bytes());
        }
    }
}
