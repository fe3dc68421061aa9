//! Pointwise convolutions by the fast inner product: of two products of an input and a weight, one
//! is computed, and sums stand for the other.
//!
//! S. Winograd ("A New Algorithm for Inner Product", IEEE Transactions on Computers, 1968) pairs
//! two inputs x, x' and their weights w, w':
//!
//! ```text
//! (x + w') (x' + w)  =  x w + x' w'  +  (x x' + w w')
//! (x - w') (w - x')  =  x w + x' w'  -  (x x' + w w')
//! ```
//!
//! The sums of x x' belong to a pixel and those of w w' to an output, so they are computed once.
//! What is left are one multiplication and two additions for two multiplications. That pays where
//! a processor adds beside its multiply-adds: of three inputs, two are paired and one is
//! multiplied as ever, so that there are as many additions as multiply-adds, in two thirds of the
//! time of three multiply-adds.
//!
//! Inputs and weights that differ in size would lose digits in their sums. So each input is
//! multiplied by a power of two that its weights are divided by, after which the weights of all
//! inputs are about alike; the weights of each output are multiplied by another; and the inputs of
//! a pixel are divided by the largest of them (R. P. Brent, "Algorithms for Matrix
//! Multiplication", 1970). Neighbouring lanes take the two forms in turn, so that the sums of x x'
//! stay small even where all inputs are positive. Errors are then about those of plain sums.
//!
//! Channels are taken in groups of three vectors: lane by lane, the first two are paired, the
//! third is not. Channels behind the last whole group are not paired, either. A
//! [`PrescaledPixels`] prescales pixels, a [`FastInnerTile`] multiplies them.

use std::fmt;

use super::conv::{CACHE_LINE, FarResults, finish_panel, repeat_asking};
use super::{TileSteps, epilogue, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{BinaryOp, Builder, CacheLevel, F32, Kernel, Pointer, Slot, Times};

/// Vectors of a group of channels.
const GROUP: u32 = 3;

/// Constants of an output: what its sum begins with, what it is multiplied by, and its bias; each
/// is a row of a panel. Behind those of all panels lie the factors of inputs.
pub const CONSTANTS: u32 = 3;

/// Words of the constants, but for weights, of a layer of so many inputs and outputs.
pub fn constants((ic, oc): (u32, u32), lanes: u32) -> u64 {
    factors(oc, lanes) + u64::from(ic.next_multiple_of(lanes))
}

/// Words before the factors of inputs.
pub fn factors(oc: u32, lanes: u32) -> u64 {
    u64::from(oc.next_multiple_of(lanes)) * u64::from(CONSTANTS)
}

/// The least that inputs of a pixel are divided by. Zeros are divided by it, too, and their
/// results multiplied by zero.
const SMALLEST: f32 = 1e-30;
/// And the most: inverses of larger numbers are denormal.
const LARGEST: f32 = 8e37;

/// Whole groups of some channels.
fn groups(channels: u32, lanes: u32) -> u32 {
    channels / (GROUP * lanes)
}

/// The channels, in the order in which tiles multiply them.
pub fn order(channels: u32, lanes: u32) -> impl Iterator<Item = u32> {
    let fast_inner = groups(channels, lanes) * GROUP * lanes;
    let of_group = move |place: u32| place % GROUP * lanes + place / GROUP;
    let in_groups = (0..fast_inner).map(move |at| at - at % (GROUP * lanes) + of_group(at % (GROUP * lanes)));
    in_groups.chain(fast_inner..channels)
}

/// Sign of the correction w w' in what a sum begins with, for each pair of rows in
/// [`order`]: the number of the first row and -1 or 1.
pub fn pairs(channels: u32, lanes: u32) -> impl Iterator<Item = (u32, f64)> {
    let pair = |lane: u32| (GROUP * lane, if is_by_sums(lane) { -1.0 } else { 1.0 });
    (0..groups(channels, lanes) * lanes).map(pair)
}

/// True if the pair of a lane is multiplied as sums, false if as differences.
fn is_by_sums(lane: u32) -> bool {
    lane.is_multiple_of(2)
}

/// Multiplications that an output of a pixel saves.
pub fn products_saved(channels: u32, lanes: u32) -> u32 {
    groups(channels, lanes) * lanes
}

/// Channels that a pixel has room for when it is ready: behind its own, padded to whole vectors,
/// lie two numbers.
pub fn room(channels: u32, lanes: u32) -> u32 {
    channels.next_multiple_of(lanes) + lanes
}

/// Where in a pixel the two numbers lie: what its sums begin with, and what its results are
/// multiplied by.
fn numbers(channels: u32, lanes: u32) -> [i32; 2] {
    let start = channels.next_multiple_of(lanes) as i32 * F32;
    [start, start + F32]
}

/// Pixels that are made ready; input and output may be the same. The `rows` count is the number of
/// pixels, `factors` points at those of inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrescaledPixels {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Channels.
    pub channels: u32,
    /// Bytes between pixels of the input.
    pub in_step: i32,
    /// Bytes between pixels of the output.
    pub out_step: i32,
    /// Applied to the input.
    pub load: Activation,
}

