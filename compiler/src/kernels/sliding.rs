//! Tiles of a convolution whose taps share their inputs: some pixels of a row by some vectors of
//! output channels.
//!
//! Windows of neighbouring pixels overlap. Every input value is broadcast once for a row of taps
//! and multiplied by the weights of all taps that read it, for each of the pixels whose window it
//! lies in. That takes fewer loads than a [convolution tile](super::conv), and slots for the
//! weights of a whole row of taps.
//!
//! Where outputs are few, an output may have several lanes next to each other, which takes as many
//! times fewer multiply-adds: neighbouring values are read at once and repeated in all lanes. They
//! are inputs in shares, of which a lane sums the products of one share; in the end an output's
//! sums are added up. Or, where there is a single input, they are pixels, each with a sum of its
//! own.
//!
//! Weights are packed, and `in`, `weights` and `rows` say the same, as for a convolution tile;
//! with shares, biases are those of the first one.

use std::collections::BTreeMap;
use std::fmt;

use super::conv::{FarResults, finish_panel, repeat_asking, start_from_bias};
use super::epilogue::Format;
use super::{Clip, TileSteps, epilogue, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{BinaryOp, Builder, F32, Kernel, Pointer, Slot, Times};

/// Input channels that one trip of the inner loop covers.
const UNROLL: u32 = 2;

/// What the lanes of a vector of sums are, next to each other for each output. Numbers are powers
/// of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
    /// A lane for each output.
    Outputs,
    /// So many neighbouring inputs.
    Inputs(u32),
    /// So many neighbouring pixels.
    Pixels(u32),
}

impl Beside {
    /// Lanes of an output.
    pub fn lanes(self) -> u32 {
        self.shares() * self.pixels()
    }

    /// Shares of the inputs.
    pub fn shares(self) -> u32 {
        if let Beside::Inputs(shares) = self { shares } else { 1 }
    }

    /// Pixels of a vector.
    pub fn pixels(self) -> u32 {
        if let Beside::Pixels(pixels) = self { pixels } else { 1 }
    }
}

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
    /// What the lanes of sums are; anything but outputs only in a single vector, and pixels only
    /// of one input channel, whose pixels lie next to each other.
    pub beside: Beside,
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
    /// Whether each result is two sums, of every other input channel, that are added in the end:
    /// multiply-adds of few results would wait for each other.
    pub halves: bool,
}

/// Results of a tile with which multiply-adds do not wait for each other: two begin in each of the
/// four cycles that one takes.
const ENOUGH_RESULTS: usize = 8;

/// Into how many shares the inputs of a segment from `ic` to `oc` channels are cut, where they can
/// be: a power of two.
pub fn shares(lanes: u32, (ic, oc): (u32, u32)) -> Option<u32> {
    let fits = |shares: &u32| oc * shares <= lanes && ic.is_multiple_of(*shares);
    (1..=lanes.ilog2()).rev().map(|power| 1 << power).find(fits)
}

/// How many neighbouring pixels of `oc` outputs fit into a vector, if several do: a power of two.
pub fn pixels_beside(lanes: u32, oc: u32) -> Option<u32> {
    (lanes / oc).checked_ilog2().map(|power| 1 << power).filter(|&pixels| pixels > 1)
}

/// Slots that a tile of `sums` x `vectors` with `kw` taps in a row takes. With pixels beside each
/// other, a sum is of all pixels of a vector.
pub fn slots(sums: u32, (vectors, beside): (u32, Beside), kw: u32, load: Activation, post: &[Post]) -> usize {
    let pattern = usize::from(beside.lanes() > 1);
    let inner = (kw * vectors) as usize + 1 + load.traits().temporaries;
    // Pixels beside each other leave the vector of their sums one after the other.
    let leaving = usize::from(beside.pixels() > 1);
    (sums * vectors) as usize + pattern + inner.max(leaving + epilogue::slots(post))
}

