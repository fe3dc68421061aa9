//! Tiles of a convolution: some pixels by some vectors of output channels, all taps and input
//! channels of a segment.
//!
//! Each input value is broadcast and multiplied by vectors of weights, which are packed in the
//! order in which the kernel reads them (tap row, tap, input channel, output channel). Pointwise
//! and dense layers are the case of one tap.
//!
//! The `in` pointer says where tap 0 of the first pixel's first valid row of taps would be, even
//! if that tap is outside the image (the clip then keeps the kernel from reading it); `weights`
//! points at the same row of taps. The `rows` count says how many rows of taps are inside the
//! image, so one kernel serves all vertical positions.

use std::fmt;

use super::epilogue::{self, Format};
use super::{Clip, TileSteps, name_fusion};
use crate::graph::{Activation, Post};
use crate::vector::{Builder, CacheLevel, F32, Kernel, Pointer, Slot, Times};

/// Bytes that are brought near at once.
pub const CACHE_LINE: i32 = 64;

/// What a convolution tile depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvTile {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vectors of output channels.
    pub vectors: u32,
    /// Lanes stored of the last vector.
    pub last_lanes: u32,
    /// Input channels of the segment.
    pub ic: u32,
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
    /// Input channels that one trip of the inner loop covers.
    pub at_once: u32,
    /// How many of the pixels are read by the multiply-adds themselves rather than into a slot
    /// first; see [`Inst::FmaBroadcast`](crate::vector::Inst::FmaBroadcast).
    pub direct: u32,
    /// Cache lines that are brought near, from where the `ahead` pointer says, while the tile is
    /// computed: at least so many, and one in each trip of the inner loop, since fewer were not
    /// faster (benches/LOG.md). With 0 there is no such pointer. Meant for the weights of the
    /// panel that comes next.
    pub ahead: u32,
    /// Whether results and the added operand lie where no near cache holds them, so that their
    /// lines are asked for while sums are computed.
    pub far: bool,
}

/// Slots that a tile of `pixels` x `vectors` takes.
pub fn slots(pixels: u32, vectors: u32, load: Activation, post: &[Post]) -> usize {
    let accumulators = (pixels * vectors) as usize;
    let panel = if pixels == 1 { 1 } else { vectors as usize };
    accumulators + (panel + 1 + load.traits().temporaries).max(epilogue::slots(post))
}

impl fmt::Display for ConvTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.tall { "n" } else { "1" };
        write!(f, "conv_{rows}x{}_c{}_v{}", self.kw, self.ic, self.lanes)?;
        write!(f, "_{}x{}", self.clip.pixels(), self.vectors)?;
        if self.last_lanes != self.lanes {
            write!(f, "_l{}", self.last_lanes)?;
        }
        self.steps.fmt(f)?;
        self.clip.name(self.kw, f)?;
        if self.at_once != 8 {
            write!(f, "_by{}", self.at_once)?;
        }
        if self.direct > 0 {
            write!(f, "_direct{}", self.direct)?;
        }
        if self.ahead > 0 {
            write!(f, "_ahead{}", self.ahead)?;
        }
        f.write_str(if self.far { "_far" } else { "" })?;
        name_fusion(self.load, &self.post, f)
    }
}

/// Registers of a tile under construction.
struct Registers {
    /// `accumulators[pixel][vector]`
    accumulators: Vec<Vec<Slot>>,
    panel: Vec<Slot>,
    value: Slot,
    /// For the activation of inputs; shared with the epilogue.
    temporaries: Vec<Slot>,
    input: Pointer,
    weights: Pointer,
    /// Where the current tap of the first pixel is, or would be.
    column: Pointer,
    /// Where the next input channel of the current tap is read.
    tap: Pointer,
}

