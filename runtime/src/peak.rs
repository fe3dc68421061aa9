//! Measured peaks: what loops of nothing but multiply-adds in registers reach.
//!
//! The loops are kernels like those of networks, in the vector kernel IR and for the same target,
//! so that the share of the peak that a network reaches says how good its kernels are, not how
//! wide the machine is.

use std::time::Duration;

use xcc_compiler::codegen::CodegenError;
use xcc_compiler::codegen::jit::NativeKernel;
use xcc_compiler::plan::Precision;
use xcc_compiler::target::{Bf16Unit, Target};
use xcc_compiler::vector::{
    BinaryOp, Builder, Kernel, TILE_BYTES, TILE_LANES, TILE_ROWS, TILES, Times, bf16,
};

use crate::concurrent;
use crate::machine::permit_tiles;
use crate::memory::AlignedBuffer;
use crate::weights::random::uniform;

/// Independent sums of vectors. A multiply-add takes up to 5 cycles and up to 2 begin in one, so
/// 10 keep a core busy; the other registers hold the factors.
const SUMS: usize = 12;
/// Multiply-adds of each sum in one turn of a loop, so that counting turns costs little.
const UNROLLED: u32 = 8;
/// Turns of the loop of vectors in a call.
const TURNS: u32 = 20_000;
/// Calls of which the fastest counts, at least.
const CALLS: u32 = 5;

/// Independent sums of tiles: all but the factors. A product takes 52 cycles and begins every 16,
/// so 4 would do.
const TILE_SUMS: usize = TILES - 2;
/// Turns of the loop of tiles in a call.
const TILE_TURNS: u32 = 1250;
/// Values of a tile of f32, or pairs of bf16 values.
const TILE_VALUES: usize = (TILE_ROWS * TILE_LANES) as usize;

/// What computes products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Vector registers of f32 values.
    Vectors,
    /// Vector registers of pairs of bf16 values.
    Pairs,
    /// Tile registers of bf16 values.
    Tiles,
}

impl Unit {
    /// What computes most products of large layers.
    pub fn of(precision: Precision, target: Target) -> Self {
        match target.bf16_unit() {
            Some(Bf16Unit::Tiles) => Unit::Tiles,
            _ if precision == Precision::F32 => Unit::Vectors,
            Some(Bf16Unit::Pairs) => Unit::Pairs,
            None => Unit::Tiles,
        }
    }
}

/// Floating-point operations in a second that `threads` threads reach together in registers, a
/// multiply-add being two; more threads than the machine has cores count as that many.
///
/// Takes about `time`. The fastest of several short runs of each thread counts. Factors of tiles
/// are random numbers, as those of networks are about: where many bits are zero, processors need
/// less power and are faster. An error where the target or the system has no such registers.
pub fn measure(target: Target, unit: Unit, threads: u32, time: Duration) -> Result<f64, CodegenError> {
    check(target, unit)?;
    concurrent::sum(threads, || Loop::new(target, unit, random), |mut work| work.speed(time))
}

/// Whether there are such registers.
fn check(target: Target, unit: Unit) -> Result<(), CodegenError> {
    let machine = |reason: String| CodegenError::Machine { reason };
    match unit {
        Unit::Vectors => Ok(()),
        Unit::Pairs if target.bf16_unit() == Some(Bf16Unit::Pairs) => Ok(()),
        Unit::Tiles if target.bf16_unit() == Some(Bf16Unit::Tiles) => {
            permit_tiles().map_err(|error| machine(error.to_string()))
        }
        Unit::Pairs => {
            Err(machine(format!("the peak of pairs of bf16 values needs avx512bf16, the target is {target}")))
        }
        Unit::Tiles => Err(machine(format!("the peak of tiles needs amx, which target {target} lacks"))),
    }
}

/// A loop that is ready to run.
struct Loop {
    kernel: NativeKernel,
    /// Of one call.
    operations: f64,
    /// The factors of bf16 values; empty for f32.
    factors: AlignedBuffer,
    sums: AlignedBuffer,
}

impl Loop {
    /// With pairs of bf16 values from `factor` for both factors.
    fn new(target: Target, unit: Unit, factor: impl Fn(u64) -> u16) -> Result<Self, CodegenError> {
        let no_memory = |error: crate::OutOfMemory| CodegenError::Machine { reason: error.to_string() };
        let (kernel, factors, sums) = match unit {
            Unit::Vectors => (vectors(target), 0, target.lanes as usize),
            Unit::Pairs => (pairs(), 2 * TILE_LANES as usize, TILE_LANES as usize),
            Unit::Tiles => (tiles(), 2 * TILE_VALUES, TILE_SUMS * TILE_VALUES),
        };
        let buffer = |values: usize| AlignedBuffer::zeroed(values as u64 * 4).map_err(no_memory);
        let (mut pairs, sums) = (buffer(factors)?, buffer(sums)?);
        for (number, pair) in (0..).zip(&mut pairs.values_mut()[..factors]) {
            let [low, high] = [2 * number, 2 * number + 1].map(|index| u32::from(factor(index)));
            *pair = f32::from_bits(high << 16 | low);
        }
        Ok(Self {
            kernel: NativeKernel::compile(&kernel, target)?,
            operations: operations(target, unit),
            factors: pairs,
            sums,
        })
    }