impl fmt::Display for PrescaledPixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prescale_c{}_v{}_i{}_o{}", self.channels, self.lanes, self.in_step, self.out_step)?;
        name_fusion(self.load, &[], f)
    }
}

/// Slots and pointers of pixels under construction.
struct PixelRegisters {
    /// The largest and the smallest value of each vector of a group, and then the largest
    /// magnitude and its inverse: several, since each comparison waits for the one before.
    high: Vec<Slot>,
    low: Vec<Slot>,
    /// What sums begin with.
    start: Slot,
    values: Vec<Slot>,
    product: Slot,
    /// Whether there is a value that is not zero: 1, or else 0.
    any: Slot,
    /// Each lane's partner in the rounds of a sum over lanes.
    partners: Vec<Slot>,
    from: Pointer,
    to: Pointer,
    factors: Pointer,
}

impl PrescaledPixels {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "factors", "out"], true);
        let r = PixelRegisters {
            high: b.slots(GROUP as usize),
            low: b.slots(GROUP as usize),
            start: b.slot(),
            values: b.slots(GROUP as usize),
            product: b.slot(),
            any: b.slot(),
            partners: b.slots(self.lanes.ilog2() as usize),
            from: b.pointer(),
            to: b.pointer(),
            factors: b.pointer(),
        };
        for (round, &partner) in r.partners.iter().enumerate() {
            b.pattern(partner, (0..self.lanes).map(|lane| lane ^ (1 << round)).collect());
        }
        b.repeat(Times::Rows, |b| {
            self.find_largest(b, &r);
            self.scale(b, &r);
            b.advance(b.parameter("in"), self.in_step);
            b.advance(b.parameter("out"), self.out_step);
        });
        b.finish(self.to_string())
    }

    /// Writes inputs times their factors, and leaves in the first of `high` the largest magnitude
    /// of them, in that of `low` its inverse.
    fn find_largest(&self, b: &mut Builder, r: &PixelRegisters) {
        b.point(r.from, b.parameter("in"), 0);
        b.point(r.to, b.parameter("out"), 0);
        b.point(r.factors, b.parameter("factors"), 0);
        r.high.iter().chain(&r.low).for_each(|&slot| b.constant(slot, 0.0));
        let (whole, rest) = (self.channels / self.lanes, self.channels % self.lanes);
        b.repeat(Times::Exactly(whole / GROUP), |b| self.compare(b, r, (GROUP, self.lanes)));
        self.compare(b, r, (whole % GROUP, self.lanes));
        if rest > 0 {
            self.compare(b, r, (1, rest));
        }
        let (high, low, zero) = (r.high[0], r.low[0], r.start);
        for vector in 1..GROUP as usize {
            b.binary(BinaryOp::Max, high, high, r.high[vector]);
            b.binary(BinaryOp::Min, low, low, r.low[vector]);
        }
        b.constant(zero, 0.0);
        b.binary(BinaryOp::Sub, low, zero, low);
        b.binary(BinaryOp::Max, high, high, low);
        self.join(b, [BinaryOp::Max; 2], high, r);
        self.find_any(b, r);
        for (op, bound) in [(BinaryOp::Min, LARGEST), (BinaryOp::Max, SMALLEST)] {
            b.constant(low, bound);
            b.binary(op, high, high, low);
        }
        b.constant(low, 1.0);
        b.binary(BinaryOp::Div, low, low, high);
    }

    /// Sets `any`. The least number that is not zero, taken to more than 1 by two factors; the
    /// largest becomes infinite.
    fn find_any(&self, b: &mut Builder, r: &PixelRegisters) {
        let constant = r.low[0];
        b.constant(constant, 1e38);
        b.binary(BinaryOp::Mul, r.any, r.high[0], constant);
        b.binary(BinaryOp::Mul, r.any, r.any, constant);
        b.constant(constant, 1.0);
        b.binary(BinaryOp::Min, r.any, r.any, constant);
    }

    /// Compares some vectors with what was found.
    fn compare(&self, b: &mut Builder, r: &PixelRegisters, (vectors, lanes): (u32, u32)) {
        // As many as any activation needs; nothing is in them yet.
        let (value, temporaries) = (r.values[0], [r.values[1], r.values[2], r.product, r.start]);
        for vector in 0..vectors as usize {
            let offset = vector as i32 * b.vector_bytes();
            b.load_lanes(value, r.from, offset, lanes);
            epilogue::activate(b, self.load, &[value], &temporaries);
            b.load_lanes(temporaries[0], r.factors, offset, lanes);
            b.binary(BinaryOp::Mul, value, value, temporaries[0]);
            b.store_lanes(value, r.to, offset, lanes);
            b.binary(BinaryOp::Max, r.high[vector], value, r.high[vector]);
            b.binary(BinaryOp::Min, r.low[vector], value, r.low[vector]);
        }
        for pointer in [r.from, r.to, r.factors] {
            b.advance(pointer, vectors as i32 * b.vector_bytes());
        }
    }

    /// Writes the scaled values, and the two numbers behind them.
    fn scale(&self, b: &mut Builder, r: &PixelRegisters) {
        b.point(r.to, b.parameter("out"), 0);
        b.constant(r.start, 0.0);
        let groups = groups(self.channels, self.lanes);
        b.repeat(Times::Exactly(groups), |b| self.group(b, r));
        let rest = self.channels - groups * GROUP * self.lanes;
        self.values(b, r, (rest / self.lanes, self.lanes));
        if !rest.is_multiple_of(self.lanes) {
            self.values(b, r, (1, rest % self.lanes));
        }
        self.join(b, [BinaryOp::Sub, BinaryOp::Add], r.start, r);
        let [start, factor] = numbers(self.channels, self.lanes);
        b.store_lanes(r.start, b.parameter("out"), start, 1);
        b.binary(BinaryOp::Mul, r.high[0], r.high[0], r.any);
        b.store_lanes(r.high[0], b.parameter("out"), factor, 1);
    }

    /// A group, whose products of pairs are taken from what sums begin with.
    fn group(&self, b: &mut Builder, r: &PixelRegisters) {
        self.values(b, r, (GROUP, self.lanes));
        b.binary(BinaryOp::Mul, r.product, r.values[0], r.values[1]);
        b.binary(BinaryOp::Sub, r.start, r.start, r.product);
    }

    /// Scales some vectors, of which so many lanes are values, and leaves them in `values`.
    fn values(&self, b: &mut Builder, r: &PixelRegisters, (vectors, lanes): (u32, u32)) {
        for (vector, &value) in r.values.iter().enumerate().take(vectors as usize) {
            let offset = vector as i32 * b.vector_bytes();
            b.load_lanes(value, r.to, offset, lanes);
            b.binary(BinaryOp::Mul, value, value, r.low[0]);
            b.store_lanes(value, r.to, offset, self.lanes);
        }
        b.advance(r.to, vectors as i32 * b.vector_bytes());
    }

    /// Combines the lanes of a slot and leaves the result in the first of them, and in all where
    /// the operations are symmetric: each even lane with the next one, and then these.
    fn join(&self, b: &mut Builder, [first, others]: [BinaryOp; 2], slot: Slot, r: &PixelRegisters) {
        for (round, &partner) in r.partners.iter().enumerate() {
            let op = if round == 0 { first } else { others };
            b.permute(r.product, slot, partner);
            b.binary(op, slot, slot, r.product);
        }
    }
}

