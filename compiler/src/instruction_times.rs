//! What the instructions of a kernel cost: how many of each kind a call executes, and the time of
//! each kind.
//!
//! A kernel's time is taken to be the sum of the times of its instructions. Processors execute
//! several at once, so that the time of a kind is what one more of them adds to kernels as they
//! are, not what it takes by itself. The constants of each target are in `processor.rs`, the
//! measurements that they are fitted to in `instruction_times_*.json`.

use serde::{Deserialize, Serialize};

use crate::vector::{Inst, Kernel, Times};

/// Something for each kind of instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "T: Default + Deserialize<'de>"))]
pub struct PerKind<T> {
    /// Calls of a kernel, with all that is done for a call beside the kernel's instructions.
    pub call: T,
    /// Multiply-adds.
    pub multiply_add: T,
    /// Multiply-adds that read and broadcast a factor.
    pub multiply_add_memory: T,
    /// Vectors read, and patterns of permutations.
    pub load: T,
    /// Values read into every lane.
    pub broadcast: T,
    /// Permutations.
    pub permute: T,
    /// Other arithmetic.
    pub arithmetic: T,
    /// Vectors written.
    pub store: T,
    /// Multiplications of vectors of bf16 pairs, two multiply-adds in each lane.
    #[serde(default)]
    pub pair: T,
    /// Multiplications of AMX tiles of bf16 values.
    #[serde(default)]
    pub tile: T,
    /// AMX tiles read or written.
    #[serde(default)]
    pub tile_move: T,
}

/// How many kinds there are.
pub const KINDS: usize = 11;

impl<T: Copy> PerKind<T> {
    /// What there is for each kind, in the order of the fields.
    pub fn array(&self) -> [T; KINDS] {
        [
            self.call,
            self.multiply_add,
            self.multiply_add_memory,
            self.load,
            self.broadcast,
            self.permute,
            self.arithmetic,
            self.store,
            self.pair,
            self.tile,
            self.tile_move,
        ]
    }

    /// The inverse of [`PerKind::array`].
    pub const fn of(array: [T; KINDS]) -> Self {
        let [vectors @ .., pair, tile, tile_move] = array;
        let [call, multiply_add, multiply_add_memory, load, broadcast, permute, arithmetic, store] = vectors;
        Self {
            call,
            multiply_add,
            multiply_add_memory,
            load,
            broadcast,
            permute,
            arithmetic,
            store,
            pair,
            tile,
            tile_move,
        }
    }
}

/// Numbers of instructions.
pub type Counts = PerKind<u64>;

/// Picoseconds for each instruction.
pub type InstructionTimes = PerKind<u32>;

impl Counts {
    /// These and `times` times the others.
    pub fn plus(&self, times: u64, others: &Self) -> Self {
        let mut sum = self.array();
        for (sum, other) in sum.iter_mut().zip(others.array()) {
            *sum += times * other;
        }
        Self::of(sum)
    }
}

impl InstructionTimes {
    /// Milliseconds that so many instructions take.
    pub fn ms(&self, counts: &Counts) -> f64 {
        let times = self.array().into_iter().zip(counts.array());
        times.map(|(time, count)| f64::from(time) * count as f64).sum::<f64>() * 1e-9
    }
}

/// What calls of a kernel execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCounts {
    once: Counts,
    row: Counts,
}

impl KernelCounts {
    /// Counts the instructions of a kernel.
    pub fn new(kernel: &Kernel) -> Self {
        let mut counts = Self { once: Counts { call: 1, ..Counts::default() }, row: Counts::default() };
        counts.add(&kernel.body, 1, false);
        counts
    }

    /// These, but for arithmetic that is no multiply-add.
    pub fn without_arithmetic(self) -> Self {
        let without = |counts: Counts| Counts { arithmetic: 0, ..counts };
        Self { once: without(self.once), row: without(self.row) }
    }

    /// What a call with a count of `rows` executes.
    pub fn of_call(&self, rows: u32) -> Counts {
        self.once.plus(u64::from(rows), &self.row)
    }

    /// Adds instructions that are executed so many times, in every row or once.
    fn add(&mut self, body: &[Inst], times: u64, in_rows: bool) {
        for inst in body {
            match inst {
                Inst::Loop { times: Times::Rows, body } => self.add(body, times, true),
                Inst::Loop { times: Times::Exactly(turns), body } => {
                    self.add(body, times * u64::from(*turns), in_rows);
                }
                inst => {
                    let counts = if in_rows { &mut self.row } else { &mut self.once };
                    *counts = counts.plus(times, &of_inst(inst));
                }
            }
        }
    }
}

/// An instruction that is not a loop. What moves pointers and asks for cache lines is done beside
/// the rest.
fn of_inst(inst: &Inst) -> Counts {
    let none = Counts::default();
    match inst {
        Inst::Fma { .. } => Counts { multiply_add: 1, ..none },
        Inst::FmaBroadcast { .. } => Counts { multiply_add_memory: 1, ..none },
        Inst::Dot { .. } | Inst::DotBroadcast { .. } => Counts { pair: 1, ..none },
        Inst::TileDot { .. } => Counts { tile: 1, ..none },
        Inst::TileLoad { .. } | Inst::TileStore { .. } => Counts { tile_move: 1, ..none },
        Inst::Load { .. } | Inst::Pattern { .. } => Counts { load: 1, ..none },
        Inst::Broadcast { .. } => Counts { broadcast: 1, ..none },
        Inst::Permute { .. } => Counts { permute: 1, ..none },
        Inst::Constant { .. } | Inst::Binary { .. } | Inst::ShiftLeft { .. } | Inst::RoundBf16 { .. } => {
            Counts { arithmetic: 1, ..none }
        }
        Inst::Store { .. } | Inst::StoreBf16 { .. } => Counts { store: 1, ..none },
        Inst::Point { .. } | Inst::Prefetch { .. } | Inst::Loop { .. } | Inst::TileZero { .. } => none,
    }
}