    fn call(&mut self) {
        let pointers =
            [&mut self.factors, &mut self.sums].map(|buffer| buffer.values_mut().as_mut_ptr().cast());
        // SAFETY: the kernel reads two tiles or vectors at its first pointer, or nothing, and
        // writes a vector or the tiles of sums at its second one, for which the buffers have room;
        // `check` permitted the use of tile registers.
        unsafe { self.kernel.call(&pointers, 0) };
    }

    /// Operations in a second.
    fn speed(&mut self, time: Duration) -> f64 {
        let operations = self.operations;
        operations / concurrent::fastest(CALLS, time, || self.call()).as_secs_f64().max(1e-9)
    }
}

/// A bf16 value between -1 and 1.
fn random(index: u64) -> u16 {
    bf16::round(uniform(0, index) as f32)
}

/// Floating-point operations of one instruction that multiplies, a multiply-add being two.
pub fn operations_of(unit: Unit, target: Target) -> f64 {
    2.0 * f64::from(match unit {
        Unit::Vectors => target.lanes,
        Unit::Pairs => 2 * target.lanes,
        // A row of a tile of factors has two bf16 values for each 4 bytes.
        Unit::Tiles => TILE_ROWS * TILE_LANES * TILE_BYTES as u32 / 2,
    })
}

/// Operations of one call.
fn operations(target: Target, unit: Unit) -> f64 {
    let (sums, turns) = match unit {
        Unit::Vectors | Unit::Pairs => (SUMS, TURNS),
        Unit::Tiles => (TILE_SUMS, TILE_TURNS),
    };
    operations_of(unit, target) * sums as f64 * f64::from(UNROLLED) * f64::from(turns)
}

/// Sums of products in vectors; their total is stored, so that none is without use.
fn vectors(target: Target) -> Kernel {
    let mut builder = Builder::new(target.lanes, &["factors", "sums"], false);
    let out = builder.parameter("sums");
    let sums = builder.slots(SUMS);
    let (a, b) = (builder.slot(), builder.slot());
    // Each product is 2^-20: the sums start at 1 and stay within a factor of 2 of it, far from
    // numbers that are slow.
    builder.constant(a, 1.0 / 1024.0);
    builder.constant(b, 1.0 / 1024.0);
    sums.iter().for_each(|&sum| builder.constant(sum, 1.0));
    builder.repeat(Times::Exactly(TURNS), |builder| {
        for _ in 0..UNROLLED {
            sums.iter().for_each(|&sum| builder.fma(sum, a, b));
        }
    });
    sums[1..].iter().for_each(|&sum| builder.binary(BinaryOp::Add, sums[0], sums[0], sum));
    builder.store_lanes(sums[0], out, 0, target.lanes);
    builder.finish(format!("peak_{target}"))
}

/// Sums of products of pairs; their total is stored, so that none is without use.
fn pairs() -> Kernel {
    let mut builder = Builder::new(TILE_LANES, &["factors", "sums"], false);
    let (factors, out) = (builder.parameter("factors"), builder.parameter("sums"));
    let (sums, a, b) = (builder.slots(SUMS), builder.slot(), builder.slot());
    builder.load(a, factors, 0);
    builder.load(b, factors, builder.vector_bytes());
    sums.iter().for_each(|&sum| builder.constant(sum, 0.0));
    builder.repeat(Times::Exactly(TURNS), |builder| {
        for _ in 0..UNROLLED {
            sums.iter().for_each(|&sum| builder.dot(sum, a, b));
        }
    });
    sums[1..].iter().for_each(|&sum| builder.binary(BinaryOp::Add, sums[0], sums[0], sum));
    builder.store_lanes(sums[0], out, 0, TILE_LANES);
    builder.finish("peak_pairs".to_owned())
}

/// Sums of products of two tiles, which are all stored.
fn tiles() -> Kernel {
    let tile_bytes = TILE_ROWS as i32 * TILE_BYTES;
    let mut builder = Builder::new(TILE_LANES, &["factors", "sums"], false);
    let (factors, out) = (builder.parameter("factors"), builder.parameter("sums"));
    let (sums, a, b) = (builder.tiles(TILE_SUMS), builder.tile(), builder.tile());
    builder.tile_load(a, factors, 0, TILE_BYTES);
    builder.tile_load(b, factors, tile_bytes, TILE_BYTES);
    sums.iter().for_each(|&sum| builder.tile_zero(sum));
    builder.repeat(Times::Exactly(TILE_TURNS), |builder| {
        for _ in 0..UNROLLED {
            sums.iter().for_each(|&sum| builder.tile_dot(sum, a, b));
        }
    });
    for (number, &sum) in (0..).zip(&sums) {
        builder.tile_store(sum, out, number * tile_bytes, TILE_BYTES);
    }
    builder.finish("peak_tiles".to_owned())
}