/// A tile of pixels that are ready by some vectors of outputs. `weights` points at rows of a panel
/// in [`order`], `bias` at its rows of [`CONSTANTS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FastInnerTile {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Pixels.
    pub pixels: u32,
    /// Vectors of output channels.
    pub vectors: u32,
    /// Lanes stored of the last vector.
    pub last_lanes: u32,
    /// Input channels.
    pub ic: u32,
    /// Distances in memory.
    pub steps: TileSteps,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
    /// Cache lines that are brought near while the tile is computed, as for a
    /// [`ConvTile`](super::conv::ConvTile).
    pub ahead: u32,
    /// Whether results and the added operand lie where no near cache holds them, as for a
    /// [`ConvTile`](super::conv::ConvTile).
    pub far: bool,
}

/// Lanes of a group that one trip of a tile's inner loop covers: one by sums, one by differences.
/// Longer loops are slower (benches/LOG.md).
const LANES_AT_ONCE: u32 = 2;

/// Inputs without a pair in a trip of their loop.
const PLAIN_AT_ONCE: u32 = 4;

/// Slots that a tile of `pixels` x `vectors` takes.
pub fn slots(pixels: u32, vectors: u32, post: &[Post]) -> usize {
    let factors = GROUP * vectors + GROUP + 2;
    (pixels * vectors) as usize + (factors as usize).max(epilogue::slots(post))
}

