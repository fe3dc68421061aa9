//! The measured peak of one core: what a loop of nothing but multiply-adds in registers reaches.
//!
//! The loop is a kernel like those of networks, in the vector kernel IR and for the same target, so that the
//! share of it that a network reaches says how good its kernels are, not how wide the machine is.

use std::time::{Duration, Instant};

use xcc_compiler::codegen::CodegenError;
use xcc_compiler::codegen::jit::NativeKernel;
use xcc_compiler::target::Target;
use xcc_compiler::vector::{BinaryOp, Builder, Kernel, Times};

use crate::memory::AlignedBuffer;

/// Independent sums. A multiply-add takes up to 5 cycles and up to 2 begin in one, so 10 keep a core busy;
/// the other registers hold the factors.
const SUMS: usize = 12;
/// Multiply-adds of each sum in one turn of the loop, so that counting turns costs little.
const UNROLLED: u32 = 8;
/// Turns of the loop in a call.
const TURNS: u32 = 20_000;
/// Calls of which the fastest counts, at least.
const CALLS: u32 = 5;

/// Floating-point operations in a second that one core reaches with the vectors of `target`, a multiply-add
/// being two.
///
/// Takes about `time`. The fastest of several short runs counts: whatever else the machine does only slows it
/// down.
pub fn measure(target: Target, time: Duration) -> Result<f64, CodegenError> {
    let kernel = NativeKernel::compile(&kernel(target), target)?;
    let no_memory = |error: crate::OutOfMemory| CodegenError::Machine { reason: error.to_string() };
    let mut result = AlignedBuffer::zeroed(u64::from(target.vector_bytes())).map_err(no_memory)?;
    let began = Instant::now();
    let mut fastest = Duration::MAX;
    let mut calls = 0;
    while calls < CALLS || began.elapsed() < time {
        let call = Instant::now();
        let out = result.values_mut().as_mut_ptr().cast();
        // SAFETY: the kernel's only access is the store of one vector at its only pointer, for which the
        // buffer has room.
        unsafe { kernel.call(&[out], 0) };
        fastest = fastest.min(call.elapsed());
        calls += 1;
    }
    Ok(operations(target) / fastest.as_secs_f64().max(1e-9))
}

/// Operations of one call.
fn operations(target: Target) -> f64 {
    2.0 * f64::from(target.lanes) * SUMS as f64 * f64::from(UNROLLED) * f64::from(TURNS)
}

/// Sums of products in registers; their total is stored, so that none is without use.
fn kernel(target: Target) -> Kernel {
    let mut builder = Builder::new(target.lanes, &["out"], false);
    let out = builder.parameter("out");
    let sums = builder.slots(SUMS);
    let (a, b) = (builder.slot(), builder.slot());
    // Each product is 2^-20: the sums start at 1 and stay within a factor of 2 of it, far from numbers that
    // are slow.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_does_all_operations_that_are_counted() {
        let target = Target::baseline();
        let native = NativeKernel::compile(&kernel(target), target).unwrap();
        let mut out = AlignedBuffer::zeroed(u64::from(target.vector_bytes())).unwrap();
        // SAFETY: as in `measure`.
        unsafe { native.call(&[out.values_mut().as_mut_ptr().cast()], 0) };
        let products = f64::from(UNROLLED * TURNS) / f64::from(1 << 20);
        let total = SUMS as f64 * (1.0 + products);
        for &value in &out.values()[..target.lanes as usize] {
            assert!((f64::from(value) / total - 1.0).abs() < 1e-5, "{value} instead of {total}");
        }
        let per_lane = operations(target) / f64::from(target.lanes) / 2.0;
        assert_eq!(per_lane, SUMS as f64 * f64::from(UNROLLED * TURNS));
    }

    #[test]
    fn a_peak_is_measured() {
        assert!(measure(Target::baseline(), Duration::ZERO).unwrap() > 0.0);
    }
}
