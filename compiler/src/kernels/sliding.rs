//! Tiles of a convolution whose taps share their inputs: some pixels of a row by some vectors of output channels.
//!
//! Windows of neighbouring pixels overlap. Every input value is broadcast once for a row of taps and multiplied by
//! the weights of all taps that read it, for each of the pixels whose window it lies in. That takes fewer loads than a
//! [convolution tile](super::conv), and slots for the weights of a whole row of taps.
//!
//! Where outputs are few, inputs may be in shares: neighbouring ones, as many as there are shares, are read at once and repeated in
//! all lanes, each of which sums the products of one share for one output; in the end an output's sums are added up. That takes as
//! many times fewer multiply-adds.
//!
//! Weights are packed, and `in`, `weights` and `rows` say the same, as for a convolution tile; with shares, the lanes of an output
//! lie next to each other, and biases are those of the first share.

use std::fmt;

use super::conv::{FarResults, finish_panel, repeat_asking, start_from_bias};
use super::depthwise::columns;
use super::{Clip, TileSteps, epilogue, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{BinaryOp, Builder, F32, Kernel, Pointer, Slot, Times};

/// Input channels that one trip of the inner loop covers.
const UNROLL: u32 = 2;

/// What a tile with sliding windows depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlidingTile {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vectors of output channels.
    pub vectors: u32,
    /// Lanes stored of the last vector.
    pub last_lanes: u32,
    /// Input channels of the segment.
    pub ic: u32,
    /// Shares of the input channels, a power of two; more than one only in a single vector.
    pub shares: u32,
    /// Taps of a row.
    pub kw: u32,
    /// Whether there can be more than one row of taps.
    pub tall: bool,
    /// Distances in memory.
    pub steps: TileSteps,
    /// Pixels, and which taps each has.
    pub clip: Clip,
    /// Applied to the input.
    pub load: Activation,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
    /// As for a convolution tile.
    pub far: bool,
    /// Whether each result is two sums, of every other input channel, that are added in the end: multiply-adds of few results
    /// would wait for each other.
    pub halves: bool,
}

/// Results of a tile with which multiply-adds do not wait for each other: two begin in each of the four cycles that one takes.
const ENOUGH_RESULTS: usize = 8;

/// Into how many shares the inputs of a segment from `ic` to `oc` channels are cut, where they can be: a power of two.
pub fn shares(lanes: u32, (ic, oc): (u32, u32)) -> Option<u32> {
    let fits = |shares: &u32| oc * shares <= lanes && ic.is_multiple_of(*shares);
    (1..=lanes.ilog2()).rev().map(|power| 1 << power).find(fits)
}

/// Slots that a tile of `pixels` x `vectors` with `kw` taps in a row takes, whose inputs are in so many shares.
pub fn slots(pixels: u32, (vectors, shares): (u32, u32), kw: u32, load: Activation, post: &[Post]) -> usize {
    let pattern = usize::from(shares > 1);
    let inner = (kw * vectors) as usize + 1 + epilogue::activation_slots(load);
    (pixels * vectors) as usize + pattern + inner.max(epilogue::slots(post))
}

/// Whether a tile of so few results has slots for two sums of each, of those that are available.
pub fn takes_halves(
    (pixels, vectors, available): (u32, u32, usize),
    shares: u32,
    kw: u32,
    load: Activation,
    post: &[Post],
) -> bool {
    let results = (pixels * vectors) as usize;
    results < ENOUGH_RESULTS && results + slots(pixels, (vectors, shares), kw, load, post) <= available
}

impl fmt::Display for SlidingTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.tall { "n" } else { "1" };
        write!(f, "sliding_{rows}x{}_c{}", self.kw, self.ic)?;
        if self.shares > 1 {
            write!(f, "by{}", self.shares)?;
        }
        write!(f, "_v{}", self.lanes)?;
        write!(f, "_{}x{}", self.clip.pixels(), self.vectors)?;
        if self.last_lanes != self.lanes {
            write!(f, "_l{}", self.last_lanes)?;
        }
        self.steps.fmt(f)?;
        self.clip.name(self.kw, f)?;
        f.write_str(if self.far { "_far" } else { "" })?;
        f.write_str(if self.halves { "_halves" } else { "" })?;
        name_fusion(self.load, &self.post, f)
    }
}

/// Input columns by byte offset, each with the pixels and taps that read it.
type Columns = [(i32, Vec<(usize, u32)>)];

/// Registers of a tile under construction.
struct Registers {
    /// `accumulators[pixel][vector]`
    accumulators: Vec<Vec<Slot>>,
    /// The same for every other input channel, if results are two sums.
    others: Option<Vec<Vec<Slot>>>,
    /// `weights[tap][vector]`
    weights: Vec<Vec<Slot>>,
    value: Slot,
    /// For the activation of inputs; shared with the epilogue.
    temporaries: Vec<Slot>,
    /// For the sums of shares.
    pattern: Option<Slot>,
    /// Where the next input channel of the first pixel's tap 0 is, or would be.
    channel: Pointer,
}