#[cfg(test)]
mod tests {
    use xcc_compiler::target::Isa;

    use super::*;

    /// The loop of tiles with ones as factors, or why this machine cannot run it.
    fn tiles_of_ones() -> Option<Loop> {
        let target = Target::native();
        if let Err(error) = check(target, Unit::Tiles) {
            eprintln!("skipped: {error}");
            return None;
        }
        Some(Loop::new(target, Unit::Tiles, |_| bf16::round(1.0)).unwrap())
    }

    #[test]
    fn loops_of_vectors_do_all_operations_that_are_counted() {
        for target in Target::available() {
            let mut work = Loop::new(target, Unit::Vectors, random).unwrap();
            work.call();
            let products = f64::from(UNROLLED * TURNS) / f64::from(1 << 20);
            let total = SUMS as f64 * (1.0 + products);
            for &value in &work.sums.values()[..target.lanes as usize] {
                assert!((f64::from(value) / total - 1.0).abs() < 1e-5, "{value} instead of {total}");
            }
            let per_lane = work.operations / f64::from(target.lanes) / 2.0;
            assert_eq!(per_lane, SUMS as f64 * f64::from(UNROLLED * TURNS));
        }
    }

    #[test]
    fn loops_of_tiles_do_all_operations_that_are_counted() {
        let Some(mut work) = tiles_of_ones() else { return };
        work.call();
        // Each value is the number of multiply-adds that went into it.
        let sums = &work.sums.values()[..TILE_SUMS * TILE_VALUES];
        assert!(sums.iter().all(|&sum| sum == sums[0]));
        assert_eq!(sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() * 2.0, work.operations);
    }

    #[test]
    fn loops_of_pairs_do_all_operations_that_are_counted() {
        let target = Target::of(Isa::Avx512Bf16);
        if !target.isa.missing().is_empty() {
            eprintln!(
                "skipped: pairs of bf16 values, since this machine has no {}",
                target.isa.missing().join(", ")
            );
            return;
        }
        let mut work = Loop::new(target, Unit::Pairs, |_| bf16::round(1.0)).unwrap();
        work.call();
        // Each lane is the number of multiply-adds that went into it.
        let sums = &work.sums.values()[..TILE_LANES as usize];
        assert!(sums.iter().all(|&sum| sum == sums[0]));
        assert_eq!(sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() * 2.0, work.operations);
    }

    #[test]
    fn large_layers_are_computed_by_the_fastest_unit_that_is_exact_enough() {
        let units = |isa| Precision::ALL.map(|precision| Unit::of(precision, Target::of(isa)));
        assert_eq!(units(Isa::Amx), [Unit::Tiles; 3]);
        let [f32, _, bf16] = units(Isa::Avx512Bf16);
        assert_eq!((f32, bf16), (Unit::Vectors, Unit::Pairs));
        assert_eq!(units(Isa::Avx512)[0], Unit::Vectors);
    }

    #[test]
    fn factors_of_tiles_are_numbers_of_all_kinds() {
        let factors: Vec<f32> = (0..4 * TILE_VALUES as u64).map(|index| bf16::widen(random(index))).collect();
        assert!(factors.iter().all(|factor| factor.abs() <= 1.0 && *factor != 0.0));
        let positive = factors.iter().filter(|factor| **factor > 0.0).count();
        assert!((400..624).contains(&positive), "{positive} of {} are positive", factors.len());
    }

    #[test]
    fn peaks_are_measured_or_said_to_be_missing() {
        assert!(measure(Target::baseline(), Unit::Vectors, 1, Duration::ZERO).unwrap() > 0.0);
        let error = measure(Target::baseline(), Unit::Tiles, 1, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("needs amx, which target baseline"), "{error}");
        let error = measure(Target::baseline(), Unit::Pairs, 1, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("needs avx512bf16, the target is baseline"), "{error}");
        if tiles_of_ones().is_some() {
            let [vectors, tiles] = [Unit::Vectors, Unit::Tiles]
                .map(|unit| measure(Target::native(), unit, 1, Duration::ZERO).unwrap());
            // Eight times as many in a cycle, or sixteen, at up to half the clock.
            assert!(tiles > 2.0 * vectors, "{tiles} by tiles, {vectors} in vectors");
            assert!(measure(Target::native(), Unit::Tiles, 2, Duration::ZERO).unwrap() > 0.0);
        }
    }
}