impl ConvTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let all = ["in", "weights", "bias", "out", "add", "ahead"];
        let pointers = if self.ahead > 0 { &all[..] } else { &all[..5] };
        let mut b = Builder::new(self.lanes, pointers, self.tall);
        let registers = self.registers(&mut b);
        start_from_bias(&mut b, &registers.accumulators);
        let times = if self.tall { Times::Rows } else { Times::Exactly(1) };
        b.repeat(times, |b| self.row(b, &registers));
        self.finish(&mut b, &registers);
        b.finish(self.to_string())
    }

    fn registers(&self, b: &mut Builder) -> Registers {
        let pixels = self.clip.pixels();
        let accumulators = (0..pixels).map(|_| b.slots(self.vectors as usize)).collect();
        let panel = b.slots(if pixels == 1 { 1 } else { self.vectors as usize });
        let value = b.slot();
        let temporaries = b.slots(self.load.traits().temporaries);
        Registers {
            accumulators,
            panel,
            value,
            temporaries,
            input: b.parameter("in"),
            weights: b.parameter("weights"),
            column: b.pointer(),
            tap: b.pointer(),
        }
    }

    /// One row of taps; leaves the pointers at the next one.
    fn row(&self, b: &mut Builder, r: &Registers) {
        b.point(r.column, r.input, 0);
        for tap in 0..self.kw {
            if tap > 0 {
                b.advance(r.column, self.steps.tap);
            }
            let pixels = self.clip.pixels_with(tap);
            if pixels.is_empty() {
                b.advance(r.weights, self.ic as i32 * self.weight_step());
            } else {
                b.point(r.tap, r.column, 0);
                self.channels(b, r, &pixels, tap + 1 == self.kw);
            }
        }
        if self.tall {
            b.advance(r.input, self.steps.row);
        }
    }

    /// Bytes of weights for one input channel and tap.
    fn weight_step(&self) -> i32 {
        (self.vectors * self.lanes) as i32 * F32
    }

    /// All input channels of one tap.
    fn channels(&self, b: &mut Builder, r: &Registers, pixels: &[usize], is_last: bool) {
        let (trips, rest) = (self.ic / self.at_once, self.ic % self.at_once);
        let far = (self.far && is_last).then(|| {
            FarResults::new(b, &self.post, &self.steps, (self.clip.pixels(), self.vectors as usize))
        });
        repeat_asking(b, trips, far, |b| self.run_of_channels(b, r, pixels, self.at_once));
        if rest > 0 {
            self.run_of_channels(b, r, pixels, rest);
        }
    }

    fn run_of_channels(&self, b: &mut Builder, r: &Registers, pixels: &[usize], count: u32) {
        for channel in 0..count as i32 {
            if r.panel.len() == r.accumulators[0].len() {
                self.channel(b, r, pixels, channel);
            } else {
                self.channel_of_one_pixel(b, r, channel);
            }
        }
        self.bring_near(b, count);
        b.advance(r.tap, count as i32 * F32);
        b.advance(r.weights, count as i32 * self.weight_step());
    }

    /// The share of `count` channels in the cache lines that are brought near.
    fn bring_near(&self, b: &mut Builder, count: u32) {
        if self.ahead == 0 {
            return;
        }
        let ahead = b.parameter("ahead");
        let lines = (self.ahead * count).div_ceil(self.ic * self.kw) as i32;
        (0..lines).for_each(|line| b.prefetch(CacheLevel::Second, ahead, line * CACHE_LINE));
        b.advance(ahead, lines * CACHE_LINE);
    }

    /// One input channel of several pixels: the weights stay in slots.
    fn channel(&self, b: &mut Builder, r: &Registers, pixels: &[usize], channel: i32) {
        for (vector, &slot) in r.panel.iter().enumerate() {
            b.load(slot, r.weights, channel * self.weight_step() + vector as i32 * b.vector_bytes());
        }
        for &pixel in pixels {
            let offset = pixel as i32 * self.steps.pixel + channel * F32;
            let products = r.accumulators[pixel].iter().zip(&r.panel);
            if self.is_direct(pixel as u32) {
                products.for_each(|(&sum, &weights)| b.fma_broadcast(sum, weights, r.tap, offset));
                continue;
            }
            b.broadcast(r.value, r.tap, offset);
            epilogue::activate(b, self.load, &[r.value], &r.temporaries);
            products.for_each(|(&sum, &weights)| b.fma(sum, weights, r.value));
        }
    }

    /// Whether a pixel is one of those that multiply-adds read, which are spread over the tile.
    fn is_direct(&self, pixel: u32) -> bool {
        let before = |pixel: u32| pixel * self.direct / self.clip.pixels() as u32;
        before(pixel + 1) > before(pixel)
    }

    /// One input channel of a single pixel: each vector of weights is used once.
    fn channel_of_one_pixel(&self, b: &mut Builder, r: &Registers, channel: i32) {
        b.broadcast(r.value, r.tap, channel * F32);
        epilogue::activate(b, self.load, &[r.value], &r.temporaries);
        for (vector, &accumulator) in r.accumulators[0].iter().enumerate() {
            let offset = channel * self.weight_step() + vector as i32 * b.vector_bytes();
            b.load(r.panel[0], r.weights, offset);
            b.fma(accumulator, r.panel[0], r.value);
        }
    }

    fn finish(&self, b: &mut Builder, r: &Registers) {
        let inner = r.panel.iter().chain([&r.value]).chain(&r.temporaries).copied().collect();
        finish_panel(b, (&self.post, self.last_lanes, &self.steps), &r.accumulators, inner);
    }
}