impl SlidingTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "weights", "bias", "out", "add"], self.tall);
        let vectors = self.vectors as usize;
        let mut sums = || (0..self.clip.pixels()).map(|_| b.slots(vectors)).collect();
        let registers = Registers {
            accumulators: sums(),
            others: self.halves.then(sums),
            weights: (0..self.kw).map(|_| b.slots(vectors)).collect(),
            value: b.slot(),
            temporaries: b.slots(epilogue::activation_slots(self.load)),
            pattern: (self.shares > 1).then(|| b.slot()),
            channel: b.pointer(),
        };
        start_from_bias(&mut b, &registers.accumulators);
        registers.others.iter().flatten().flatten().for_each(|&sum| b.constant(sum, 0.0));
        let columns = columns(&self.clip, self.kw, &self.steps);
        let times = if self.tall { Times::Rows } else { Times::Exactly(1) };
        b.repeat(times, |b| self.row(b, &registers, &columns));
        self.finish(&mut b, &registers);
        b.finish(self.to_string())
    }

    /// Input channels of a share.
    fn places(&self) -> u32 {
        self.ic / self.shares
    }

    /// Bytes of weights for one input channel of each share and one tap.
    fn weight_step(&self) -> i32 {
        (self.vectors * self.lanes) as i32 * F32
    }

    /// One row of taps; leaves the pointers at the next one.
    fn row(&self, b: &mut Builder, r: &Registers, columns: &Columns) {
        let [input, weights] = ["in", "weights"].map(|name| b.parameter(name));
        b.point(r.channel, input, 0);
        let (trips, rest) = (self.places() / UNROLL, self.places() % UNROLL);
        let far = self.far.then(|| FarResults::new(b, &self.post, &self.steps, &r.accumulators));
        repeat_asking(b, trips, far, |b| self.channels(b, r, columns, UNROLL));
        self.channels(b, r, columns, rest);
        b.advance(weights, (self.kw - 1) as i32 * self.places() as i32 * self.weight_step());
        b.advance(input, self.steps.row);
    }

    /// The next `count` input channels of each share.
    fn channels(&self, b: &mut Builder, r: &Registers, columns: &Columns, count: u32) {
        (0..count as i32).for_each(|channel| self.channel(b, r, columns, channel));
        b.advance(r.channel, (count * self.shares) as i32 * F32);
        b.advance(b.parameter("weights"), count as i32 * self.weight_step());
    }

    fn channel(&self, b: &mut Builder, r: &Registers, columns: &Columns, channel: i32) {
        let weights = b.parameter("weights");
        for (tap, vectors) in (0..).zip(&r.weights) {
            let place = (tap * self.places() as i32 + channel) * self.weight_step();
            for (vector, &slot) in (0..).zip(vectors) {
                b.load(slot, weights, place + vector * b.vector_bytes());
            }
        }
        let sums = r.others.as_ref().filter(|_| channel % 2 == 1).unwrap_or(&r.accumulators);
        for (offset, uses) in columns {
            b.load_repeated(r.value, r.channel, offset + channel * self.shares as i32 * F32, self.shares);
            epilogue::activate(b, self.load, &[r.value], &r.temporaries);
            for &(pixel, tap) in uses {
                for (&accumulator, &weights) in sums[pixel].iter().zip(&r.weights[tap as usize]) {
                    b.fma(accumulator, weights, r.value);
                }
            }
        }
    }

    /// Adds up the sums of all shares, half of them at a time, and puts those of outputs next to each other.
    fn sum_shares(&self, b: &mut Builder, r: &Registers, pattern: Slot) {
        let sums = || r.accumulators.iter().flatten().copied();
        let lanes_from =
            |from: &dyn Fn(u32) -> u32| (0..self.lanes).map(|lane| from(lane).min(self.lanes - 1)).collect();
        let mut shares = self.shares;
        while shares > 1 {
            shares /= 2;
            b.pattern(pattern, lanes_from(&|lane| lane + shares));
            for sum in sums() {
                b.permute(r.value, sum, pattern);
                b.binary(BinaryOp::Add, sum, sum, r.value);
            }
        }
        b.pattern(pattern, lanes_from(&|lane| lane * self.shares));
        sums().for_each(|sum| b.permute(sum, sum, pattern));
    }

    fn finish(&self, b: &mut Builder, r: &Registers) {
        for (&sum, &other) in r.accumulators.iter().flatten().zip(r.others.iter().flatten().flatten()) {
            b.binary(BinaryOp::Add, sum, sum, other);
        }
        if let Some(pattern) = r.pattern {
            self.sum_shares(b, r, pattern);
        }
        let inner = r.weights.iter().flatten().chain([&r.value]).chain(&r.temporaries).copied();
        let rest = (&self.post[..], self.last_lanes, &self.steps);
        finish_panel(b, rest, &r.accumulators, inner.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_cut_into_as_many_shares_as_fit() {
        let cases = [
            (16, (8, 8), Some(2)),
            (16, (8, 4), Some(4)),
            (16, (16, 1), Some(16)),
            (16, (12, 2), Some(4)),
            (16, (128, 7), Some(2)),
            (4, (2, 2), Some(2)),
            (16, (5, 2), None),
            (16, (8, 9), None),
        ];
        for (lanes, channels, expected) in cases {
            assert_eq!(shares(lanes, channels), expected, "{channels:?} in {lanes} lanes");
        }
    }
}