/// A measured piece of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What ran.
    pub name: String,
    /// What it executes.
    pub counts: Counts,
    /// How long it takes, in milliseconds.
    pub ms: f64,
}

/// Turns of the fit; each moves every constant to its best value given the others.
const TURNS: usize = 2000;

/// The times that fit measurements best: least squares of the relative errors, no time below zero.
///
/// Coordinate descent, which finds the minimum since the error is convex (V. Franc et al.,
/// "Sequential Coordinate-wise Algorithm for the Non-negative Least Squares Problem", 2005).
pub fn fit(samples: &[Sample]) -> InstructionTimes {
    // Each sample is one row of a system of equations: what each kind adds to the sample's time,
    // as a share of it.
    let row = |sample: &Sample| sample.counts.array().map(|count| count as f64 * 1e-9 / sample.ms.max(1e-9));
    let rows: Vec<[f64; KINDS]> = samples.iter().map(row).collect();
    let mut times = [0.0f64; KINDS];
    let mut errors = vec![-1.0; rows.len()];
    for kind in (0..TURNS).flat_map(|_| 0..KINDS) {
        let square: f64 = rows.iter().map(|row| row[kind] * row[kind]).sum();
        if square > 0.0 {
            let slope: f64 = rows.iter().zip(&errors).map(|(row, error)| row[kind] * error).sum();
            let step = (-slope / square).max(-times[kind]);
            times[kind] += step;
            rows.iter().zip(&mut errors).for_each(|(row, error)| *error += step * row[kind]);
        }
    }
    InstructionTimes::of(times.map(|time| time.round() as u32))
}

/// By how much the times that constants give differ from the measured ones: the root of the mean
/// square and the largest of the relative errors.
pub fn errors(times: &InstructionTimes, samples: &[Sample]) -> [f64; 2] {
    let relative: Vec<f64> =
        samples.iter().map(|sample| (times.ms(&sample.counts) / sample.ms - 1.0).abs()).collect();
    let mean = relative.iter().map(|error| error * error).sum::<f64>() / relative.len().max(1) as f64;
    [mean.sqrt(), relative.into_iter().fold(0.0, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::Builder;

    #[test]
    fn instructions_are_counted_through_loops() {
        let mut b = Builder::new(4, &["p"], true);
        let (slot, pointer) = (b.slot(), b.parameter("p"));
        b.load(slot, pointer, 0);
        b.repeat(Times::Rows, |b| {
            b.broadcast(slot, pointer, 0);
            b.repeat(Times::Exactly(5), |b| {
                b.fma(slot, slot, slot);
                b.advance(pointer, 4);
            });
        });
        b.repeat(Times::Exactly(2), |b| b.store_lanes(slot, pointer, 0, 3));
        let counts = KernelCounts::new(&b.finish("k".to_owned()));
        let expected = |rows| Counts {
            call: 1,
            load: 1,
            store: 2,
            broadcast: rows,
            multiply_add: 5 * rows,
            ..Counts::default()
        };
        assert_eq!([0, 1, 7].map(|rows| counts.of_call(rows)), [0, 1, 7].map(expected));
    }

    /// Work of many proportions, in the times that it takes.
    fn samples(times: &InstructionTimes) -> Vec<Sample> {
        let sample = |seed: u64| {
            let mut state = seed;
            let counts = Counts::of([(); KINDS].map(|()| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1 + (state >> 40) % 1000
            }));
            Sample { name: String::new(), counts, ms: times.ms(&counts) }
        };
        (0..40).map(sample).collect()
    }

    #[test]
    fn the_fit_finds_times_that_explain_everything() {
        let times = InstructionTimes::of([5000, 210, 230, 0, 50, 140, 90, 1400, 850, 9000, 0]);
        let samples = samples(&times);
        let found = fit(&samples);
        for (found, time) in found.array().into_iter().zip(times.array()) {
            assert!(found.abs_diff(time) <= 1, "{found} instead of {time}");
        }
        assert!(errors(&found, &samples).into_iter().all(|error| error < 0.01));
    }

    #[test]
    fn no_time_is_below_zero_and_what_never_runs_takes_none() {
        let times = InstructionTimes::of([5000, 210, 0, 0, 50, 140, 90, 1400, 850, 9000, 7000]);
        let mut samples = samples(&times);
        for (sample, share) in samples.iter_mut().zip((0..).map(|number| f64::from(number % 5))) {
            sample.counts.multiply_add_memory = 0;
            sample.ms *= 1.0 + 0.02 * share;
        }
        assert_eq!(fit(&samples).multiply_add_memory, 0);
        assert_eq!(fit(&[]), InstructionTimes::default());
    }
}