/// Sets the sums `accumulators[pixel][vector]` to the biases of their channels.
pub(super) fn start_from_bias(b: &mut Builder, accumulators: &[Vec<Slot>]) {
    let bias = b.parameter("bias");
    for pixel in accumulators {
        for (vector, &slot) in pixel.iter().enumerate() {
            b.load(slot, bias, vector as i32 * b.vector_bytes());
        }
    }
}

/// Results and added operand of a tile, where no near cache holds them.
pub(super) struct FarResults {
    /// The first pixel of each, and the bytes between pixels.
    maps: Vec<(Pointer, i32)>,
    pixels: u32,
    vectors: u32,
}

impl FarResults {
    /// Those of a tile of so many pixels and vectors.
    pub fn new(b: &Builder, post: &[Post], steps: &TileSteps, (pixels, vectors): (usize, usize)) -> Self {
        let mut maps = vec![(b.parameter("out"), steps.out)];
        if post.contains(&Post::Add) {
            maps.push((b.parameter("add"), steps.add));
        }
        Self { maps, pixels: pixels as u32, vectors: vectors as u32 }
    }

    /// Asks for the lines of the next `pixels` pixels.
    fn ask(&self, b: &mut Builder, pixels: u32) {
        for &(map, step) in &self.maps {
            for pixel in 0..pixels as i32 {
                for vector in 0..self.vectors as i32 {
                    b.prefetch(CacheLevel::First, map, pixel * step + vector * b.vector_bytes());
                }
            }
            b.advance(map, pixels as i32 * step);
        }
    }
}

/// Writes a loop of `trips` trips that also asks for far results, as few lines at a time as it
/// can: processors wait for few lines at once. It may ask for lines of up to as many pixels again
/// behind the tile. All pointers of results are left as they were.
pub(super) fn repeat_asking(
    b: &mut Builder,
    trips: u32,
    far: Option<FarResults>,
    body: impl Fn(&mut Builder),
) {
    let Some(far) = far.filter(|_| trips > 0) else { return b.repeat(Times::Exactly(trips), body) };
    let (groups, trips_of_group) = groups(trips, far.pixels);
    let pixels = far.pixels.div_ceil(groups);
    b.repeat(Times::Exactly(groups), |b| {
        b.repeat(Times::Exactly(trips_of_group), &body);
        far.ask(b, pixels);
    });
    b.repeat(Times::Exactly(trips - groups * trips_of_group), &body);
    for (map, step) in far.maps {
        b.advance(map, -((groups * pixels) as i32) * step);
    }
}

/// Groups of equally many of some trips, a group for each of so many pixels or for some. Where
/// trips can be divided into so many groups, or into half as many, none is left over.
fn groups(trips: u32, pixels: u32) -> (u32, u32) {
    let most = trips.min(pixels);
    let even = (most.div_ceil(2)..=most).rev().find(|&groups| trips.is_multiple_of(groups));
    let groups = even.unwrap_or(most);
    (groups, trips / groups)
}

/// Ends a tile whose results are `accumulators[pixel][vector]`, of whose last vector `last_lanes`
/// lanes are stored. `temporaries` are slots that are free by then.
pub(super) fn finish_panel(
    b: &mut Builder,
    (post, last_lanes, steps): (&[Post], u32, &TileSteps),
    accumulators: &[Vec<Slot>],
    mut temporaries: Vec<Slot>,
) {
    temporaries.extend(b.slots(epilogue::slots(post).saturating_sub(temporaries.len())));
    let mut results = Vec::new();
    for (pixel, slots) in accumulators.iter().enumerate() {
        for (vector, &value) in slots.iter().enumerate() {
            let (pixel, channel) = (pixel as i32, vector as i32 * b.vector_bytes());
            let last = vector + 1 == slots.len();
            results.push(epilogue::Result {
                value,
                out: pixel * steps.out + channel,
                add: pixel * steps.add + channel,
                lanes: if last { last_lanes } else { b.lanes() },
            });
        }
    }
    let pointers = [b.parameter("out"), b.parameter("add")];
    epilogue::finish(b, (post, Format::F32), &results, pointers, &temporaries);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_asked_for_in_groups_of_equally_many_trips() {
        assert_eq!((groups(91, 14), groups(23, 14), groups(4, 9)), ((13, 7), (14, 1), (4, 1)));
        for (trips, pixels) in (1..200).flat_map(|trips| (1..30).map(move |pixels| (trips, pixels))) {
            let (groups, trips_of_group) = groups(trips, pixels);
            assert!((1..=pixels).contains(&groups) && groups * trips_of_group <= trips, "{trips}, {pixels}");
            assert!(groups * pixels.div_ceil(groups) < 2 * pixels, "{trips}, {pixels}");
        }
    }
}
