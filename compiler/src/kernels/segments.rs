//! Tiles of a convolution in narrow segments: some pixels of a row, several segments side by side
//! in a vector.
//!
//! A vector holds the channels of neighbouring segments. For each place in a segment the channel
//! there is spread over its segment's lanes (a permutation) and multiplied by the weights from it
//! to all outputs of the segment, so segments of `ic` input channels take `ic` multiply-adds a tap
//! for the whole vector. Every input column is loaded, activated and spread once, whatever the
//! number of taps that read it. Weights are packed by vector, then tap row, then tap, then place
//! in the segment.

use std::fmt;

use super::depthwise::columns;
use super::epilogue::Format;
use super::{Clip, TileSteps, epilogue, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{Builder, F32, Kernel, Pointer, Slot, Times};

/// What a tile of narrow segments depends on. `in` and `weights` point as those of a convolution
/// tile do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentsTile {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Input channels of a segment.
    pub ic: u32,
    /// Output channels of a segment.
    pub oc: u32,
    /// Segments in a vector.
    pub packed: u32,
    /// Vectors, one behind the other.
    pub vectors: u32,
    /// Rows of taps of the whole kernel (how far the weights of two vectors lie apart).
    pub kh: u32,
    /// Taps of a row.
    pub kw: u32,
    /// Distances in memory.
    pub steps: TileSteps,
    /// Pixels, and which taps each has.
    pub clip: Clip,
    /// Applied to the input.
    pub load: Activation,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

/// How many of `count` segments that lie side by side, from `ic` to `oc` channels each, go into a
/// vector of inputs and one of outputs, where they can be packed: at least two.
pub fn packed(lanes: u32, (ic, oc): (u32, u32), count: u32) -> Option<u32> {
    Some(lanes / ic.max(oc)).filter(|&packed| packed.min(count) > 1)
}

/// Slots that a tile with this clip takes, or nothing when the activation of its input needs more
/// temporaries than there are.
pub fn slots(clip: &Clip, kw: u32, steps: &TileSteps, load: Activation, post: &[Post]) -> Option<usize> {
    let columns = columns(clip, kw, steps).len();
    let inner = kw as usize + 2;
    // The pattern is written before it is used, but never by anything else, so it is no temporary.
    let fits = load.traits().temporaries < inner;
    let extra = (epilogue::slots(post) + 1).saturating_sub(columns + inner);
    fits.then_some(clip.pixels() + columns + inner + extra)
}

impl fmt::Display for SegmentsTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segments_{}x{}_c{}x{}", self.kh, self.kw, self.packed, self.ic)?;
        if self.oc != self.ic {
            write!(f, "to{}", self.oc)?;
        }
        write!(f, "_v{}x{}_{}", self.lanes, self.vectors, self.clip.pixels())?;
        self.steps.fmt(f)?;
        self.clip.name(self.kw, f)?;
        name_fusion(self.load, &self.post, f)
    }
}

/// Registers of a tile under construction.
struct Registers {
    accumulators: Vec<Slot>,
    columns: Vec<Slot>,
    weights: Vec<Slot>,
    /// Which lane each lane is spread from.
    pattern: Slot,
    spread: Slot,
    /// Where the current row of taps is read.
    row: Pointer,
    /// Where the weights of the current row of taps are read.
    taps: Pointer,
}

impl SegmentsTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "weights", "bias", "out", "add"], true);
        let columns = columns(&self.clip, self.kw, &self.steps);
        let registers = Registers {
            accumulators: b.slots(self.clip.pixels()),
            columns: b.slots(columns.len()),
            weights: b.slots(self.kw as usize),
            pattern: b.slot(),
            spread: b.slot(),
            row: b.pointer(),
            taps: b.pointer(),
        };
        b.repeat(Times::Exactly(self.vectors), |b| self.vector(b, &registers, &columns));
        b.finish(self.to_string())
    }

    /// Whether every lane is where the products of its channel are summed.
    fn is_depthwise(&self) -> bool {
        (self.ic, self.oc) == (1, 1)
    }

    /// One vector of all pixels; leaves the pointers at the next one.
    fn vector(&self, b: &mut Builder, r: &Registers, columns: &[(i32, Vec<(usize, u32)>)]) {
        let [input, weights, bias] = ["in", "weights", "bias"].map(|name| b.parameter(name));
        for &accumulator in &r.accumulators {
            b.load(accumulator, bias, 0);
        }
        b.point(r.row, input, 0);
        b.point(r.taps, weights, 0);
        let row_of_weights = (self.kw * self.ic) as i32 * b.vector_bytes();
        b.repeat(Times::Rows, |b| {
            self.row(b, r, columns);
            b.advance(r.row, self.steps.row);
            b.advance(r.taps, row_of_weights);
        });
        self.finish(b, r);
        for (name, channels) in [("in", self.ic), ("out", self.oc), ("add", self.oc)] {
            b.advance(b.parameter(name), (self.packed * channels) as i32 * F32);
        }
        b.advance(bias, b.vector_bytes());
        b.advance(weights, self.kh as i32 * row_of_weights);
    }

    fn row(&self, b: &mut Builder, r: &Registers, columns: &[(i32, Vec<(usize, u32)>)]) {
        for (&slot, (offset, _)) in r.columns.iter().zip(columns) {
            b.load_lanes(slot, r.row, *offset, self.packed * self.ic);
        }
        let temporaries: Vec<Slot> = r.weights.iter().chain([&r.spread]).copied().collect();
        epilogue::activate(b, self.load, &r.columns, &temporaries);
        for place in 0..self.ic {
            for (tap, &slot) in (0..).zip(&r.weights) {
                b.load(slot, r.taps, (tap * self.ic + place) as i32 * b.vector_bytes());
            }
            self.spread(b, r, place);
            for (&column, (_, uses)) in r.columns.iter().zip(columns) {
                let spread = if self.is_depthwise() { column } else { r.spread };
                if !self.is_depthwise() {
                    b.permute(spread, column, r.pattern);
                }
                for &(pixel, tap) in uses {
                    b.fma(r.accumulators[pixel], spread, r.weights[tap as usize]);
                }
            }
        }
    }

    /// Sets the pattern that gives every lane the channel at `place` of its segment; lanes without
    /// a segment get any.
    fn spread(&self, b: &mut Builder, r: &Registers, place: u32) {
        if !self.is_depthwise() {
            let from = |lane: u32| (lane / self.oc).min(self.packed - 1) * self.ic + place;
            b.pattern(r.pattern, (0..self.lanes).map(from).collect());
        }
    }

    fn finish(&self, b: &mut Builder, r: &Registers) {
        let mut temporaries: Vec<Slot> =
            r.columns.iter().chain(&r.weights).chain([&r.spread]).copied().collect();
        temporaries.extend(b.slots(epilogue::slots(&self.post).saturating_sub(temporaries.len())));
        let result = |(pixel, &value): (usize, &Slot)| epilogue::Result {
            value,
            out: pixel as i32 * self.steps.out,
            add: pixel as i32 * self.steps.add,
            lanes: self.packed * self.oc,
        };
        let results: Vec<_> = r.accumulators.iter().enumerate().map(result).collect();
        let pointers = [b.parameter("out"), b.parameter("add")];
        epilogue::finish(b, (&self.post, Format::F32), &results, pointers, &temporaries);
    }
}