impl fmt::Display for FastInnerTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fast_inner_c{}_v{}_{}x{}", self.ic, self.lanes, self.pixels, self.vectors)?;
        if self.last_lanes != self.lanes {
            write!(f, "_l{}", self.last_lanes)?;
        }
        self.steps.fmt(f)?;
        if self.ahead > 0 {
            write!(f, "_ahead{}", self.ahead)?;
        }
        f.write_str(if self.far { "_far" } else { "" })?;
        name_fusion(Activation::Linear, &self.post, f)
    }
}

/// Slots and pointers of a tile under construction.
struct TileRegisters {
    /// `sums[pixel][vector]`
    sums: Vec<Vec<Slot>>,
    /// Weights of the three channels of a lane.
    weights: [Vec<Slot>; GROUP as usize],
    /// Their inputs.
    inputs: Vec<Slot>,
    /// The two sums of a pair.
    fast_inner: [Slot; 2],
    /// Where the next inputs are read.
    input: Pointer,
    panel: Pointer,
}

impl FastInnerTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let all = ["in", "weights", "bias", "out", "add", "ahead"];
        let pointers = if self.ahead > 0 { &all[..] } else { &all[..5] };
        let mut b = Builder::new(self.lanes, pointers, false);
        let vectors = self.vectors as usize;
        let r = TileRegisters {
            sums: (0..self.pixels).map(|_| b.slots(vectors)).collect(),
            weights: std::array::from_fn(|_| b.slots(vectors)),
            inputs: b.slots(GROUP as usize),
            fast_inner: [b.slot(), b.slot()],
            input: b.pointer(),
            panel: b.parameter("weights"),
        };
        self.start(&mut b, &r);
        self.channels(&mut b, &r);
        self.finish(&mut b, &r);
        b.finish(self.to_string())
    }

    /// The byte offset of a vector in a row of the constants of the panel's outputs.
    fn constant(&self, row: u32, vector: usize) -> i32 {
        ((row * self.vectors + vector as u32) * self.lanes) as i32 * F32
    }

    /// Sets sums to what those of their pixel and of their output begin with.
    fn start(&self, b: &mut Builder, r: &TileRegisters) {
        let (input, bias) = (b.parameter("in"), b.parameter("bias"));
        let [start, _] = numbers(self.ic, self.lanes);
        for (vector, &slot) in r.weights[0].iter().enumerate() {
            b.load(slot, bias, self.constant(0, vector));
        }
        for (pixel, sums) in r.sums.iter().enumerate() {
            b.broadcast(r.inputs[0], input, pixel as i32 * self.steps.pixel + start);
            for (&sum, &of_output) in sums.iter().zip(&r.weights[0]) {
                b.binary(BinaryOp::Add, sum, r.inputs[0], of_output);
            }
        }
    }

    /// All input channels.
    fn channels(&self, b: &mut Builder, r: &TileRegisters) {
        b.point(r.input, b.parameter("in"), 0);
        let groups = groups(self.ic, self.lanes);
        let shape = (self.pixels as usize, self.vectors as usize);
        let far = self.far.then(|| FarResults::new(b, &self.post, &self.steps, shape));
        repeat_asking(b, groups, far, |b| self.group(b, r));
        let rest = self.ic - groups * GROUP * self.lanes;
        b.repeat(Times::Exactly(rest / PLAIN_AT_ONCE), |b| self.plain_channels(b, r, PLAIN_AT_ONCE));
        self.plain_channels(b, r, rest % PLAIN_AT_ONCE);
    }

    /// Bytes of weights for one input channel.
    fn weight_step(&self) -> i32 {
        (self.vectors * self.lanes) as i32 * F32
    }

    /// A group of channels.
    fn group(&self, b: &mut Builder, r: &TileRegisters) {
        b.repeat(Times::Exactly(self.lanes / LANES_AT_ONCE), |b| {
            (0..LANES_AT_ONCE).for_each(|lane| self.lane(b, r, lane));
            self.read(b, r, (LANES_AT_ONCE, GROUP * LANES_AT_ONCE));
        });
        b.advance(r.input, ((GROUP - 1) * self.lanes) as i32 * F32);
    }

    /// Moves on by so many lanes of inputs and rows of weights, and brings the rows' share of
    /// cache lines near.
    fn read(&self, b: &mut Builder, r: &TileRegisters, (lanes, rows): (u32, u32)) {
        b.advance(r.input, lanes as i32 * F32);
        b.advance(r.panel, rows as i32 * self.weight_step());
        if self.ahead > 0 && rows > 0 {
            let ahead = b.parameter("ahead");
            let lines = (self.ahead * rows).div_ceil(self.ic) as i32;
            (0..lines).for_each(|line| b.prefetch(CacheLevel::Second, ahead, line * CACHE_LINE));
            b.advance(ahead, lines * CACHE_LINE);
        }
    }

    /// The three channels of a lane.
    fn lane(&self, b: &mut Builder, r: &TileRegisters, lane: u32) {
        for (channel, weights) in r.weights.iter().enumerate() {
            self.load_weights(b, r, weights, GROUP * lane + channel as u32);
        }
        for (pixel, sums) in r.sums.iter().enumerate() {
            for (channel, &input) in r.inputs.iter().enumerate() {
                let value = (channel as u32 * self.lanes + lane) as i32 * F32;
                b.broadcast(input, r.input, pixel as i32 * self.steps.pixel + value);
            }
            for (vector, &sum) in sums.iter().enumerate() {
                let [first, second, third] = std::array::from_fn(|channel| r.weights[channel][vector]);
                self.pair(b, r, [first, second], lane);
                b.fma(sum, r.fast_inner[0], r.fast_inner[1]);
                b.fma(sum, third, r.inputs[2]);
            }
        }
    }

    /// The factors of the product of a pair.
    fn pair(&self, b: &mut Builder, r: &TileRegisters, weights: [Slot; 2], lane: u32) {
        let op = if is_by_sums(lane) { BinaryOp::Add } else { BinaryOp::Sub };
        b.binary(op, r.fast_inner[0], r.inputs[0], weights[1]);
        b.binary(op, r.fast_inner[1], weights[0], r.inputs[1]);
    }

    fn load_weights(&self, b: &mut Builder, r: &TileRegisters, slots: &[Slot], row: u32) {
        for (vector, &slot) in slots.iter().enumerate() {
            b.load(slot, r.panel, row as i32 * self.weight_step() + vector as i32 * b.vector_bytes());
        }
    }

    /// Some channels without a pair.
    fn plain_channels(&self, b: &mut Builder, r: &TileRegisters, count: u32) {
        for channel in 0..count {
            self.load_weights(b, r, &r.weights[0], channel);
            for (pixel, sums) in r.sums.iter().enumerate() {
                let offset = pixel as i32 * self.steps.pixel + channel as i32 * F32;
                b.broadcast(r.inputs[0], r.input, offset);
                let products = sums.iter().zip(&r.weights[0]);
                products.for_each(|(&sum, &weights)| b.fma(sum, weights, r.inputs[0]));
            }
        }
        self.read(b, r, (count, count));
    }

    /// Undoes the scaling, adds biases, and stores.
    fn finish(&self, b: &mut Builder, r: &TileRegisters) {
        let (input, bias) = (b.parameter("in"), b.parameter("bias"));
        let [_, factor] = numbers(self.ic, self.lanes);
        for vector in 0..self.vectors as usize {
            b.load(r.weights[0][vector], bias, self.constant(1, vector));
            b.load(r.weights[1][vector], bias, self.constant(2, vector));
        }
        for (pixel, sums) in r.sums.iter().enumerate() {
            b.broadcast(r.inputs[0], input, pixel as i32 * self.steps.pixel + factor);
            for (vector, &sum) in sums.iter().enumerate() {
                b.binary(BinaryOp::Mul, sum, sum, r.inputs[0]);
                b.binary(BinaryOp::Mul, sum, sum, r.weights[0][vector]);
                b.binary(BinaryOp::Add, sum, sum, r.weights[1][vector]);
            }
        }
        let inner = r.weights.iter().flatten().chain(&r.inputs).chain(&r.fast_inner).copied().collect();
        finish_panel(b, (&self.post, self.last_lanes, &self.steps), &r.sums, inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_is_multiplied_once_and_pairs_are_a_vector_apart() {
        for (channels, lanes) in [(5, 4), (12, 4), (31, 4), (48, 16), (100, 16), (728, 16)] {
            let order: Vec<u32> = order(channels, lanes).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..channels), "{channels} channels, {lanes} lanes");
            let pairs: Vec<(u32, f64)> = pairs(channels, lanes).collect();
            assert_eq!(pairs.len() as u32, products_saved(channels, lanes));
            for (row, sign) in pairs {
                let [first, second] = [row, row + 1].map(|row| order[row as usize]);
                assert_eq!(second, first + lanes);
                assert_eq!(sign < 0.0, first % lanes % 2 == 0);
            }
        }
    }
}