impl fmt::Display for SlidingTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.tall { "n" } else { "1" };
        write!(f, "sliding_{rows}x{}_c{}", self.kw, self.ic)?;
        match self.beside {
            Beside::Outputs => {}
            Beside::Inputs(shares) => write!(f, "by{shares}")?,
            Beside::Pixels(pixels) => write!(f, "_pixels{pixels}")?,
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

/// Neighbouring pixels that share a sum.
#[derive(Clone, Copy)]
struct Unit {
    first: usize,
    pixels: u32,
}

/// Where input columns begin and how many values they have, each with the sums and taps that read
/// it.
type Columns = BTreeMap<(i32, u32), Vec<(usize, u32)>>;

/// Registers of a tile under construction.
struct Registers {
    units: Vec<Unit>,
    /// `accumulators[unit][vector]`
    accumulators: Vec<Vec<Slot>>,
    /// The same for every other input channel, if results are two sums.
    others: Option<Vec<Vec<Slot>>>,
    /// `weights[tap][vector]`
    weights: Vec<Vec<Slot>>,
    value: Slot,
    /// For the activation of inputs; shared with the epilogue.
    temporaries: Vec<Slot>,
    /// For what moves lanes.
    pattern: Option<Slot>,
    /// Where the next input channel of the first pixel's tap 0 is, or would be.
    channel: Pointer,
}

impl SlidingTile {
    /// Whether the tile has so few results that there should be two sums of each, and slots for
    /// them.
    pub fn takes_halves(&self, available: usize) -> bool {
        let sums = self.units().len() * self.vectors as usize;
        sums < ENOUGH_RESULTS && sums + self.slots() <= available
    }

    /// Slots that it takes without halves.
    fn slots(&self) -> usize {
        let sums = self.units().len() as u32;
        slots(sums, (self.vectors, self.beside), self.kw, self.load, &self.post)
    }

    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "weights", "bias", "out", "add"], self.tall);
        let vectors = self.vectors as usize;
        let units = self.units();
        let mut sums = || units.iter().map(|_| b.slots(vectors)).collect();
        let (accumulators, others) = (sums(), self.halves.then(sums));
        let columns = self.columns(&units);
        let registers = Registers {
            units,
            accumulators,
            others,
            weights: (0..self.kw).map(|_| b.slots(vectors)).collect(),
            value: b.slot(),
            temporaries: b.slots(self.load.traits().temporaries),
            pattern: (self.beside.lanes() > 1).then(|| b.slot()),
            channel: b.pointer(),
        };
        start_from_bias(&mut b, &registers.accumulators);
        registers.others.iter().flatten().flatten().for_each(|&sum| b.constant(sum, 0.0));
        let times = if self.tall { Times::Rows } else { Times::Exactly(1) };
        b.repeat(times, |b| self.row(b, &registers, &columns));
        self.finish(&mut b, &registers);
        b.finish(self.to_string())
    }

    /// The pixels of each sum: as many as lie beside each other, but one where a pixel has not all
    /// taps or no neighbour.
    fn units(&self) -> Vec<Unit> {
        let (clips, beside) = (&self.clip.0, self.beside.pixels() as usize);
        let (mut units, mut first) = (Vec::new(), 0);
        while first < clips.len() {
            let together = clips.get(first..first + beside);
            let are_whole = together.is_some_and(|clips| clips.iter().all(|taps| *taps == (0..self.kw)));
            let pixels = if are_whole { beside } else { 1 };
            units.push(Unit { first, pixels: pixels as u32 });
            first += pixels;
        }
        units
    }

    fn columns(&self, units: &[Unit]) -> Columns {
        let mut columns = Columns::new();
        for tap in 0..self.kw {
            for (sum, unit) in units.iter().enumerate() {
                if self.clip.0[unit.first].contains(&tap) {
                    let offset = unit.first as i32 * self.steps.pixel + tap as i32 * self.steps.tap;
                    let values = unit.pixels * self.beside.shares();
                    columns.entry((offset, values)).or_default().push((sum, tap));
                }
            }
        }
        columns
    }

    /// Input channels of a share.
    fn places(&self) -> u32 {
        self.ic / self.beside.shares()
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
        let far = self.far.then(|| {
            FarResults::new(b, &self.post, &self.steps, (self.clip.pixels(), self.vectors as usize))
        });
        repeat_asking(b, trips, far, |b| self.channels(b, r, columns, UNROLL));
        self.channels(b, r, columns, rest);
        b.advance(weights, (self.kw - 1) as i32 * self.places() as i32 * self.weight_step());
        b.advance(input, self.steps.row);
    }

    /// The next `count` input channels of each share.
    fn channels(&self, b: &mut Builder, r: &Registers, columns: &Columns, count: u32) {
        (0..count as i32).for_each(|channel| self.channel(b, r, columns, channel));
        b.advance(r.channel, (count * self.beside.shares()) as i32 * F32);
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
        for (&(offset, values), uses) in columns {
            let offset = offset + channel * self.beside.shares() as i32 * F32;
            b.load_repeated(r.value, r.channel, offset, values);
            epilogue::activate(b, self.load, &[r.value], &r.temporaries);
            for &(sum, tap) in uses {
                for (&accumulator, &weights) in sums[sum].iter().zip(&r.weights[tap as usize]) {
                    b.fma(accumulator, weights, r.value);
                }
            }
        }
    }

    /// The pattern by which each lane takes the value of another one.
    fn lanes_from(&self, from: impl Fn(u32) -> u32) -> Vec<u32> {
        (0..self.lanes).map(|lane| from(lane).min(self.lanes - 1)).collect()
    }

    /// Adds up the sums of all shares, half of them at a time, and puts those of outputs next to
    /// each other.
    fn sum_shares(&self, b: &mut Builder, r: &Registers, pattern: Slot) {
        let sums = || r.accumulators.iter().flatten().copied();
        let mut shares = self.beside.shares();
        while shares > 1 {
            shares /= 2;
            b.pattern(pattern, self.lanes_from(|lane| lane + shares));
            for sum in sums() {
                b.permute(r.value, sum, pattern);
                b.binary(BinaryOp::Add, sum, sum, r.value);
            }
        }
        b.pattern(pattern, self.lanes_from(|lane| lane * self.beside.shares()));
        sums().for_each(|sum| b.permute(sum, sum, pattern));
    }

    fn finish(&self, b: &mut Builder, r: &Registers) {
        for (&sum, &other) in r.accumulators.iter().flatten().zip(r.others.iter().flatten().flatten()) {
            b.binary(BinaryOp::Add, sum, sum, other);
        }
        let free = r.weights.iter().flatten().chain(&r.temporaries).copied();
        match (self.beside, r.pattern) {
            (Beside::Pixels(_), Some(pattern)) => self.finish_pixels(b, r, pattern, free.collect()),
            (_, pattern) => {
                pattern.into_iter().for_each(|pattern| self.sum_shares(b, r, pattern));
                let rest = (&self.post[..], self.last_lanes, &self.steps);
                finish_panel(b, rest, &r.accumulators, free.chain([r.value]).collect());
            }
        }
    }

    /// Ends a tile with pixels beside each other: those that come first in their units, then the
    /// second ones, and so on.
    fn finish_pixels(&self, b: &mut Builder, r: &Registers, pattern: Slot, mut free: Vec<Slot>) {
        free.extend(b.slots(epilogue::slots(&self.post).saturating_sub(free.len())));
        let (beside, pointers) = (self.beside.pixels(), ["out", "add"].map(|name| b.parameter(name)));
        for place in 0..beside {
            b.pattern(pattern, self.lanes_from(|lane| lane * beside + place));
            for (unit, sums) in r.units.iter().zip(&r.accumulators).filter(|(unit, _)| place < unit.pixels) {
                b.permute(r.value, sums[0], pattern);
                let pixel = unit.first as i32 + place as i32;
                let (out, add) = (pixel * self.steps.out, pixel * self.steps.add);
                let result = epilogue::Result { value: r.value, out, add, lanes: self.last_lanes };
                epilogue::finish(b, (&self.post, Format::F32), &[result], pointers, &free);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::slot_count;

    /// Tiles that differ in all that slots depend on, with and without a pixel at a border.
    fn tiles() -> impl Iterator<Item = SlidingTile> {
        let besides = [Beside::Outputs, Beside::Inputs(2), Beside::Pixels(2), Beside::Pixels(8)];
        let posts = [
            vec![],
            vec![Post::Activation(Activation::Relu6)],
            vec![Post::Activation(Activation::Elu), Post::Add],
        ];
        besides.into_iter().flat_map(move |beside| {
            let posts = posts.clone();
            (1u32..40).flat_map(move |number| {
                let (pixels, kw, first) = (1 + number % 13, 1 + number % 3, number % 2);
                let mut clip = Clip::none(pixels, kw);
                clip.0[0] = first.min(kw - 1)..kw;
                let ic = if beside.pixels() > 1 { 1 } else { 4 };
                let steps =
                    TileSteps { pixel: 4 * ic as i32, tap: 4 * ic as i32, row: 4096, out: 64, add: 64 };
                let load = Activation::ALL[number as usize % Activation::ALL.len()];
                posts.clone().into_iter().map(move |post| SlidingTile {
                    lanes: 16,
                    vectors: 1,
                    last_lanes: 16,
                    ic,
                    beside,
                    kw,
                    tall: true,
                    steps: steps.clone(),
                    clip: clip.clone(),
                    load,
                    post,
                    far: false,
                    halves: false,
                })
            })
        })
    }

    #[test]
    fn tiles_take_no_more_slots_than_are_counted() {
        for tile in tiles() {
            let counted = tile.slots();
            assert!(slot_count(&tile.generate()) <= counted, "{tile}: {counted}");
            let halves = SlidingTile { halves: true, ..tile.clone() };
            let counted = counted + tile.units().len();
            assert!(slot_count(&halves.generate()) <= counted, "{halves}: {counted}");
        }
    }

    #[test]
    fn as_many_pixels_lie_beside_each_other_as_fit() {
        let found = [1, 2, 3, 5, 8, 9, 16].map(|oc| pixels_beside(16, oc));
        assert_eq!(found, [Some(16), Some(8), Some(4), Some(2), Some(2), None, None]);
    }

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
