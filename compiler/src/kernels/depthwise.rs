//! Tiles of a depthwise convolution: some pixels of a row, some vectors of channels.
//!
//! A vector holds neighbouring channels of one pixel. For each row of taps the weights stay in
//! slots, where there are slots enough, and every input column is loaded once, whatever the number
//! of taps that read it. Weights are packed by vector of channels, then tap row, then tap.

use std::fmt;

use super::epilogue::{self, Format, Planes};
use super::{Clip, TileSteps, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{Builder, CacheLevel, Kernel, Pointer, Slot, Times};

/// What a depthwise tile depends on. `in` and `weights` point as those of a convolution tile do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DepthwiseTile {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vectors of channels.
    pub vectors: u32,
    /// Rows of taps of the whole kernel (how far the weights of two vectors lie apart).
    pub kh: u32,
    /// Taps of a row.
    pub kw: u32,
    /// Whether the weights of a row of taps stay in slots. If not, each is loaded for itself, and
    /// inputs once for every tap that reads them, so that any number of taps fits.
    pub resident: bool,
    /// Distances in memory.
    pub steps: TileSteps,
    /// Pixels, and which taps each has.
    pub clip: Clip,
    /// Applied to the input.
    pub load: Activation,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
    /// How results are stored. In other formats than f32, the padding behind the channels is
    /// stored as finite numbers up to an even number of vectors.
    pub format: Format,
    /// Lanes read of the last vector.
    pub last_lanes: u32,
}

/// Slots that a tile of `pixels` takes with `weights` weights in slots at a time.
pub fn slots(pixels: u32, weights: u32, load: Activation, (post, format): (&[Post], Format)) -> usize {
    let finish = epilogue::slots(post).max(format.slots());
    pixels as usize + (weights as usize + 1 + load.traits().temporaries).max(finish)
}

impl fmt::Display for DepthwiseTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "depthwise_{}x{}_v{}x{}", self.kh, self.kw, self.lanes, self.vectors)?;
        write!(f, "_{}{}", self.clip.pixels(), if self.resident { "" } else { "_stream" })?;
        self.steps.fmt(f)?;
        if self.last_lanes != self.lanes {
            write!(f, "_l{}", self.last_lanes)?;
        }
        self.clip.name(self.kw, f)?;
        name_fusion(self.load, &self.post, f)?;
        self.format.fmt(f)
    }
}

/// Registers of a tile under construction.
struct Registers {
    accumulators: Vec<Slot>,
    weights: Vec<Slot>,
    column: Slot,
    temporaries: Vec<Slot>,
    /// Where the current row of taps is read.
    row: Pointer,
    /// Where the weights of the current row of taps are read.
    taps: Pointer,
}

