//! The measured bandwidth of memory: how fast kernels can read what is not in the level-2 cache.
//!
//! Each thread reads a buffer of its own with the vectors of the target, again and again. Its size
//! decides where values come from: [`BUFFER_BYTES`] are more than level-2 caches hold and, on
//! servers, less than the level-3 cache does, like the maps of a network. A buffer as large as all
//! its weights takes as long for a byte as these do.

use std::time::Duration;

use xcc_compiler::codegen::CodegenError;
use xcc_compiler::codegen::jit::NativeKernel;
use xcc_compiler::target::Target;
use xcc_compiler::vector::{BinaryOp, Builder, Kernel, Times};

use crate::concurrent;
use crate::memory::AlignedBuffer;

/// Bytes that do not stay in a level-2 cache.
pub const BUFFER_BYTES: u64 = 16 << 20;
/// The most bytes that a thread reads in a pass: more than caches hold.
pub const MOST_BYTES: u64 = 256 << 20;
/// Independent sums, so that none waits for another.
const SUMS: usize = 8;
/// Vectors in one turn of the loop.
const UNROLLED: usize = 16;
/// Passes of which the fastest counts, at least.
const PASSES: u32 = 3;

/// Bytes in a second that `threads` threads read together with the vectors of `target`, each
/// `bytes` (up to [`MOST_BYTES`]) in a pass; more threads than the machine has cores count as that
/// many.
///
/// Takes about `time`. The fastest pass of each thread counts, as for [`crate::peak::measure`].
pub fn measure(target: Target, threads: u32, bytes: u64, time: Duration) -> Result<f64, CodegenError> {
    let turns = bytes.min(MOST_BYTES).div_ceil(turn_bytes(target)).max(1);
    concurrent::sum(threads, || prepare(target, turns), |prepared| read(target, (turns, time), prepared))
}

/// Bytes that one turn of the loop reads.
fn turn_bytes(target: Target) -> u64 {
    u64::from(target.vector_bytes()) * UNROLLED as u64
}

/// Bytes in a second that this thread reads.
fn read(
    target: Target,
    (turns, time): (u64, Duration),
    (kernel, mut buffer, mut result): (NativeKernel, AlignedBuffer, AlignedBuffer),
) -> f64 {
    let pointers = [buffer.values_mut(), result.values_mut()].map(|values| values.as_mut_ptr().cast());
    let fastest = concurrent::fastest(PASSES, time, || {
        // SAFETY: each turn reads its share of the buffer, which has as many, and the only store
        // is that of one vector, for which the result has room.
        unsafe { kernel.call(&pointers, turns) };
    });
    (turns * turn_bytes(target)) as f64 / fastest.as_secs_f64().max(1e-9)
}

/// The kernel, a buffer for so many turns that has memory behind every page, and room for a vector.
fn prepare(target: Target, turns: u64) -> Result<(NativeKernel, AlignedBuffer, AlignedBuffer), CodegenError> {
    let no_memory = |error: crate::OutOfMemory| CodegenError::Machine { reason: error.to_string() };
    let mut buffer = AlignedBuffer::zeroed(turns * turn_bytes(target)).map_err(no_memory)?;
    buffer.values_mut().fill(1.0);
    let result = AlignedBuffer::zeroed(u64::from(target.vector_bytes())).map_err(no_memory)?;
    Ok((NativeKernel::compile(&kernel(target), target)?, buffer, result))
}

/// Adds up vectors; their total is stored, so that none is without use.
fn kernel(target: Target) -> Kernel {
    let mut builder = Builder::new(target.lanes, &["from", "out"], true);
    let (from, out) = (builder.parameter("from"), builder.parameter("out"));
    let sums = builder.slots(SUMS);
    let value = builder.slot();
    let bytes = builder.vector_bytes();
    sums.iter().for_each(|&sum| builder.constant(sum, 0.0));
    builder.repeat(Times::Rows, |builder| {
        for (number, &sum) in (0..UNROLLED as i32).zip(sums.iter().cycle()) {
            builder.load(value, from, number * bytes);
            builder.binary(BinaryOp::Add, sum, sum, value);
        }
        builder.advance(from, UNROLLED as i32 * bytes);
    });
    sums[1..].iter().for_each(|&sum| builder.binary(BinaryOp::Add, sums[0], sums[0], sum));
    builder.store_lanes(sums[0], out, 0, target.lanes);
    builder.finish(format!("bandwidth_{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_reads_every_value_once() {
        for target in [Target::baseline(), Target::native()] {
            let turns = BUFFER_BYTES / turn_bytes(target);
            let (kernel, mut buffer, mut result) = prepare(target, turns).unwrap();
            let pointers =
                [buffer.values_mut(), result.values_mut()].map(|values| values.as_mut_ptr().cast());
            // SAFETY: as in `read`.
            unsafe { kernel.call(&pointers, turns) };
            let total: f32 = result.values()[..target.lanes as usize].iter().sum();
            assert_eq!(f64::from(total), (BUFFER_BYTES / 4) as f64);
        }
    }

    #[test]
    fn a_bandwidth_is_measured() {
        assert!(measure(Target::baseline(), 2, 1, Duration::ZERO).unwrap() > 0.0);
    }
}
