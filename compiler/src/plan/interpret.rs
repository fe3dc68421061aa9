//! Runs a program with the kernel interpreter: the oracle for drivers, layouts and the memory plan.
//!
//! Every access is checked against the operand that it belongs to, not only against the arena.

use super::nest::{Argument, KernelId, for_each_call};
use super::{Place, Program, Region, Step};
use crate::vector::Kernel;
use crate::vector::interpret::{Location, Memory, OutOfBounds, run as run_kernel};

/// Runs all steps as `threads` threads would, one thread after the other within each step.
///
/// `arena` holds the input where [`Program::input`] says and the results afterwards; `constants`
/// are the packed constants. Lengths are those that the program states, in f32 values.
pub fn run(
    program: &Program,
    constants: &[f32],
    arena: &mut Vec<f32>,
    threads: u32,
) -> Result<(), OutOfBounds> {
    let kernels: Vec<Kernel> = program.kernels.iter().map(|descriptor| descriptor.generate()).collect();
    let scratch = vec![f32::NAN; program.scratch_bytes as usize / 4];
    let mut memory: Memory = vec![std::mem::take(arena), constants.to_vec(), scratch];
    let result = program.steps.iter().try_for_each(|step| {
        (0..threads).try_for_each(|thread| run_step(program, &kernels, step, (thread, threads), &mut memory))
    });
    *arena = memory.swap_remove(0);
    result
}

fn run_step(
    program: &Program,
    kernels: &[Kernel],
    step: &Step,
    threads: (u32, u32),
    memory: &mut Memory,
) -> Result<(), OutOfBounds> {
    let nest = &program.drivers[step.driver.index()].nest;
    for_each_call(nest, threads, &mut |kernel: KernelId, arguments, rows, values| {
        let location = |argument: &Argument| {
            let place = step.operands[argument.operand.index()];
            location(place, argument.offset.at(values))
        };
        let pointers: Vec<Location> = arguments.iter().map(location).collect();
        let kernel = &kernels[kernel.index()];
        run_kernel(kernel, &pointers, rows.unwrap_or(0), program.target.fused, memory)
    })
}

/// Where an argument points; an operand that the step lacks has no memory.
fn location(place: Option<Place>, offset: i64) -> Location {
    let Some(place) = place else { return Location { buffer: usize::MAX, offset, bounds: (0, 0) } };
    let buffer = match place.region {
        Region::Arena => 0,
        Region::Constants => 1,
        Region::Scratch => 2,
    };
    let start = place.offset as i64;
    Location { buffer, offset: start + offset, bounds: (start, start + place.bytes as i64) }
}