impl DepthwiseTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "weights", "bias", "out", "add"], true);
        let registers = Registers {
            accumulators: b.slots(self.clip.pixels()),
            weights: b.slots(if self.resident { self.kw as usize } else { 1 }),
            column: b.slot(),
            temporaries: b.slots(self.load.traits().temporaries),
            row: b.pointer(),
            taps: b.pointer(),
        };
        if self.last_lanes == self.lanes {
            b.repeat(Times::Exactly(self.vectors), |b| self.vector(b, &registers, self.lanes));
        } else {
            b.repeat(Times::Exactly(self.vectors - 1), |b| self.vector(b, &registers, self.lanes));
            self.vector(&mut b, &registers, self.last_lanes);
        }
        if let Format::Bf16(planes) = self.format
            && self.vectors % 2 == 1
        {
            self.zero_vector(&mut b, &registers, planes);
        }
        b.finish(self.to_string())
    }

    /// A vector of zeros behind the channels of all pixels.
    fn zero_vector(&self, b: &mut Builder, r: &Registers, planes: Planes) {
        let out = b.parameter("out");
        for pixel in 0..self.clip.pixels() as i32 {
            b.constant(r.column, 0.0);
            epilogue::store(b, planes, r.column, (out, pixel * self.steps.out), &r.weights);
        }
    }

    /// One vector of channels of all pixels; leaves the pointers at the next one.
    fn vector(&self, b: &mut Builder, r: &Registers, lanes: u32) {
        let [input, weights, bias] = ["in", "weights", "bias"].map(|name| b.parameter(name));
        for &accumulator in &r.accumulators {
            b.load(accumulator, bias, 0);
        }
        b.point(r.row, input, 0);
        b.point(r.taps, weights, 0);
        if self.format != Format::F32 {
            self.ask_for_next_row(b);
        }
        b.repeat(Times::Rows, |b| {
            if self.resident {
                self.row(b, r, lanes)
            } else {
                self.streamed_row(b, r, lanes)
            }
            b.advance(r.row, self.steps.row);
            b.advance(r.taps, self.kw as i32 * b.vector_bytes());
        });
        self.finish(b, r);
        let bytes = b.vector_bytes();
        let stored = self.lanes as i32 * self.format.bytes();
        for (name, bytes) in [("in", bytes), ("bias", bytes), ("out", stored), ("add", bytes)] {
            b.advance(b.parameter(name), bytes);
        }
        b.advance(weights, (self.kh * self.kw) as i32 * bytes);
    }

    /// Asks for what the next row of pixels reads and this one does not: a row of the input, of
    /// which each pixel asks for the middle of its window. Vectors of neighbouring pixels are too
    /// far apart for processors to foresee.
    fn ask_for_next_row(&self, b: &mut Builder) {
        let [row, tap, pixel] = [self.steps.row, self.steps.tap, self.steps.pixel].map(i64::from);
        let middle = i64::from(self.kh) * row + i64::from(self.kw / 2) * tap;
        let columns = (0..self.clip.pixels() as i64).map(|number| middle + number * pixel);
        // Rows that are farther away than an instruction reaches are not asked for.
        for column in columns.filter_map(|column| i32::try_from(column).ok()) {
            b.prefetch(CacheLevel::Second, b.parameter("in"), column);
        }
    }

    fn row(&self, b: &mut Builder, r: &Registers, lanes: u32) {
        let bytes = b.vector_bytes();
        for (tap, &slot) in r.weights.iter().enumerate() {
            b.load(slot, r.taps, tap as i32 * bytes);
        }
        for (offset, uses) in columns(&self.clip, self.kw, &self.steps) {
            b.load_lanes(r.column, r.row, offset, lanes);
            epilogue::activate(b, self.load, &[r.column], &r.temporaries);
            for (pixel, tap) in uses {
                b.fma(r.accumulators[pixel], r.column, r.weights[tap as usize]);
            }
        }
    }

    fn streamed_row(&self, b: &mut Builder, r: &Registers, lanes: u32) {
        for tap in 0..self.kw {
            b.load(r.weights[0], r.taps, tap as i32 * b.vector_bytes());
            for pixel in self.clip.pixels_with(tap) {
                b.load_lanes(r.column, r.row, column(pixel, tap, &self.steps), lanes);
                epilogue::activate(b, self.load, &[r.column], &r.temporaries);
                b.fma(r.accumulators[pixel], r.column, r.weights[0]);
            }
        }
    }

    fn finish(&self, b: &mut Builder, r: &Registers) {
        let mut temporaries: Vec<Slot> =
            r.weights.iter().chain([&r.column]).chain(&r.temporaries).copied().collect();
        temporaries.extend(b.slots(epilogue::slots(&self.post).saturating_sub(temporaries.len())));
        finish_pixels(b, (&self.post, self.format), &r.accumulators, &self.steps, &temporaries);
    }
}

/// Ends a kernel whose results are one vector for each pixel.
pub(super) fn finish_pixels(
    b: &mut Builder,
    finish: (&[Post], Format),
    values: &[Slot],
    steps: &TileSteps,
    temporaries: &[Slot],
) {
    let result = |(pixel, &value): (usize, &Slot)| epilogue::Result {
        value,
        out: pixel as i32 * steps.out,
        add: pixel as i32 * steps.add,
        lanes: b.lanes(),
    };
    let results: Vec<_> = values.iter().enumerate().map(result).collect();
    let pointers = [b.parameter("out"), b.parameter("add")];
    epilogue::finish(b, finish, &results, pointers, temporaries);
}

/// The byte offset of the input that a pixel's tap reads; plans keep it within 32 bits.
fn column(pixel: usize, tap: u32, steps: &TileSteps) -> i32 {
    pixel as i32 * steps.pixel + tap as i32 * steps.tap
}

/// The input columns that the pixels of a tile read, by byte offset, each with the pixels and taps
/// that read it.
pub(super) fn columns(clip: &Clip, kw: u32, steps: &TileSteps) -> Vec<(i32, Vec<(usize, u32)>)> {
    let mut columns = std::collections::BTreeMap::<i32, Vec<(usize, u32)>>::new();
    for tap in 0..kw {
        for pixel in clip.pixels_with(tap) {
            columns.entry(column(pixel, tap, steps)).or_default().push((pixel, tap));
        }
    }
    columns.into_iter().collect()
}
